//! One attempt at one task, with panics caught.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::codec::Encoded;
use crate::context::TaskFacts;
use crate::task_error::TaskError;
use crate::worker::ErasedWorker;

/// Runs the worker; a panic, in the call or in any later poll, is a permanent failure.
pub(crate) async fn attempt(
    worker: &dyn ErasedWorker,
    task: Encoded,
    facts: TaskFacts,
) -> Result<Encoded, TaskError> {
    // The worker may hold broken state after a panic, as in any multi-threaded server; the task
    // that caused it is not given to it again.
    let guarded = AssertUnwindSafe(async { worker.call(task, facts).await }).catch_unwind();
    match guarded.await {
        Ok(result) => result,
        Err(panic) => Err(TaskError::permanent(format!(
            "panicked: {}",
            message_of(panic.as_ref())
        ))),
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
