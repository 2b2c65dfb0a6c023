//! A farm inside one process: no server, no waiting, the same verdicts.

use std::collections::VecDeque;
use std::time::Duration;

use farm_core::{Codec, JobId, TaskId, TaskKey};
use tokio_util::sync::CancellationToken;

use crate::attempt::attempt;
use crate::codec::{self, Encoded};
use crate::collector::Collector;
use crate::context::{TaskFacts, Threads};
use crate::emitter::Emitter;
use crate::verdict::{RetryPolicy, Verdict, judge, over_ceiling};
use crate::worker::{Bound, ErasedWorker, Worker};

/// What came out of [`Farm::run_in_memory`](crate::Farm::run_in_memory).
#[derive(Debug)]
#[non_exhaustive]
pub struct InMemory<Out, Summary> {
    /// Every result, in the order computed.
    pub results: Vec<Out>,
    /// Tasks that failed for good.
    pub dead: Vec<DeadTask>,
    /// One summary per job, if the farm has a collector.
    pub summaries: Vec<Summary>,
    /// How often a worker was called.
    pub attempts: u64,
}

/// A task that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadTask {
    /// The task.
    pub task: TaskId,
    /// What went wrong.
    pub cause: String,
    /// Deliveries it took.
    pub attempts: u64,
}

/// Failures that [`Farm::run_in_memory_with`](crate::Farm::run_in_memory_with) injects.
///
/// ```
/// use farm_sdk::{Farm, Faults, TaskContext, TaskError};
/// # async fn square(number: u64, _: TaskContext<()>) -> Result<u64, TaskError> { Ok(number * number) }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let faults = Faults { lose_worker_every: Some(3) };
/// let run = Farm::new(square).run_in_memory_with((), 0..100, faults).await;
/// assert_eq!(run.results.len(), 100, "every task has exactly one result");
/// assert!(run.attempts > 100, "though some were computed twice");
/// # });
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Every n-th attempt, the worker's replica is lost after computing, before its result is
    /// stored: the task is delivered again. 1 loses every attempt and is refused as 2.
    pub lose_worker_every: Option<u64>,
}

const POLICY: RetryPolicy = RetryPolicy {
    max_attempts: 5,
    max_deliveries: 20,
    backoff: Duration::ZERO,
    backoff_max: Duration::ZERO,
};

struct Queued {
    task: TaskId,
    body: Encoded,
    delivery: u64,
    /// Deliveries in which the worker failed.
    failed: u64,
}

pub(crate) async fn run<W, E, C>(
    bound: &Bound<W>,
    emitter: &E,
    collector: &C,
    jobs: impl IntoIterator<Item = E::Job>,
    faults: Faults,
) -> InMemory<W::Output, C::Summary>
where
    W: Worker,
    E: Emitter<W::Input>,
    C: Collector<W::Output>,
{
    let mut farm = InMemory {
        results: Vec::new(),
        dead: Vec::new(),
        summaries: Vec::new(),
        attempts: 0,
    };
    for (number, job) in jobs.into_iter().enumerate() {
        let mut summary = collector.seed();
        let tasks = emit(emitter, job, number, &mut farm.dead);
        for output in compute(bound, tasks, faults, &mut farm).await {
            // A summary consumes its results, so each takes the way through JSON a second time.
            let read = |output: &Encoded| codec::decode::<W::Output>(output);
            match (read(&output.body), read(&output.body)) {
                (Ok(result), Ok(again)) => {
                    farm.results.push(result);
                    summary = summary.map(|summary| collector.fold(summary, again));
                }
                (Err(mismatch), _) | (_, Err(mismatch)) => farm.dead.push(DeadTask {
                    task: output.task,
                    cause: format!("the result does not survive JSON: {mismatch}"),
                    attempts: output.delivery,
                }),
            }
        }
        farm.summaries.extend(summary);
    }
    farm
}

/// The tasks of one job, encoded.
fn emit<E, In>(
    emitter: &E,
    job: E::Job,
    number: usize,
    dead: &mut Vec<DeadTask>,
) -> VecDeque<Queued>
where
    E: Emitter<In>,
    In: serde::Serialize + 'static,
{
    let Ok(job_id) = JobId::new(format!("job-{number}")) else {
        return VecDeque::new();
    };
    let mut queue = VecDeque::new();
    for (sequence, task) in (0..).zip(emitter.split(job)) {
        let task_id = TaskId::new(job_id.clone(), TaskKey::from_sequence(sequence));
        match codec::encode(&task, Codec::Json) {
            Ok(body) => queue.push_back(Queued {
                task: task_id,
                body,
                delivery: 1,
                failed: 0,
            }),
            Err(error) => dead.push(DeadTask {
                task: task_id,
                cause: format!("the task {error}"),
                attempts: 0,
            }),
        }
    }
    queue
}

/// Computes a job's tasks until each has its one outcome; gives back the encoded results.
async fn compute<W: Worker, Summary>(
    worker: &Bound<W>,
    mut queue: VecDeque<Queued>,
    faults: Faults,
    farm: &mut InMemory<W::Output, Summary>,
) -> Vec<Queued> {
    let worker: &dyn ErasedWorker = worker;
    let mut outputs = Vec::new();
    while let Some(mut queued) = queue.pop_front() {
        let verdict = match over_ceiling(queued.delivery - 1 - queued.failed, &POLICY) {
            Some(verdict) => verdict,
            None => {
                farm.attempts += 1;
                let facts = TaskFacts {
                    task: queued.task.clone(),
                    attempt: queued.delivery,
                    deadline: None,
                    draining: CancellationToken::new(),
                    threads: Threads::Current,
                };
                let result = attempt(worker, queued.body.clone(), facts).await;
                match faults.lose_worker_every.map(|n| n.max(2)) {
                    Some(n) if farm.attempts.is_multiple_of(n) => Verdict::Retry {
                        delay: Duration::ZERO,
                        cause: "the replica was lost".to_owned(),
                    },
                    _ => {
                        queued.failed += u64::from(result.is_err());
                        judge(queued.failed, result, &POLICY, || 0.0)
                    }
                }
            }
        };
        match verdict {
            Verdict::Done(output) => outputs.push(Queued {
                body: output,
                ..queued
            }),
            Verdict::Retry { .. } => {
                queued.delivery += 1;
                queue.push_back(queued);
            }
            Verdict::Dead { cause } => farm.dead.push(DeadTask {
                task: queued.task,
                cause,
                attempts: queued.delivery,
            }),
        }
    }
    outputs
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Farm, ResultExt, TaskContext, TaskError, blocking};

    async fn parse(text: String, context: TaskContext<u64>) -> Result<u64, TaskError> {
        match text.as_str() {
            "panic" => panic!("no luck"),
            "later" if context.attempt() < 3 => Err(TaskError::transient("not yet")),
            "later" => Ok(3),
            "never" => Err(TaskError::transient("not ever")),
            text => Ok(text.parse::<u64>().permanent()? + *context),
        }
    }

    #[tokio::test]
    async fn each_kind_of_failure_ends_as_the_table_says() {
        let jobs = ["1", "x", "panic", "later", "never"].map(String::from);
        let run = Farm::new(parse).run_in_memory(10, jobs).await;
        assert_eq!(run.results, [11, 3]);
        let dead: Vec<_> = run
            .dead
            .iter()
            .map(|d| (d.cause.as_str(), d.attempts))
            .collect();
        assert_eq!(
            dead,
            [
                ("invalid digit found in string", 1),
                ("panicked: no luck", 1),
                ("not ever (gave up after 5 attempts)", 5)
            ]
        );
    }

    #[tokio::test]
    async fn a_panic_on_a_blocking_thread_is_caught_too() {
        fn explode(number: u64, _: &TaskContext<()>) -> Result<u64, TaskError> {
            assert!(number != 2, "two is too much");
            Ok(number)
        }
        let run = Farm::new(blocking(explode)).run_in_memory((), 1..=3).await;
        assert_eq!(run.results, [1, 3]);
        assert_eq!(run.dead[0].cause, "panicked: two is too much");
    }

    #[tokio::test]
    async fn a_fold_sees_each_result_once_though_replicas_are_lost() {
        async fn same(number: u64, _: TaskContext<()>) -> Result<u64, TaskError> {
            Ok(number)
        }
        let farm = Farm::new(same)
            .emitter(|n: u64| 0..n)
            .collector(|| 0, |sum: u64, x: u64| sum + x);
        let faults = Faults {
            lose_worker_every: Some(2),
        };
        let run = farm.run_in_memory_with((), [100], faults).await;
        assert_eq!(run.summaries, [99 * 100 / 2]);
    }

    #[test]
    fn the_state_is_shared_and_dropped_with_the_farm() {
        let state = Arc::new(());
        let context = TaskContext::new(
            Arc::clone(&state),
            TaskFacts {
                task: "j.0".parse().unwrap(),
                attempt: 1,
                deadline: None,
                draining: CancellationToken::new(),
                threads: Threads::Current,
            },
        );
        drop(context.clone());
        assert_eq!(Arc::strong_count(&state), 2);
    }
}
