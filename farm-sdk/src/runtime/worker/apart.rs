//! The tasks of a chunk whose outcome is not in that of the chunk: settled or queued one by one.
//!
//! The outcome of the chunk is stored first, and says what is to become of each of them. Whoever has
//! stored it does so, and only then acknowledges the chunk. If that replica is lost in between, the
//! chunk is delivered again, and its next worker finds the outcome and does what is left.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::StreamMessage;
use farm_core::chunk::{Apart, ChunkId, Entry, read_outcome};
use farm_core::envelope::Ending;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::bundle::{self, Bundle, Settled};
use super::cancelled::Cancelled;
use super::completing::{Completing, End};
use super::delivery::{Delivery, Load};
use super::life::note_chunk;
use super::past::Past;
use super::settle::{self, HOPELESS, Stored};
use super::slot::{Recall, Told};
use super::{Ready, WorkerRole};
use crate::runtime::outcomes;

/// What came of the task that ran when its chunk was settled.
#[derive(Clone, Copy)]
pub(super) enum Kept<'a> {
    /// It runs here, or has ended here.
    Here(&'a Bundle),
    /// It was lost with its replica.
    Lost,
}

/// What is done beside the loop has these.
#[derive(Clone)]
pub(super) struct Beside {
    pub role: Arc<WorkerRole>,
    pub tell: mpsc::UnboundedSender<Told>,
}

/// Does what is left of a chunk whose outcome is stored, and takes it off the queue.
pub(super) async fn complete(
    beside: &Beside,
    ready: &Ready,
    apart: &[(u32, Apart)],
    kept: Kept<'_>,
) {
    let Some(completing) = Completing::new(beside, ready, kept) else {
        return;
    };
    // All at once: one that still runs, or waits for its time, holds up none of the others.
    let ends = apart
        .iter()
        .map(|(index, what)| completing.one(*index, what));
    let mut ends: FuturesUnordered<_> = ends.collect();
    let mut all = End::Complete;
    while let Some(end) = ends.next().await {
        all = all.max(end);
    }
    let broker = &beside.role.broker;
    match all.again() {
        Some(delay) => ready.give_back(broker, delay).await,
        None => ready.delivery.remove(&broker.client, AckKind::Ack).await,
    }
}

/// Deals with what was queued out of a chunk, and with a chunk that was delivered before. Gives it
/// back if it is to be computed here.
pub(super) async fn recall(
    beside: &Beside,
    ready: Ready,
    recall: Recall,
) -> Option<(Ready, Recall)> {
    let (role, delivery) = (&beside.role, Arc::clone(&ready.delivery));
    if let Some(job) = delivery.out_of_chunk()
        && Cancelled::new(&role.broker, job).is_set().await
    {
        // The cancellation may have come just before it was queued, and missed it.
        delivery.remove(&role.broker.client, AckKind::Ack).await;
        return None;
    }
    let Load::Chunk { id, tasks, .. } = &delivery.load else {
        return Some((ready, recall));
    };
    if delivery.delivered == 1 {
        return Some((ready, recall));
    }
    let subject = role.broker.topology.chunk_subject(id);
    if let Ok(Some(stored)) = outcomes::stored_on(&role.broker, &subject).await {
        drop(recall);
        complete_stored(beside, &ready, id, &stored).await;
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
    store(beside, &ready, bundle::dissolved(count), Kept::Lost).await;
    None
}

/// Completes a chunk of which somebody has stored `stored`.
async fn complete_stored(beside: &Beside, ready: &Ready, id: &ChunkId, stored: &StreamMessage) {
    let entries = match read_outcome(id.range.count(), stored.payload.clone()) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::error!(chunk = %id, %error, "the stored outcome of a chunk cannot be read");
            return ready.give_back(&beside.role.broker, Some(HOPELESS)).await;
        }
    };
    let mut index = 0;
    let mut done = 0;
    let mut apart = Vec::new();
    for entry in entries {
        let tasks = entry.tasks();
        match entry {
            Entry::Apart(what) => apart.push((index, what)),
            Entry::Done { .. } => done += 1,
        }
        index += tasks;
    }
    complete(beside, ready, &apart, Kept::Lost).await;
    // Those apart are counted where they are settled.
    let duplicate = settle::Settled::Duplicate.as_str();
    beside.role.metrics.settled_many(duplicate, done);
}

/// Stores the outcome of a chunk, the slow way, and completes it.
pub(super) async fn store(beside: &Beside, ready: &Ready, settled: Settled, kept: Kept<'_>) {
    let (role, delivery) = (&beside.role, &ready.delivery);
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
            return complete_stored(beside, ready, id, &stored).await;
        }
        Stored::TooLarge(limit) => {
            tracing::error!(chunk = %id, limit, "the outcome of a chunk is too large for NATS");
            return ready.give_back(&role.broker, Some(HOPELESS)).await;
        }
    }
    note_chunk(role, delivery, &settled);
    complete(beside, ready, &settled.apart, kept).await;
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
