//! How a task is called: by its subject and its header, or by its place in the stream.

use async_nats::{HeaderMap, HeaderValue};
use farm_core::envelope;
use farm_core::topology::Topology;
use farm_core::{InvalidName, JobId, TaskId, TaskKey};

/// What the headers of a message say of its task's name.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub task: Option<&'a str>,
    pub message_id: Option<&'a str>,
}

impl<'a> Said<'a> {
    pub fn in_headers(headers: &'a HeaderMap) -> Self {
        let text = |name| headers.get(name).map(HeaderValue::as_str);
        Self {
            task: text(envelope::TASK),
            message_id: text(envelope::MESSAGE_ID),
        }
    }
}

/// The name of the task in a message of the tasks stream, and why the message names none of its own
/// if it does not.
pub(crate) fn of(
    subject: &str,
    said: Said<'_>,
    topology: &Topology,
    stream_sequence: u64,
) -> Result<(TaskId, Option<String>), String> {
    let invalid = |error: InvalidName| error.to_string();
    let by_sequence = || TaskKey::new(format!("s{stream_sequence}")).map_err(invalid);
    let (job, no_job) = match topology.job_of_task_subject(subject) {
        Some(job) => (job, None),
        None => (
            JobId::new("unnamed").map_err(invalid)?,
            Some(format!("the subject {subject:?} names no job")),
        ),
    };
    let (key, no_key) = match said.task.map(TaskKey::new) {
        // An emitter's message id is the name of its task: to say it twice would cost every task.
        None => match named_by(said.message_id, &job) {
            Some(key) => (key, None),
            None => (by_sequence()?, None),
        },
        Some(Ok(key)) => (key, None),
        Some(Err(error)) => (by_sequence()?, Some(error.to_string())),
    };
    Ok((TaskId::new(job, key), no_job.or(no_key)))
}

/// What follows the job in a message id, if it is the name of a task.
fn named_by(message_id: Option<&str>, job: &JobId) -> Option<TaskKey> {
    let key = message_id?.strip_prefix(job.as_str())?.strip_prefix('.')?;
    TaskKey::new(key).ok()
}
