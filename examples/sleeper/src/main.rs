//! A farm whose tasks take as long, and fail as often, as they are told to: for load tests and
//! for trying out failures.

mod service;
mod task;

use std::time::{Duration, Instant};

use farm_sdk::{Farm, TaskContext, TaskError, no_state};
use task::{Failure, Slept, Task};

/// Worker: spends the service time, then fails if told to.
async fn sleep(task: Task, context: TaskContext<()>) -> Result<Slept, TaskError> {
    let seconds = task.service_seconds(context.task_id())?;
    spend(Duration::from_secs_f64(seconds), &task).await?;
    match task.failure_on(context.attempt()) {
        None => Ok(Slept {
            seconds,
            payload: "x".repeat(task.payload_bytes),
            tag: task.tag,
        }),
        Some(Failure::Transient) => Err(TaskError::transient("told to fail, may pass")),
        Some(Failure::Permanent) => Err(TaskError::permanent("told to fail for good")),
        Some(Failure::Panic) => panic!("told to panic"),
        // As a replica dies that runs out of memory: without a word.
        Some(Failure::Exit) => std::process::exit(70),
    }
}

async fn spend(time: Duration, task: &Task) -> Result<(), TaskError> {
    match (time.is_zero(), task.spin, task.block) {
        (true, _, _) => {}
        (_, true, true) => spin(time),
        (_, true, false) => tokio::task::spawn_blocking(move || spin(time)).await?,
        (_, false, true) => std::thread::sleep(time),
        (_, false, false) => tokio::time::sleep(time).await,
    }
    Ok(())
}

fn spin(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[tokio::main]
async fn main() -> Result<(), farm_sdk::Error> {
    Farm::new(sleep).run(no_state).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn run(json: &str) -> farm_sdk::InMemory<Slept, ()> {
        let task: Task = serde_json::from_str(json).unwrap();
        Farm::new(sleep).run_in_memory((), [task]).await
    }

    #[tokio::test]
    async fn an_empty_task_is_the_no_op() {
        let done = run("{}").await;
        assert_eq!(
            done.results[0],
            Slept {
                seconds: 0.0,
                payload: String::new(),
                tag: None,
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_sleeps_as_long_as_it_is_told() {
        let started = tokio::time::Instant::now();
        run(r#"{"seconds": 7.5}"#).await;
        assert_eq!(started.elapsed().as_secs_f64().round(), 8.0);
    }

    #[tokio::test]
    async fn it_spins_as_long_as_it_is_told() {
        let started = Instant::now();
        run(r#"{"seconds": 0.05, "spin": true}"#).await;
        assert!(started.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn each_failure_ends_as_named() {
        let transient = run(r#"{"fail": "transient"}"#).await;
        assert!(transient.attempts > 1);
        assert!(transient.dead[0].cause.contains("may pass"));

        let passing = run(r#"{"fail": "transient", "fail_attempts": 2}"#).await;
        assert_eq!((passing.attempts, passing.results.len()), (3, 1));

        let permanent = run(r#"{"fail": "permanent"}"#).await;
        assert_eq!(permanent.attempts, 1);
        assert!(permanent.dead[0].cause.contains("for good"));

        let panic = run(r#"{"fail": "panic"}"#).await;
        assert!(panic.dead[0].cause.contains("told to panic"));
    }

    #[tokio::test]
    async fn a_result_is_as_large_as_it_is_told() {
        let done = run(r#"{"payload_bytes": 100000}"#).await;
        assert_eq!(done.results[0].payload.len(), 100_000);
    }

    #[tokio::test]
    async fn a_tag_comes_back() {
        let done = run(r#"{"tag": "t7"}"#).await;
        assert_eq!(done.results[0].tag.as_deref(), Some("t7"));
    }
}
