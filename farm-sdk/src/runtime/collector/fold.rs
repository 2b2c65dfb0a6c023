//! Folds the results of an ended job into its summary, and keeps that.
//!
//! It reads the job's results from the stream, each there exactly once, so a collector that is
//! lost half way is followed by one that starts over with the same results.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectMetadata;
use bytes::Bytes;
use farm_core::JobId;
use farm_core::envelope::{self, Outcome};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::attempt::message_of;
use crate::collector::ErasedCollector;
use crate::runtime::broker::Broker;
use crate::runtime::outcomes;
use crate::task_error::chain;

/// How long the next stored result may take to arrive.
const STALLED: Duration = Duration::from_secs(30);

/// Folds the `outcomes` stored outcomes of `job`.
pub(crate) async fn fold(
    broker: &Broker,
    user: &Handle,
    collector: Arc<dyn ErasedCollector>,
    job: &JobId,
    outcomes: u64,
) -> Result<(), String> {
    let (results, feed) = mpsc::channel(256);
    // The user's code computes, so it gets a thread of its own.
    let computing = user.spawn_blocking(move || run(collector.as_ref(), feed));
    let read = feed_results(broker, job, outcomes, &results).await;
    drop(results);
    let summary = match computing.await {
        Ok(summary) => summary?,
        Err(stopped) => {
            return Err(match stopped.try_into_panic() {
                Ok(panic) => format!("the collector panicked: {}", message_of(panic.as_ref())),
                Err(_) => "the replica is shutting down".to_owned(),
            });
        }
    };
    read?;
    keep(broker, job, &summary).await
}

fn run(collector: &dyn ErasedCollector, mut feed: mpsc::Receiver<Bytes>) -> Result<Bytes, String> {
    let mut folding = collector.start().ok_or("this farm folds nothing")?;
    while let Some(result) = feed.blocking_recv() {
        folding.push(&result)?;
    }
    folding.finish()
}

async fn feed_results(
    broker: &Broker,
    job: &JobId,
    count: u64,
    results: &mpsc::Sender<Bytes>,
) -> Result<(), String> {
    if count == 0 {
        return Ok(());
    }
    let mut messages = outcomes::follow(broker, job, 0).await?;
    for _ in 0..count {
        let message = match tokio::time::timeout(STALLED, messages.next()).await {
            Ok(Some(message)) => message?,
            Ok(None) | Err(_) => return Err("some results could not be read again".to_owned()),
        };
        let outcome = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(envelope::OUTCOME))
            .and_then(|outcome| Outcome::parse(outcome.as_str()));
        let stopped =
            outcome == Some(Outcome::Done) && results.send(message.payload.clone()).await.is_err();
        if stopped {
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
