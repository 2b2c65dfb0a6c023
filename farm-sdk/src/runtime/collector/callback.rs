//! Posts the outcome of a job to the URL it came with, as OpenFaaS does for asynchronous calls.

use std::time::Duration;

use farm_core::http::{Ended, JobState, JobStatus};
use farm_core::job::Callback;

use crate::config::Config;
use crate::task_error::chain;

/// Pauses before each further attempt.
const RETRIES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(30),
];

/// Calls `url` until it answers 2xx, five times at most.
pub(crate) async fn call(
    client: &reqwest::Client,
    config: &Config,
    url: &str,
    ended: &Ended,
) -> Callback {
    let body = match serde_json::to_vec(ended) {
        Ok(body) => bytes::Bytes::from(body),
        Err(error) => {
            tracing::warn!(%error, "a callback cannot be written as JSON");
            return Callback::Failed;
        }
    };
    let job = &ended.status.job;
    let mut pauses = RETRIES.iter();
    loop {
        let answer = client
            .post(url)
            .headers(headers(config, &ended.status))
            .body(body.clone())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        let error = match answer {
            Ok(_) => return Callback::Delivered,
            // The URL may hold a token of its receiver.
            Err(error) => error.without_url(),
        };
        let Some(pause) = pauses.next() else {
            tracing::warn!(%job, error = chain(&error), "gave a callback up");
            return Callback::Failed;
        };
        tracing::debug!(%job, error = chain(&error), "a callback failed, trying again");
        tokio::time::sleep(*pause).await;
    }
}

fn headers(config: &Config, status: &JobStatus) -> reqwest::header::HeaderMap {
    // The two are of different clocks.
    let seconds = status
        .ended_seconds
        .map_or(0.0, |ended| (ended - status.created_seconds).max(0.0));
    let code = match status.state {
        JobState::Done if status.failed == 0 => "200",
        _ => "500",
    };
    let values = [
        ("content-type", "application/json".to_owned()),
        ("x-call-id", status.job.to_string()),
        ("x-duration-seconds", format!("{seconds:.6}")),
        ("x-function-status", code.to_owned()),
        ("x-function-name", config.farm.to_string()),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| {
            Some((
                reqwest::header::HeaderName::from_static(name),
                value.parse().ok()?,
            ))
        })
        .collect()
}
