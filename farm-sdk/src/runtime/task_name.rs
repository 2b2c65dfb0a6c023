//! How a task is called: by its subject and its header, or by its place in the stream.

use async_nats::HeaderMap;
use farm_core::envelope;
use farm_core::topology::Topology;
use farm_core::{JobId, TaskId, TaskKey};

/// The name of the task in a message of the tasks stream, and why the message names none of its own
/// if it does not.
pub(crate) fn of(
    subject: &str,
    headers: Option<&HeaderMap>,
    topology: &Topology,
    stream_sequence: u64,
) -> Result<(TaskId, Option<String>), String> {
    let unnamed = || {
        JobId::new("unnamed")
            .and_then(|job| Ok((job, TaskKey::new(format!("s{stream_sequence}"))?)))
    };
    let (no_job, by_sequence) = unnamed().map_err(|error| error.to_string())?;
    let (job, no_job) = match topology.job_of_task_subject(subject) {
        Some(job) => (job, None),
        None => (
            no_job,
            Some(format!("the subject {subject:?} names no job")),
        ),
    };
    let text = |name: &str| Some(headers?.get(name)?.as_str());
    let (key, no_key) = match text(envelope::TASK).map(TaskKey::new) {
        None => {
            // An emitter's message id is the name of its task: to say it twice would cost every task.
            let id = text("Nats-Msg-Id").and_then(|id| id.parse::<TaskId>().ok());
            let named = id.filter(|id| id.job == job).map(|id| id.key);
            (named.unwrap_or(by_sequence), None)
        }
        Some(Ok(key)) => (key, None),
        Some(Err(error)) => (by_sequence, Some(error.to_string())),
    };
    Ok((TaskId::new(job, key), no_job.or(no_key)))
}
