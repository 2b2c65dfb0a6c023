//! Every outcome in the results stream, counted by job.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use farm_core::envelope::{self, OutcomeLine};
use farm_tests::FarmOnNats;
use futures_util::StreamExt;

use crate::report::Report;

const STALLED: Duration = Duration::from_secs(30);

/// One stored outcome.
pub struct Stored {
    pub job: String,
    pub task: String,
    pub failed: bool,
    /// When it was stored, in seconds since the Unix epoch.
    pub stored_seconds: f64,
}

/// Reads every outcome the farm keeps.
pub async fn outcomes(farm: &FarmOnNats) -> Vec<Stored> {
    let stream = farm.jetstream.get_stream(farm.topology.results_stream());
    let stream = stream.await.expect("the results stream");
    let count = stream.cached_info().state.messages;
    let config = pull::OrderedConfig {
        headers_only: true,
        deliver_policy: DeliverPolicy::All,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut all = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(STALLED, messages.next()).await;
        let message = next
            .expect("the stream goes on")
            .expect("another message")
            .expect("a readable one");
        let task = farm.topology.task_of_subject(&message.subject);
        let task = task.expect("an outcome's subject");
        let headers = message.headers.as_ref().expect("an outcome's headers");
        let published = message.info().expect("its place").published;
        all.push(Stored {
            job: task.job.to_string(),
            task: task.key.to_string(),
            failed: headers
                .get(envelope::OUTCOME)
                .and_then(|outcome| OutcomeLine::parse(outcome.as_str()))
                .is_some_and(|outcome| outcome.is_failure()),
            stored_seconds: published.unix_timestamp_nanos() as f64 / 1e9,
        });
    }
    all
}

/// Checks that every task of the `accepted` jobs has one outcome, no more and no less.
pub fn check_each_once(report: &mut Report, accepted: &HashMap<String, u64>, all: &[Stored]) {
    let mut tasks: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut twice = 0;
    for stored in all {
        let new = tasks.entry(&stored.job).or_default().insert(&stored.task);
        twice += u64::from(!new);
    }
    report.check(twice == 0, || format!("{twice} tasks have two outcomes"));
    let wrong: Vec<_> = accepted
        .iter()
        .map(|(job, count)| (job, *count, tasks.get(job.as_str()).map_or(0, HashSet::len)))
        .filter(|(_, count, found)| *count != *found as u64)
        .collect();
    report.check(wrong.is_empty(), || {
        let example = wrong.first();
        format!("{} jobs lost tasks, such as {example:?}", wrong.len())
    });
}
