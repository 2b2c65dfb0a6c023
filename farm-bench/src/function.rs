//! The farm under test: a plain user of the SDK.

use farm_sdk::{Farm, TaskContext, TaskError, blocking, no_state};
use serde::{Deserialize, Serialize};

use crate::task::{Task, Work, spin};

/// Which way a user would write the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// An async worker; a job is split into tasks.
    Split,
    /// The same with a worker that computes for long, on a thread of its own.
    SplitBlocking,
    /// An async worker; every value submitted is a task.
    Direct,
}

/// Plays the roles of `FARM_ROLE` until this process is ended.
pub(crate) async fn play(variant: Variant) -> Result<(), Box<dyn std::error::Error>> {
    match variant {
        Variant::Split => Farm::new(compute).emitter(split).run(no_state).await?,
        Variant::SplitBlocking => {
            let farm = Farm::new(blocking(compute_long)).emitter(split);
            farm.run(no_state).await?;
        }
        Variant::Direct => Farm::new(compute).run(no_state).await?,
    }
    Ok(())
}

fn split(work: Work) -> impl Iterator<Item = Task> {
    work.tasks()
}

async fn compute(task: Task, _: TaskContext<()>) -> Result<u64, TaskError> {
    std::hint::black_box(spin(task.1));
    Ok(task.0)
}

fn compute_long(task: Task, _: &TaskContext<()>) -> Result<u64, TaskError> {
    std::hint::black_box(spin(task.1));
    Ok(task.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_task_of_a_job_comes_back_once() {
        let work = Work {
            tasks: 20,
            task_bytes: 64,
            spin_rounds: 10,
            rate_per_second: Some(100_000.0),
        };
        let farm = Farm::new(compute).emitter(split);
        let run = farm.run_in_memory((), [work]).await;
        assert_eq!(run.results.len(), 20);
    }
}
