//! The tasks of a chunk whose outcome is not in that of the chunk: settled or queued one by one.
//!
//! The outcome of the chunk is stored first, and says what is to become of each of them. Whoever has
//! stored it does so, and only then acknowledges the chunk. If that replica is lost in between, the
//! chunk is delivered again, and its next worker finds the outcome and does what is left.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use bytes::Bytes;
use farm_core::chunk::{Apart, ChunkId, ChunkRange, ChunkWriter, Entry, read_outcome};
use farm_core::envelope::{self, Ending};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::bundle::{self, Bundle, Settled};
use super::delivery::{Delivery, Load};
use super::life::{note, note_chunk};
use super::past::Past;
use super::settle::{self, Settling, Stored, end_of};
use super::slot::Recall;
use super::{Ready, WorkerRole};
use crate::codec::Encoded;
use crate::runtime::jobs::Jobs;
use crate::runtime::outcomes;

/// Tasks settled or queued at once.
const AT_ONCE: usize = 64;
/// How long to keep what NATS takes no outcome of.
const HOPELESS: Duration = Duration::from_secs(5);

/// What came of the task that ran when its chunk was settled.
#[derive(Clone, Copy)]
pub(super) enum Kept<'a> {
    /// It runs here, or has ended here.
    Here(&'a Bundle),
    /// It was lost with its replica.
    Lost,
}

/// One chunk, in the hands of whoever completes it.
struct Completing<'a> {
    role: &'a WorkerRole,
    delivery: &'a Delivery,
    id: &'a ChunkId,
    tasks: &'a [Bytes],
    kept: Kept<'a>,
    cancelled: bool,
}

/// Does what is left of a chunk whose outcome is stored, and takes it off the queue.
pub(super) async fn complete(
    role: &WorkerRole,
    delivery: &Delivery,
    apart: &[(u32, Apart)],
    kept: Kept<'_>,
) {
    let Load::Chunk { id, tasks, .. } = &delivery.load else {
        return;
    };
    // What a cancellation took out of the queue must not come back into it.
    let cancelled = Jobs::new(&role.broker).is_cancelled(&id.job).await;
    let completing = Completing {
        role,
        delivery,
        id,
        tasks,
        kept,
        cancelled: cancelled.unwrap_or(false),
    };
    // The one that still runs holds up none of the others.
    let (running, others): (Vec<_>, Vec<_>) =
        apart.iter().partition(|(_, what)| *what == Apart::Kept);
    let mut hopeless = false;
    for some in [others, running] {
        let mut ends: Vec<BoxFuture<'_, bool>> = Vec::with_capacity(some.len());
        for (index, what) in some {
            ends.push(completing.one(*index, what).boxed());
        }
        let mut results = stream::iter(ends).buffer_unordered(AT_ONCE);
        while let Some(done) = results.next().await {
            hopeless |= !done;
        }
    }
    match hopeless {
        true => {
            delivery
                .hand_back(&role.broker.client, Some(HOPELESS))
                .await
        }
        false => delivery.remove(&role.broker.client, AckKind::Ack).await,
    }
}

/// Deals with a chunk that was delivered before. Gives it back if it is to be computed here.
pub(super) async fn recall(
    role: &WorkerRole,
    ready: Ready,
    recall: Recall,
) -> Option<(Ready, Recall)> {
    let delivery = Arc::clone(&ready.delivery);
    let Load::Chunk { id, tasks, .. } = &delivery.load else {
        return Some((ready, recall));
    };
    let subject = role.broker.topology.chunk_subject(id);
    if let Ok(Some(stored)) = outcomes::stored_on(&role.broker, &subject).await {
        drop(recall);
        complete_stored(role, &delivery, id, &stored).await;
        return None;
    }
    let past = Past::known(ready.past, &role.broker, &delivery).await;
    if past.is_none_or(|past| !past.is_suspect(delivery.counted())) {
        return Some((ready, recall));
    }
    drop(recall);
    tracing::warn!(
        chunk = %id, delivered = delivery.delivered,
        "replicas were lost with this chunk: each of its tasks is queued alone"
    );
    let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
    store(role, &delivery, bundle::dissolved(count), Kept::Lost).await;
    None
}

/// Completes a chunk of which somebody has stored `stored`.
async fn complete_stored(
    role: &WorkerRole,
    delivery: &Delivery,
    id: &ChunkId,
    stored: &StreamMessage,
) {
    let entries = match read_outcome(id.range.count(), stored.payload.clone()) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::error!(chunk = %id, %error, "the stored outcome of a chunk cannot be read");
            return delivery
                .hand_back(&role.broker.client, Some(HOPELESS))
                .await;
        }
    };
    let mut index = 0;
    let mut apart = Vec::new();
    for entry in entries {
        let tasks = entry.tasks();
        if let Entry::Apart(what) = entry {
            apart.push((index, what));
        }
        index += tasks;
    }
    complete(role, delivery, &apart, Kept::Lost).await;
    role.metrics.settled(settle::Settled::Duplicate.as_str());
}

/// Stores the outcome of a chunk, the slow way, and completes it.
pub(super) async fn store(
    role: &WorkerRole,
    delivery: &Delivery,
    settled: Settled,
    kept: Kept<'_>,
) {
    let Load::Chunk { id, .. } = &delivery.load else {
        return;
    };
    let subject = role.broker.topology.chunk_subject(id);
    let headers = headers(role, delivery, id, &settled);
    let body = settled.body.clone();
    match settle::store(&role.broker, subject, headers, body, 0).await {
        Stored::New => {}
        // Ours, if only its acknowledgement was lost.
        Stored::Before(stored) if stored.payload == settled.body => {}
        Stored::Before(stored) => {
            return complete_stored(role, delivery, id, &stored).await;
        }
        Stored::TooLarge(limit) => {
            tracing::error!(chunk = %id, limit, "the outcome of a chunk is too large for NATS");
            return delivery
                .hand_back(&role.broker.client, Some(HOPELESS))
                .await;
        }
    }
    note_chunk(role, delivery, &settled);
    complete(role, delivery, &settled.apart, kept).await;
}

/// Headers of the outcome that `settled` is.
pub(super) fn headers(
    role: &WorkerRole,
    delivery: &Delivery,
    id: &ChunkId,
    settled: &Settled,
) -> HeaderMap {
    let ending = Ending::Chunk {
        done: settled.done,
        apart: id.range.count() - settled.done,
    };
    let line = delivery.terms.outcome(ending, &role.config.replica);
    settle::headers(&line, settled.codec, delivery.traceparent())
}

impl Completing<'_> {
    /// False if NATS takes no outcome of the task at all.
    async fn one(&self, index: u32, what: &Apart) -> bool {
        match what {
            Apart::Failed { cause } => {
                let end = Err(cause.clone());
                self.settle(index, end, Duration::ZERO).await
            }
            Apart::Retry { delay, cause } => {
                let task = self.id.task(index);
                tracing::warn!(%task, cause, ?delay, "a task failed, to be tried again");
                self.role.metrics.settled(settle::Settled::Retried.as_str());
                self.queue_alone(index, 1, Some(*delay)).await
            }
            Apart::Requeued { count: 1 } => self.queue_alone(index, 0, None).await,
            Apart::Requeued { count } => self.queue_part(index, *count).await,
            Apart::Kept => match self.kept {
                Kept::Here(bundle) => {
                    let (verdict, service) = bundle.late().await;
                    match end_of(verdict) {
                        Ok(end) => self.settle(index, end, service).await,
                        Err((delay, _)) => self.queue_alone(index, 1, Some(delay)).await,
                    }
                }
                Kept::Lost => {
                    let task = self.id.task(index);
                    match outcomes::stored(&self.role.broker, &task).await {
                        Ok(Some(_)) => true,
                        _ => self.queue_alone(index, 0, None).await,
                    }
                }
            },
        }
    }

    fn body(&self, index: u32) -> Bytes {
        self.tasks.get(index as usize).cloned().unwrap_or_default()
    }

    async fn settle(&self, index: u32, end: Result<Encoded, String>, service: Duration) -> bool {
        let settling = Settling {
            broker: &self.role.broker,
            replica: &self.role.config.replica,
            task: &self.id.task(index),
            body: self.body(index),
            codec_word: self.delivery.codec_word().map(str::to_owned),
            terms: &self.delivery.terms,
            service,
            traceparent: self.delivery.traceparent().map(str::to_owned),
        };
        let settled = settling.conclude(end).await;
        if let Some(settled) = settled {
            note(self.role, self.delivery, settled, service);
        }
        settled.is_some()
    }

    /// Queues one task of the chunk by itself.
    async fn queue_alone(&self, index: u32, failed: u64, delay: Option<Duration>) -> bool {
        let task = self.id.task(index);
        let mut headers = self.headers();
        headers.insert(envelope::TASK, task.key.as_str());
        if failed > 0 {
            headers.insert(envelope::FAILED, failed.to_string());
        }
        if let Some(delay) = delay {
            let seconds = envelope::format_seconds(delay.as_secs_f64());
            headers.insert(envelope::DELAY_SECONDS, seconds);
        }
        headers.insert(NATS_MESSAGE_ID, task.to_string());
        self.queue(headers, self.body(index)).await;
        true
    }

    /// Queues some tasks of the chunk as a smaller one.
    async fn queue_part(&self, index: u32, count: u32) -> bool {
        let Ok(range) = self.id.range.part(index, count) else {
            // Written by no worker of ours.
            return false;
        };
        let mut writer = ChunkWriter::default();
        for index in index..index + count {
            writer.push(&self.body(index));
        }
        let mut headers = self.headers();
        headers.insert(envelope::CHUNK, range.to_string());
        headers.insert(NATS_MESSAGE_ID, self.part_id(range));
        self.queue(headers, writer.take().1).await;
        true
    }

    fn part_id(&self, range: ChunkRange) -> String {
        let job = self.id.job.clone();
        ChunkId { job, range }.to_string()
    }

    /// What holds for every task of the chunk, wherever it goes.
    fn headers(&self) -> HeaderMap {
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
        headers
    }

    async fn queue(&self, headers: HeaderMap, body: Bytes) {
        if self.cancelled {
            return;
        }
        let subject = self.role.broker.topology.task_subject(&self.id.job);
        let message = PublishMessage::build().payload(body).headers(headers);
        settle::queue(&self.role.broker, subject, message).await;
    }
}
