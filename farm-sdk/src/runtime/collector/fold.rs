//! Folds the results of an ended job into its summary, and keeps that.
//!
//! It reads the job's results from the stream, each there exactly once, so a collector that is
//! lost half way is followed by one that starts over with the same results.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectMetadata;
use bytes::Bytes;
use farm_core::JobId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::attempt::message_of;
use crate::codec::Encoded;
use crate::collector::ErasedCollector;
use crate::runtime::broker::Broker;
use crate::runtime::outcomes::{self, StoredOutcome};
use crate::task_error::chain;

/// How long the next stored result may take to arrive.
const STALLED: Duration = Duration::from_secs(30);

/// Messages read ahead of the fold: each may be as large as NATS takes.
const AHEAD: usize = 16;
/// How often a job is folded whose results NATS did not give or whose summary it did not take.
const ATTEMPTS: u32 = 6;
/// Pause before the second time; doubles.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no summary.
enum Failure {
    /// The user's code failed, and would again.
    Fold(String),
    /// NATS failed, and may recover.
    Broker(String),
}

/// Folds the `outcomes` stored outcomes of `job`, again if NATS fails meanwhile.
pub(crate) async fn fold(
    broker: &Broker,
    user: &Handle,
    collector: &Arc<dyn ErasedCollector>,
    job: &JobId,
    outcomes: u64,
) -> Result<(), String> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        match fold_once(broker, user, Arc::clone(collector), job, outcomes).await {
            Ok(()) => break,
            Err(Failure::Fold(cause)) => return Err(cause),
            Err(Failure::Broker(cause)) if attempt == ATTEMPTS => return Err(cause),
            Err(Failure::Broker(cause)) => {
                tracing::warn!(%job, cause, "a job could not be folded yet, trying again");
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn fold_once(
    broker: &Broker,
    user: &Handle,
    collector: Arc<dyn ErasedCollector>,
    job: &JobId,
    outcomes: u64,
) -> Result<(), Failure> {
    let (results, feed) = mpsc::channel(AHEAD);
    // The user's code computes, so it gets a thread of its own.
    let computing = user.spawn_blocking(move || run(collector.as_ref(), feed));
    let read = feed_results(broker, job, outcomes, &results).await;
    drop(results);
    let summary = match computing.await {
        Ok(summary) => summary.map_err(Failure::Fold)?,
        Err(stopped) => {
            return Err(Failure::Fold(match stopped.try_into_panic() {
                Ok(panic) => format!("the collector panicked: {}", message_of(panic.as_ref())),
                Err(_) => "the replica is shutting down".to_owned(),
            }));
        }
    };
    read.map_err(Failure::Broker)?;
    keep(broker, job, &summary).await.map_err(Failure::Broker)
}

fn run(
    collector: &dyn ErasedCollector,
    mut feed: mpsc::Receiver<Vec<Encoded>>,
) -> Result<Bytes, String> {
    let mut folding = collector.start().ok_or("this farm folds nothing")?;
    while let Some(results) = feed.blocking_recv() {
        for result in &results {
            folding.push(result)?;
        }
    }
    folding.finish()
}

/// Sends the results among the `count` outcomes of `job`, those of one message together.
async fn feed_results(
    broker: &Broker,
    job: &JobId,
    count: u64,
    results: &mpsc::Sender<Vec<Encoded>>,
) -> Result<(), String> {
    if count == 0 {
        return Ok(());
    }
    let mut messages = outcomes::follow(broker, job, 1).await?;
    let mut read = 0;
    while read < count {
        let next = tokio::time::timeout(STALLED, messages.next()).await;
        let stored = next.map_err(|_| "some results could not be read again".to_owned())??;
        let Some(outcome) = StoredOutcome::read(&stored, &broker.topology) else {
            continue;
        };
        read += outcome.tasks();
        if results.send(outcome.results(stored.body())).await.is_err() {
            // The fold failed; it says why.
            return Ok(());
        }
    }
    Ok(())
}

async fn keep(broker: &Broker, job: &JobId, summary: &Bytes) -> Result<(), String> {
    let name = ObjectMetadata {
        name: job.to_string(),
        ..Default::default()
    };
    let mut reader = summary.as_ref();
    let kept = broker.summaries.put(name, &mut reader).await;
    kept.map(drop)
        .map_err(|error| format!("the summary could not be kept: {}", chain(&error)))
}
