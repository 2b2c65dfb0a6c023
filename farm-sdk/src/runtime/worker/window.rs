//! Outcomes on their way to the server, many at once.
//!
//! A task is acknowledged when its outcome is: never before. What is refused, or not answered in time,
//! is settled again on its own, with all the care that takes.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use bytes::Bytes;
use tokio::time::Instant;

use super::Ready;
use super::bundle::Settled;
use super::slot::Computed;
use crate::runtime::broker::Refusal;
use crate::runtime::publishing::Publishing;

/// How long an answer may take before the outcome is sent again.
const ANSWER: Duration = Duration::from_secs(5);

/// An outcome on its way.
pub(super) enum Sent {
    Task(Box<Computed>),
    Bundle(Ready, Settled),
}

pub(super) struct Window {
    publishing: Publishing,
    /// By ticket, from `first_ticket` on; `None` once it is answered.
    sent: VecDeque<Option<OnItsWay>>,
    first_ticket: u64,
    unanswered: usize,
    unanswered_bytes: usize,
}

struct OnItsWay {
    sent: Sent,
    at: Instant,
    body_bytes: usize,
}

impl Window {
    pub fn new(publishing: Publishing) -> Self {
        Self {
            publishing,
            sent: VecDeque::new(),
            first_ticket: 1,
            unanswered: 0,
            unanswered_bytes: 0,
        }
    }

    /// Outcomes that are not answered yet.
    pub fn len(&self) -> usize {
        self.unanswered
    }

    /// What they hold in memory.
    pub fn bytes(&self) -> usize {
        self.unanswered_bytes
    }

    /// Sends an outcome, to be stored only if there is none on its subject. Gives it back if it
    /// cannot even be sent.
    pub async fn send(
        &mut self,
        subject: String,
        mut headers: HeaderMap,
        body: Bytes,
        sent: Sent,
    ) -> Option<Sent> {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        let (ticket, body_bytes) = (self.publishing.ticket(), body.len());
        let sending = self
            .publishing
            .send(ticket, subject.into(), headers, body)
            .await;
        if self.sent.is_empty() {
            self.first_ticket = ticket;
        }
        match sending {
            Ok(()) => {
                let at = Instant::now();
                self.sent.push_back(Some(OnItsWay {
                    sent,
                    at,
                    body_bytes,
                }));
                self.unanswered += 1;
                self.unanswered_bytes += body_bytes;
                None
            }
            Err(_) => {
                self.sent.push_back(None);
                self.tidy();
                Some(sent)
            }
        }
    }

    /// The next outcome that was answered, and whether it is stored; `None` when the connection is
    /// closed. Loses none if it is not awaited to its end.
    pub async fn next(&mut self) -> Option<(Sent, Result<(), Refusal>)> {
        loop {
            let (ticket, answer) = self.publishing.next().await?;
            if let Some(sent) = self.answered(ticket) {
                return Some((sent, answer.map(drop)));
            }
        }
    }

    fn answered(&mut self, ticket: u64) -> Option<Sent> {
        let index = usize::try_from(ticket.checked_sub(self.first_ticket)?).ok()?;
        let answered = self.sent.get_mut(index)?.take()?;
        self.unanswered -= 1;
        self.unanswered_bytes -= answered.body_bytes;
        self.tidy();
        Some(answered.sent)
    }

    fn tidy(&mut self) {
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first_ticket += 1;
        }
    }

    /// Takes out the oldest outcome that should have been answered by now.
    pub fn overdue(&mut self) -> Option<Sent> {
        let oldest = self.sent.front()?.as_ref()?;
        if oldest.at.elapsed() < ANSWER {
            return None;
        }
        self.answered(self.first_ticket)
    }
}
