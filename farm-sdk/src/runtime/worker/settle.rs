//! Stores outcomes: each decides, once and for all, how its task ended.
//!
//! The outcome of a task is the one message on its result subject, written only if there is none
//! yet. That write decides: a second worker that computed the same task finds the place taken,
//! for as long as results are kept, and only acknowledges. It does so only after it has read the
//! outcome back: the leader of a stream also refuses a place for which a write is under way, and
//! that write may still come to nothing if the leader is lost.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderName};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use bytes::Bytes;
use farm_core::Codec;
use farm_core::TaskId;
use farm_core::envelope::{self, Ending, Outcome, OutcomeLine};
use farm_core::http::DeadLetter;

use super::delivery::Terms;
use crate::clock;
use crate::codec::{self, Encoded};
use crate::runtime::broker::{Broker, Refusal, refusal};
use crate::runtime::dead_letter;
use crate::runtime::outcomes;
use crate::task_error::chain;
use crate::verdict::Verdict;

/// First and longest pause before something is tried again that NATS did not do.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long to keep what NATS takes no outcome of.
pub(super) const HOPELESS: Duration = Duration::from_secs(5);

/// Holds most outcome lines without growing.
const LINE_BYTES: usize = 128;

static OUTCOME: HeaderName = HeaderName::from_static(envelope::OUTCOME);
static TRACEPARENT: HeaderName = HeaderName::from_static(envelope::TRACEPARENT);

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

/// One task whose outcome is to be stored.
pub(crate) struct Settling<'a> {
    pub broker: &'a Broker,
    pub replica: &'a str,
    pub task: &'a TaskId,
    pub body: Bytes,
    /// The word for how the body is encoded, if it came with one.
    pub codec_word: Option<String>,
    pub terms: &'a Terms,
    pub service: Duration,
    pub traceparent: Option<String>,
}

pub(crate) enum Stored {
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
    /// Stores how the task ended, and its dead letter if it failed. `None` if NATS can take no
    /// outcome of it at all. Tries for ever while NATS is away: the heartbeat keeps the task.
    ///
    /// If this replica is lost in between, the next attempt finds the failure stored and writes
    /// the dead letter that may be missing.
    pub async fn conclude(&self, end: Result<Encoded, String>) -> Option<Settled> {
        let cause = match end {
            Ok(output) => match self.store(Outcome::Done, output).await {
                Stored::New => return Some(Settled::Done),
                Stored::Before(stored) => return Some(self.finish(&stored).await),
                Stored::TooLarge(limit) => format!(
                    "the result is too large for NATS: {limit}; raise max_payload, or return a reference to it"
                ),
            },
            Err(cause) => cause,
        };
        let (task, attempts) = (self.task, self.terms.attempt);
        // It may quote all of a task, and then NATS would not take it.
        let cause = dead_letter::cut(&cause);
        let note = Encoded::json(serde_json::Value::from(cause.as_str()).to_string());
        match self.store(Outcome::Failed, note).await {
            Stored::New => {
                tracing::warn!(%task, attempts, cause, "a task failed for good: dead letter");
                self.keep_dead_letter(cause).await;
                Some(Settled::Failed)
            }
            Stored::Before(stored) => Some(self.finish(&stored).await),
            Stored::TooLarge(limit) => {
                // A cause is short: a server that refuses it takes no outcome at all.
                tracing::error!(%task, limit, "the failure of a task is too large for NATS");
                None
            }
        }
    }

    /// Completes what an earlier attempt, whose outcome is `stored`, may have left undone.
    pub async fn finish(&self, stored: &StreamMessage) -> Settled {
        if outcomes::is_failure(stored) {
            let cause = serde_json::from_slice(&stored.payload).unwrap_or_default();
            self.keep_dead_letter(cause).await;
        }
        Settled::Duplicate
    }

    /// Returns once the dead letter is stored, by whomever.
    async fn keep_dead_letter(&self, cause: String) {
        let letter = DeadLetter {
            task: self.task.clone(),
            cause,
            attempts: self.terms.attempt,
            worker: self.replica.to_owned(),
            died_seconds: clock::now_seconds(),
            replays: self.terms.replay,
            deadline_seconds: self.terms.deadline.map(|d| d.as_secs_f64()),
            codec: self.codec_word.clone(),
            body: String::new(),
            body_is_hex: false,
        };
        let subject = self.broker.topology.dead_subject(self.task);
        let mut bare = PublishMessage::build().payload(self.body.clone());
        if let Some(codec) = &letter.codec {
            bare = bare.header(envelope::CODEC, codec.as_str());
        }
        let full = bare.clone().headers(dead_letter::headers(&letter));
        let mut last = 0;
        let mut pause = PAUSE;
        loop {
            let message = full.clone().expected_last_subject_sequence(last);
            match publish(self.broker, subject.clone(), message).await {
                Written::Yes => return,
                Written::TooLarge(_) => {
                    // A task that only just fitted leaves no room for its cause; the log has it.
                    if let Written::TooLarge(limit) = publish(self.broker, subject, bare).await {
                        tracing::error!(task = %self.task, limit, "a dead letter is too large for NATS: its body is lost");
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

    async fn store(&self, outcome: Outcome, body: Encoded) -> Stored {
        let subject = self.broker.topology.result_subject(self.task);
        let line = OutcomeLine {
            service_seconds: Some(self.service.as_secs_f64()),
            ..self.terms.outcome(Ending::Task(outcome), self.replica)
        };
        let headers = headers(&line, body.codec, self.traceparent.as_deref());
        store(self.broker, subject, headers, body.bytes, self.terms.replay).await
    }
}

/// Headers of an outcome.
pub(crate) fn headers(
    line: &OutcomeLine<'_>,
    codec: Codec,
    traceparent: Option<&str>,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut text = String::with_capacity(LINE_BYTES);
    // Writing to a string cannot fail.
    let _ = write!(text, "{line}");
    headers.insert(OUTCOME.clone(), text);
    codec::note(&mut headers, codec);
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT.clone(), traceparent);
    }
    headers
}

/// Stores an outcome, unless there is one of `replay` or later that can be read back.
pub(crate) async fn store(
    broker: &Broker,
    subject: String,
    headers: HeaderMap,
    body: Bytes,
    replay: u64,
) -> Stored {
    let message = PublishMessage::build().payload(body).headers(headers);
    // Of before a replay; it was taken back before the task was queued again.
    let mut superseded = 0;
    let mut pause = PAUSE;
    loop {
        let message = message.clone().expected_last_subject_sequence(superseded);
        match publish(broker, subject.clone(), message).await {
            Written::Yes => return Stored::New,
            Written::TooLarge(limit) => return Stored::TooLarge(limit),
            Written::Occupied => {}
        }
        match outcomes::stored_on(broker, &subject).await {
            Ok(Some(stored)) if outcomes::replay_of(&stored) >= replay => {
                return Stored::Before(Box::new(stored));
            }
            // Either read from a server that lags behind, or the taking back was lost.
            Ok(Some(stored)) if pause == LONGEST_PAUSE => superseded = stored.sequence,
            Ok(Some(_)) => superseded = 0,
            Ok(None) => tracing::debug!(subject, "another write of this outcome is under way"),
            Err(cause) => tracing::warn!(subject, cause, "a stored outcome cannot be read yet"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What the queue of tasks has to say to a message.
pub(crate) enum Queued {
    Yes,
    /// There is no room for it now.
    Full,
    TooLarge(String),
}

/// Tries once to put a message into the queue. `None` if it is to be tried again.
pub(crate) async fn queue(
    broker: &Broker,
    subject: String,
    message: PublishMessage,
) -> Option<Queued> {
    let Err(error) = send(broker, subject.clone(), message).await else {
        return Some(Queued::Yes);
    };
    match refusal(&error) {
        Refusal::Full(cause) => {
            tracing::debug!(subject, cause, "the queue has no room for a task");
            Some(Queued::Full)
        }
        Refusal::TooLarge(limit) => Some(Queued::TooLarge(limit)),
        Refusal::AlreadyThere | Refusal::Passing(_) => {
            let cause = chain(&error);
            tracing::warn!(
                subject,
                cause,
                "a task could not be queued again yet, trying again"
            );
            None
        }
    }
}

/// Publishes until the server has answered for certain.
async fn publish(broker: &Broker, subject: String, message: PublishMessage) -> Written {
    let mut pause = PAUSE;
    loop {
        let error = match send(broker, subject.clone(), message.clone()).await {
            Ok(()) => return Written::Yes,
            Err(error) => error,
        };
        match refusal(&error) {
            Refusal::AlreadyThere => return Written::Occupied,
            Refusal::TooLarge(limit) => return Written::TooLarge(limit),
            Refusal::Full(cause) | Refusal::Passing(cause) => {
                tracing::warn!(
                    subject,
                    cause,
                    "NATS could not store a message yet, trying again"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn send(
    broker: &Broker,
    subject: String,
    message: PublishMessage,
) -> Result<(), PublishError> {
    broker
        .jetstream
        .send_publish(subject, message)
        .await?
        .await?;
    Ok(())
}

/// What `verdict` says is to be stored; the others are tried again.
pub(crate) fn end_of(verdict: Verdict) -> Result<Result<Encoded, String>, (Duration, String)> {
    match verdict {
        Verdict::Done(output) => Ok(Ok(output)),
        Verdict::Dead { cause } => Ok(Err(cause)),
        Verdict::Retry { delay, cause } => Err((delay, cause)),
    }
}
