//! Sending each task at its own time, whether or not earlier ones were answered.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farm_core::JobId;
use farm_core::http::NDJSON;
use reqwest::Body;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Plan, PlannedTask};
use crate::client::{Error, FarmClient, SubmitHeaders};
use crate::failure::Failure;
use crate::progress::Progress;

/// Tasks due within this time may share one request.
const TICK: Duration = Duration::from_millis(10);
const BATCH_MAX_TASKS: usize = 10_000;
/// Requests without an answer, at most; then sending waits, and what it sends is late.
const OPEN_REQUESTS: usize = 512;
/// A task sent later than this after its time counts as late.
const LATE: Duration = Duration::from_millis(50);
/// An answer that takes longer is none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// What each task consists of.
#[derive(Debug, Clone)]
pub enum TaskBody {
    /// `{"seconds": <service time>}`, as the `sleeper` example takes it.
    Sleeper,
    /// Always the same JSON value, on one line.
    Fixed(String),
}

impl TaskBody {
    fn line(&self, task: &PlannedTask) -> String {
        match self {
            TaskBody::Sleeper => format!("{{\"seconds\":{:.6}}}\n", task.service.as_secs_f64()),
            TaskBody::Fixed(json) => format!("{json}\n"),
        }
    }
}

/// How to send.
pub struct Sending {
    /// What arrives when.
    pub plan: Plan,
    /// How many tasks the plan has, about: for the progress bar.
    pub expected_tasks: u64,
    /// What each task consists of.
    pub body: TaskBody,
    /// Whether tasks due at nearly the same time, with equal deadlines, share one job.
    pub batch: bool,
}

/// A job that was taken in.
#[derive(Debug)]
pub struct SentJob {
    /// Its id.
    pub job: JobId,
    /// Its tasks.
    pub accepted: u64,
    /// When it was sent, from the start of the load.
    pub sent_at: Duration,
    /// How much later than intended that was.
    pub delay: Duration,
}

/// What was sent and how it was answered; every count is one of tasks.
#[derive(Debug, Default)]
pub struct Sent {
    /// Jobs taken in.
    pub jobs: Vec<SentJob>,
    /// Tasks sent.
    pub offered: u64,
    /// Tasks refused because the farm was full.
    pub refused: u64,
    /// Tasks whose request brought no answer, or one that is no answer to a task.
    pub unanswered: u64,
    /// The first such trouble.
    pub first_trouble: Option<Error>,
    /// Tasks sent late.
    pub late: u64,
    /// The latest.
    pub max_delay: Duration,
}

struct Answer {
    tasks: u64,
    sent_at: Duration,
    delay: Duration,
    outcome: Result<farm_core::http::Accepted, Error>,
}

impl Sending {
    /// Sends the whole plan and waits for the last answer.
    ///
    /// # Errors
    /// The function refuses the tasks themselves: then all would be refused.
    pub async fn run(self, client: &FarmClient) -> Result<Sent, Failure> {
        let mut progress = Progress::of(self.expected_tasks, "tasks sent");
        let mut shown = Instant::now();
        let mut sent = Sent::default();
        let mut requests = JoinSet::new();
        let open = Arc::new(Semaphore::new(OPEN_REQUESTS));
        let started = Instant::now();
        for batch in (Batches {
            tasks: self.plan.peekable(),
            merge: self.batch,
        }) {
            let Some(due) = batch.last().map(|task| task.at) else {
                continue;
            };
            tokio::time::sleep_until((started + due).into()).await;
            let Ok(permit) = open.clone().acquire_owned().await else {
                break;
            };
            let request = post(client.clone(), self.body.clone(), batch, started, due);
            requests.spawn(async move {
                let answer = request.await;
                drop(permit);
                answer
            });
            while let Some(Ok(answer)) = requests.try_join_next() {
                sent.count(answer)?;
            }
            if shown.elapsed() >= SHOW_EVERY {
                shown = Instant::now();
                progress.show(sent.offered, format!("{} refused", sent.refused));
            }
        }
        while let Some(answer) = requests.join_next().await {
            let answer = answer.map_err(|e| Failure::Failed(format!("a request broke: {e}")))?;
            sent.count(answer)?;
        }
        Ok(sent)
    }
}

async fn post(
    client: FarmClient,
    body: TaskBody,
    batch: Vec<PlannedTask>,
    started: Instant,
    due: Duration,
) -> Answer {
    let headers = SubmitHeaders {
        content_type: NDJSON,
        deadline: batch.first().and_then(|task| task.deadline),
        timeout: Some(REQUEST_TIMEOUT),
        ..SubmitHeaders::default()
    };
    let lines: String = batch.iter().map(|task| body.line(task)).collect();
    let sent_at = started.elapsed();
    let outcome = client.submit(&headers, Body::from(lines)).await;
    Answer {
        tasks: batch.len() as u64,
        sent_at,
        delay: sent_at.saturating_sub(due),
        outcome,
    }
}

impl Sent {
    /// Tasks taken in.
    pub fn accepted(&self) -> u64 {
        self.jobs.iter().map(|job| job.accepted).sum()
    }

    fn count(&mut self, answer: Answer) -> Result<(), Failure> {
        let Answer {
            tasks,
            sent_at,
            delay,
            outcome,
        } = answer;
        self.offered += tasks;
        self.max_delay = self.max_delay.max(delay);
        if delay > LATE {
            self.late += tasks;
        }
        match outcome {
            Ok(accepted) => {
                self.jobs.push(SentJob {
                    job: accepted.job,
                    accepted: accepted.accepted,
                    sent_at,
                    delay,
                });
            }
            Err(Error::Full { .. }) => self.refused += tasks,
            Err(
                error @ (Error::Refused { .. }
                | Error::NoSuchFunction { .. }
                | Error::NotAFarm { .. }),
            ) => {
                return Err(error.into());
            }
            Err(error) => {
                self.unanswered += tasks;
                self.first_trouble.get_or_insert(error);
            }
        }
        Ok(())
    }
}

/// The plan in requests: one task each, or all that are due within a tick.
struct Batches {
    tasks: Peekable<Plan>,
    merge: bool,
}

impl Iterator for Batches {
    type Item = Vec<PlannedTask>;

    fn next(&mut self) -> Option<Vec<PlannedTask>> {
        let first = self.tasks.next()?;
        let mut batch = vec![first];
        while self.merge && batch.len() < BATCH_MAX_TASKS {
            let fits =
                |task: &PlannedTask| task.at < first.at + TICK && task.deadline == first.deadline;
            match self.tasks.next_if(fits) {
                Some(task) => batch.push(task),
                None => break,
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(tasks: &[(u64, u64)], merge: bool) -> Vec<usize> {
        let tasks: Vec<_> = tasks
            .iter()
            .map(|(at_ms, deadline_ms)| PlannedTask {
                at: Duration::from_millis(*at_ms),
                service: Duration::ZERO,
                deadline: Some(Duration::from_millis(*deadline_ms)),
            })
            .collect();
        let plan: Plan = Box::new(tasks.into_iter());
        Batches {
            tasks: plan.peekable(),
            merge,
        }
        .map(|batch| batch.len())
        .collect()
    }

    #[test]
    fn tasks_of_one_tick_and_deadline_share_a_request() {
        assert_eq!(
            batches(&[(0, 5), (9, 5), (10, 5), (15, 5), (30, 5)], true),
            [2, 2, 1]
        );
        assert_eq!(batches(&[(0, 5), (1, 6), (2, 6)], true), [1, 2]);
        assert_eq!(batches(&[(0, 5), (0, 5)], false), [1, 1]);
    }

    #[test]
    fn a_sleeper_is_told_its_service_time() {
        let task = PlannedTask {
            at: Duration::ZERO,
            service: Duration::from_millis(1500),
            deadline: None,
        };
        assert_eq!(TaskBody::Sleeper.line(&task), "{\"seconds\":1.500000}\n");
    }
}
