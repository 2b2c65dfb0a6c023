//! What becomes of one task of a chunk, or of some in a row, whose outcome is not in that of the chunk.
//!
//! What is to be computed again goes back to the queue, for whoever has a free slot. A queue may have
//! no room, and none may come before the chunk is off it: then the tasks are computed in this replica,
//! as if they had been queued and delivered to it, and the chunk is kept meanwhile.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use farm_core::chunk::{Apart, ChunkId, ChunkWriter};
use farm_core::{TaskId, envelope};
use tokio::sync::{Semaphore, mpsc};

use super::apart::{Beside, Kept};
use super::cancelled::Cancelled;
use super::delivery::{Delivery, Load};
use super::life::note;
use super::past::Past;
use super::settle::{self, HOPELESS, Queued, Settling, end_of};
use super::slot::{Recall, Told};
use super::{Ready, WorkerRole};
use crate::codec::Encoded;
use crate::runtime::outcomes;

/// Parts settled, queued or computed at once.
const AT_ONCE: usize = 64;

/// One chunk, in the hands of whoever completes it.
pub(super) struct Completing<'a> {
    beside: &'a Beside,
    role: &'a WorkerRole,
    ready: &'a Ready,
    delivery: &'a Delivery,
    id: &'a ChunkId,
    tasks: &'a [Bytes],
    kept: Kept<'a>,
    cancelled: Cancelled<'a>,
    places: Semaphore,
}

/// How far a chunk is completed; the largest of its tasks' holds for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// All that was to be done is done.
    Complete,
    /// The rest is for another replica.
    GivenBack,
    /// NATS takes nothing of it now.
    Hopeless,
}

impl End {
    /// When the chunk is to be delivered again, if it is.
    pub fn again(self) -> Option<Option<Duration>> {
        match self {
            End::Complete => None,
            End::GivenBack => Some(None),
            End::Hopeless => Some(Some(HOPELESS)),
        }
    }
}

/// Tasks of the chunk that are computed again as one message.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where it begins in the chunk.
    index: u32,
    count: u32,
    /// Attempts that failed.
    failed: u64,
    delay: Duration,
}

impl<'a> Completing<'a> {
    /// `None` if there is no chunk to complete.
    pub fn new(beside: &'a Beside, ready: &'a Ready, kept: Kept<'a>) -> Option<Self> {
        let Load::Chunk { id, tasks, .. } = &ready.delivery.load else {
            return None;
        };
        Some(Self {
            beside,
            role: &beside.role,
            ready,
            delivery: &ready.delivery,
            id,
            tasks,
            kept,
            cancelled: Cancelled::new(&beside.role.broker, &id.job),
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// Does what the outcome of the chunk says of its task `index`, and of those behind it that it
    /// speaks of.
    pub async fn one(&self, index: u32, what: &Apart) -> End {
        let part = |count| Part {
            index,
            count,
            failed: 0,
            delay: Duration::ZERO,
        };
        match what {
            Apart::Failed { cause } => {
                let _place = self.places.acquire().await;
                self.settle(index, Err(cause.clone()), Duration::ZERO).await
            }
            Apart::Retry { delay, cause } => self.retry(part(1), *delay, cause).await,
            Apart::Requeued { count } => self.again(part(*count)).await,
            Apart::Kept => match self.kept {
                Kept::Here(bundle) => {
                    let (verdict, service) = bundle.late().await;
                    match end_of(verdict) {
                        Ok(end) => self.settle(index, end, service).await,
                        Err((delay, cause)) => self.retry(part(1), delay, &cause).await,
                    }
                }
                Kept::Lost => self.again(part(1)).await,
            },
        }
    }

    /// Sees to it that a task that failed is tried again.
    async fn retry(&self, part: Part, delay: Duration, cause: &str) -> End {
        // Told once, by whoever has stored the outcome, however often the chunk is delivered.
        if matches!(self.kept, Kept::Here(_)) {
            let task = self.id.task(part.index);
            tracing::warn!(%task, cause, ?delay, "a task failed, to be tried again");
            self.role.metrics.settled(settle::Settled::Retried.as_str());
        }
        self.again(part.after_failure(delay)).await
    }

    /// Sees to it that `part` is computed again: by whoever takes it from the queue, or here.
    async fn again(&self, mut part: Part) -> End {
        if self.id.range.part(part.index, part.count).is_err() {
            // Written by no worker of ours.
            return End::Hopeless;
        }
        if self.is_settled_before(part).await {
            return End::Complete;
        }
        loop {
            match self.queue(part).await {
                Queued::Yes => return End::Complete,
                // What may have killed replicas is tried alone, and its losses are counted, only as a
                // message of its own.
                Queued::Full if self.is_suspect().await => return End::Hopeless,
                Queued::TooLarge(limit) if self.is_suspect().await => {
                    return self.give_up(part, &limit).await;
                }
                Queued::Full | Queued::TooLarge(_) => {}
            }
            match self.compute_here(part).await {
                AckKind::Nak(None) => return End::GivenBack,
                AckKind::Nak(Some(delay)) => part = part.after_failure(delay),
                _ => return End::Complete,
            }
        }
    }

    /// Whether a replica that had the chunk before has done all there is to do of `part`.
    async fn is_settled_before(&self, part: Part) -> bool {
        if part.count > 1 || matches!(self.kept, Kept::Here(_)) {
            return false;
        }
        let _place = self.places.acquire().await;
        let task = self.id.task(part.index);
        let Ok(Some(stored)) = outcomes::stored(&self.role.broker, &task).await else {
            return false;
        };
        let settling = self.settling(&task, part.index, Duration::ZERO);
        settling.finish(&stored).await;
        true
    }

    /// Whether replicas may have been lost to what is in the chunk.
    async fn is_suspect(&self) -> bool {
        let past = Past::known(self.ready.past, &self.role.broker, self.delivery).await;
        past.is_some_and(|past| past.is_suspect(self.delivery.counted()))
    }

    /// Puts `part` into the queue, unless its job is cancelled: what a cancellation took out of the
    /// queue must not come back into it. Whoever takes it out looks again.
    async fn queue(&self, part: Part) -> Queued {
        let _place = self.places.acquire().await;
        let Some((_, mut headers, body)) = self.message(part) else {
            return Queued::Full;
        };
        if !part.delay.is_zero() {
            let seconds = envelope::format_seconds(part.delay.as_secs_f64());
            headers.insert(envelope::DELAY_SECONDS, seconds);
        }
        let subject = self.role.broker.topology.task_subject(&self.id.job);
        let message = PublishMessage::build().payload(body).headers(headers);
        let mut pause = settle::PAUSE;
        loop {
            if self.cancelled.is_set().await {
                return Queued::Yes;
            }
            let (subject, message) = (subject.clone(), message.clone());
            match settle::queue(&self.role.broker, subject, message).await {
                Some(queued) => return queued,
                None => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(settle::LONGEST_PAUSE);
        }
    }

    /// Lets a slot of this replica compute `part` when its time has come. How that ended is what the
    /// server would have been told.
    async fn compute_here(&self, part: Part) -> AckKind {
        tokio::select! {
            () = tokio::time::sleep(part.delay) => {}
            () = self.role.draining.cancelled() => return AckKind::Nak(None),
        }
        let _place = self.places.acquire().await;
        let Some((load, headers, body)) = self.message(part) else {
            return AckKind::Nak(None);
        };
        if self.cancelled.is_set().await {
            return AckKind::Ack;
        }
        let (tell, mut told) = mpsc::unbounded_channel();
        let ready = Ready {
            delivery: Arc::new(self.delivery.part(load, headers, body, part.failed, tell)),
            past: Some(Past::default()),
            hold: Arc::clone(&self.ready.hold),
            bundle: None,
        };
        let _ = self
            .beside
            .tell
            .send(Told::Recalled(ready, Recall::default()));
        told.recv().await.unwrap_or(AckKind::Nak(None))
    }

    /// `part` as a message; `None` if the chunk has no such part.
    fn message(&self, part: Part) -> Option<(Load, HeaderMap, Bytes)> {
        let mut headers = HeaderMap::new();
        headers.insert(
            envelope::SUBMITTED_SECONDS,
            envelope::format_seconds(self.delivery.terms.submitted_seconds),
        );
        for name in [
            envelope::CODEC,
            envelope::DEADLINE_SECONDS,
            envelope::TRACEPARENT,
        ] {
            if let Some(value) = self.delivery.header(name) {
                headers.insert(name, value);
            }
        }
        // Said also of none: it tells that the message comes out of a chunk.
        headers.insert(envelope::FAILED, part.failed.to_string());
        if part.count == 1 {
            let task = self.id.task(part.index);
            headers.insert(envelope::TASK, task.key.as_str());
            headers.insert(NATS_MESSAGE_ID, task.to_string());
            let load = self.delivery.alone(task);
            return Some((load, headers, self.body(part.index)));
        }
        let range = self.id.range.part(part.index, part.count).ok()?;
        let job = self.id.job.clone();
        let id = ChunkId { job, range };
        headers.insert(envelope::CHUNK, range.to_string());
        headers.insert(NATS_MESSAGE_ID, id.to_string());
        let first = part.index as usize;
        let tasks = self.tasks.get(first..first + part.count as usize)?;
        let mut writer = ChunkWriter::default();
        for task in tasks {
            writer.push(task);
        }
        let load = self.delivery.smaller(id, tasks.to_vec());
        Some((load, headers, writer.take().1))
    }

    fn body(&self, index: u32) -> Bytes {
        self.tasks.get(index as usize).cloned().unwrap_or_default()
    }

    /// Lets the tasks of `part` fail, which no message can hold.
    async fn give_up(&self, part: Part, limit: &str) -> End {
        let mut end = End::Complete;
        for index in part.index..part.index + part.count {
            let cause = format!("the task is too large to be queued again: {limit}");
            end = end.max(self.settle(index, Err(cause), Duration::ZERO).await);
        }
        end
    }

    async fn settle(&self, index: u32, end: Result<Encoded, String>, service: Duration) -> End {
        let task = self.id.task(index);
        let settled = self.settling(&task, index, service).conclude(end).await;
        let Some(settled) = settled else {
            return End::Hopeless;
        };
        // The chunk is counted as a message already.
        note(self.role, self.delivery, settled, service, 0);
        End::Complete
    }

    fn settling<'b>(&'b self, task: &'b TaskId, index: u32, service: Duration) -> Settling<'b> {
        Settling {
            broker: &self.role.broker,
            replica: &self.role.config.replica,
            task,
            body: self.body(index),
            codec_word: self.delivery.codec_word().map(str::to_owned),
            terms: &self.delivery.terms,
            service,
            traceparent: self.delivery.traceparent().map(str::to_owned),
        }
    }
}

impl Part {
    fn after_failure(self, delay: Duration) -> Self {
        Self {
            failed: self.failed + 1,
            delay,
            ..self
        }
    }
}
