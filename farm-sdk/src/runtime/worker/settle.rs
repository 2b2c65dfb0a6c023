//! Carries a verdict out: stores the outcome, then takes the task off the queue.
//!
//! The outcome of a task is the one message on its result subject, written only if there is none
//! yet. That write decides: a second worker that computed the same task finds the place taken,
//! for as long as results are kept, and only acknowledges. It does so only after it has read the
//! outcome back: the leader of a stream also refuses a place for which a write is under way, and
//! that write may still come to nothing if the leader is lost.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use farm_core::Codec;
use farm_core::envelope::{self, Outcome};
use farm_core::http::DeadLetter;

use crate::clock;
use crate::codec::{self, Encoded};
use crate::runtime::broker::{Broker, Refusal, refusal};
use crate::runtime::dead_letter;
use crate::runtime::outcomes;
use crate::runtime::worker::delivery::Delivery;
use crate::runtime::worker::past::Past;
use crate::verdict::Verdict;

/// First and longest pause before something is tried again that NATS did not do.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a verdict was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Done,
    Failed,
    Retried,
    /// Another attempt had stored the outcome already.
    Duplicate,
}

impl Settled {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Settled::Done => "done",
            Settled::Failed => "failed",
            Settled::Retried => "retried",
            Settled::Duplicate => "duplicate",
        }
    }
}

pub(crate) struct Settling<'a> {
    pub broker: &'a Broker,
    pub replica: &'a str,
    pub delivery: &'a Delivery,
    /// `None` if it could not be read.
    pub past: Option<Past>,
    pub service: Duration,
    pub traceparent: Option<String>,
}

enum Stored {
    New,
    /// By an earlier attempt, or by this one if its acknowledgement was lost.
    Before(Box<StreamMessage>),
    TooLarge(String),
}

/// What came of one conditional write.
enum Written {
    Yes,
    Occupied,
    TooLarge(String),
}

impl Settling<'_> {
    /// Carries `verdict` out. Tries for ever while NATS is away: the heartbeat keeps the task.
    pub async fn settle(&self, verdict: Verdict) -> Settled {
        match verdict {
            Verdict::Retry { delay, cause } => {
                let (task, delivered) = (&self.delivery.task, self.delivery.delivered);
                tracing::warn!(%task, delivered, cause, ?delay, "a task failed, to be tried again");
                if let Some(past) = self.past {
                    past.note_failed(self.broker, self.delivery).await;
                }
                self.delivery.hand_back(Some(delay)).await;
                Settled::Retried
            }
            Verdict::Dead { cause } => self.bury(cause).await,
            Verdict::Done(output) => match self.store(Outcome::Done, output).await {
                Stored::New => {
                    self.delivery.remove(AckKind::Ack).await;
                    Settled::Done
                }
                Stored::Before(stored) => self.finish(&stored).await,
                Stored::TooLarge(limit) => {
                    let cause = format!(
                        "the result is too large for NATS: {limit}; raise max_payload, or return a reference to it"
                    );
                    self.bury(cause).await
                }
            },
        }
    }

    /// Stores the failure, then the dead letter, then takes the task off the queue.
    ///
    /// If this replica is lost in between, the next attempt finds the failure stored and writes
    /// the dead letter that may be missing.
    async fn bury(&self, cause: String) -> Settled {
        let (task, attempts) = (&self.delivery.task, self.delivery.delivered);
        // It may quote all of a task, and then NATS would not take it.
        let cause: String = cause.chars().take(dead_letter::LONGEST_CAUSE).collect();
        let note = Encoded::json(serde_json::Value::from(cause.as_str()).to_string());
        match self.store(Outcome::Failed, note).await {
            Stored::New => {
                tracing::warn!(%task, attempts, cause, "a task failed for good: dead letter");
                self.keep_dead_letter(cause).await;
                self.delivery.remove(AckKind::Term).await;
                Settled::Failed
            }
            Stored::Before(stored) => self.finish(&stored).await,
            Stored::TooLarge(limit) => {
                // A cause is short: a server that refuses it takes no outcome at all.
                tracing::error!(%task, limit, "the failure of a task is too large for NATS");
                self.delivery.hand_back(Some(LONGEST_PAUSE)).await;
                Settled::Retried
            }
        }
    }

    /// Completes what an earlier attempt, whose outcome is `stored`, may have left undone.
    pub async fn finish(&self, stored: &StreamMessage) -> Settled {
        let failed = stored
            .headers
            .get(envelope::OUTCOME)
            .is_some_and(|outcome| outcome.as_str() == Outcome::Failed.as_str());
        if failed {
            let cause = serde_json::from_slice(&stored.payload).unwrap_or_default();
            self.keep_dead_letter(cause).await;
        }
        self.delivery.remove(AckKind::Ack).await;
        Settled::Duplicate
    }

    /// Returns once the dead letter is stored, by whomever.
    async fn keep_dead_letter(&self, cause: String) {
        let letter = DeadLetter {
            task: self.delivery.task.clone(),
            cause,
            attempts: self.delivery.delivered,
            worker: self.replica.to_owned(),
            died_seconds: clock::now_seconds(),
            replays: self.delivery.replay,
            deadline_seconds: self.delivery.deadline.map(|d| d.as_secs_f64()),
            codec: self.delivery.codec_word().map(str::to_owned),
            body: String::new(),
            body_is_hex: false,
        };
        let subject = self.broker.topology.dead_subject(&self.delivery.task);
        let mut bare = PublishMessage::build().payload(self.delivery.body());
        if let Some(codec) = &letter.codec {
            bare = bare.header(envelope::CODEC, codec.as_str());
        }
        let full = bare.clone().headers(dead_letter::headers(&letter));
        let mut last = 0;
        let mut pause = PAUSE;
        loop {
            let message = full.clone().expected_last_subject_sequence(last);
            match self.publish(subject.clone(), message).await {
                Written::Yes => return,
                Written::TooLarge(_) => {
                    // A task that only just fitted leaves no room for its cause; the log has it.
                    if let Written::TooLarge(limit) = self.publish(subject, bare).await {
                        tracing::error!(task = %self.delivery.task, limit, "a dead letter is too large for NATS: its body is lost");
                    }
                    return;
                }
                Written::Occupied => {}
            }
            // By ours, from an earlier attempt; or by that of before a replay, which is deleted
            // only after the task is queued again.
            last = match self.kept_letter(&subject).await {
                Some((_, replays)) if replays >= letter.replays => return,
                Some((sequence, _)) => sequence,
                None => 0,
            };
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Where the newest dead letter of `subject` is, and how often its task had been replayed.
    async fn kept_letter(&self, subject: &str) -> Option<(u64, u64)> {
        let kept = self
            .broker
            .dead
            .direct_get_last_for_subject(subject)
            .await
            .ok()?;
        let replays = kept.headers.get(envelope::REPLAY);
        let replays = replays.and_then(|replays| replays.as_str().parse().ok());
        Some((kept.sequence, replays.unwrap_or(0)))
    }

    /// Stores the outcome, unless there is one that can be read back.
    async fn store(&self, outcome: Outcome, body: Encoded) -> Stored {
        let task = &self.delivery.task;
        let subject = self.broker.topology.result_subject(task);
        let message = PublishMessage::build()
            .payload(body.bytes)
            .headers(self.headers(outcome, body.codec));
        // Of before a replay; it was taken back before the task was queued again.
        let mut superseded = 0;
        let mut pause = PAUSE;
        loop {
            let message = message.clone().expected_last_subject_sequence(superseded);
            match self.publish(subject.clone(), message).await {
                Written::Yes => return Stored::New,
                Written::TooLarge(limit) => return Stored::TooLarge(limit),
                Written::Occupied => {}
            }
            match outcomes::stored(self.broker, task).await {
                Ok(Some(stored)) if outcomes::replay_of(&stored) >= self.delivery.replay => {
                    return Stored::Before(Box::new(stored));
                }
                // Either read from a server that lags behind, or the taking back was lost.
                Ok(Some(stored)) if pause == LONGEST_PAUSE => superseded = stored.sequence,
                Ok(Some(_)) => superseded = 0,
                Ok(None) => tracing::debug!(%task, "another write of its outcome is under way"),
                Err(cause) => tracing::warn!(%task, cause, "a stored outcome cannot be read yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn headers(&self, outcome: Outcome, codec: Codec) -> HeaderMap {
        let delivery = self.delivery;
        let mut headers = HeaderMap::new();
        codec::note(&mut headers, codec);
        headers.insert(envelope::OUTCOME, outcome.as_str());
        headers.insert(envelope::ATTEMPT, delivery.delivered.to_string());
        headers.insert(envelope::WORKER, self.replica);
        headers.insert(
            envelope::SERVICE_SECONDS,
            envelope::format_seconds(self.service.as_secs_f64()),
        );
        headers.insert(
            envelope::SUBMITTED_SECONDS,
            envelope::format_seconds(delivery.submitted_seconds),
        );
        if let Some(deadline) = delivery.deadline {
            headers.insert(
                envelope::DEADLINE_SECONDS,
                envelope::format_seconds(deadline.as_secs_f64()),
            );
        }
        if delivery.replay > 0 {
            headers.insert(envelope::REPLAY, delivery.replay.to_string());
        }
        if let Some(traceparent) = &self.traceparent {
            headers.insert(envelope::TRACEPARENT, traceparent.as_str());
        }
        headers
    }

    /// Publishes until the server has answered for certain.
    async fn publish(&self, subject: String, message: PublishMessage) -> Written {
        let mut pause = PAUSE;
        loop {
            let error = match self.send(subject.clone(), message.clone()).await {
                Ok(()) => return Written::Yes,
                Err(error) => error,
            };
            match refusal(&error) {
                Refusal::AlreadyThere => return Written::Occupied,
                Refusal::TooLarge(limit) => return Written::TooLarge(limit),
                Refusal::Full(cause) | Refusal::Passing(cause) => {
                    tracing::warn!(task = %self.delivery.task, cause, "an outcome could not be stored yet, trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn send(&self, subject: String, message: PublishMessage) -> Result<(), PublishError> {
        self.broker
            .jetstream
            .send_publish(subject, message)
            .await?
            .await?;
        Ok(())
    }
}
