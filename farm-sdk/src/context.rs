//! What a worker knows about the task in its hands.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use farm_core::{JobId, TaskId};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// The task a worker is computing and the state it was started with.
///
/// Dereferences to the state that `init` built; cheap to clone.
///
/// ```
/// use farm_sdk::{TaskContext, TaskError};
///
/// struct App { greeting: String }
///
/// async fn greet(name: String, app: TaskContext<App>) -> Result<String, TaskError> {
///     Ok(format!("{} {name}, attempt {}", app.greeting, app.attempt()))
/// }
/// ```
pub struct TaskContext<S> {
    state: Arc<S>,
    facts: Arc<TaskFacts>,
}

/// What the farm knows of one delivery of one task.
#[derive(Debug, Clone)]
pub(crate) struct TaskFacts {
    pub task: TaskId,
    pub attempt: u64,
    pub deadline: Option<SystemTime>,
    pub draining: CancellationToken,
    pub threads: Threads,
}

/// Where plain functions run.
#[derive(Debug, Clone)]
pub(crate) enum Threads {
    /// On the current thread, which may block.
    Here,
    /// On those of the current runtime.
    Current,
    /// On those of this runtime.
    Of(Handle),
}

impl<S> TaskContext<S> {
    pub(crate) fn new(state: Arc<S>, facts: TaskFacts) -> Self {
        Self {
            state,
            facts: Arc::new(facts),
        }
    }

    /// The task's name in the farm: the same for every attempt, so effects can be keyed by it.
    pub fn task_id(&self) -> &TaskId {
        &self.facts.task
    }

    /// The job the task belongs to.
    pub fn job_id(&self) -> &JobId {
        &self.facts.task.job
    }

    /// Which delivery this is, from 1; drains and crashes of earlier workers count.
    pub fn attempt(&self) -> u64 {
        self.facts.attempt
    }

    /// When the result is due, if the task has a deadline.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.facts.deadline
    }

    /// Whether this replica is shutting down: a long task may stop at a good point and return
    /// a transient error to be taken up elsewhere.
    pub fn is_draining(&self) -> bool {
        self.facts.draining.is_cancelled()
    }

    /// Where plain functions run.
    pub(crate) fn threads(&self) -> &Threads {
        &self.facts.threads
    }
}

impl<S> Clone for TaskContext<S> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            facts: Arc::clone(&self.facts),
        }
    }
}

impl<S> Deref for TaskContext<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.state
    }
}
