//! A job that is interrupted by a stop: every task has one outcome all the same.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use farm_core::http::{Accepted, JobStatus, NDJSON, TaskOutcome};
use farm_core::quantity::format_duration;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;

use super::READY_WITHIN;
use super::finding::{Fault, Judgement};
use super::launch::{Launcher, Running};
use super::life::drain;
use crate::failure::{Failure, root_cause};

const SHORT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const NEXT: &str = "see the function's log, and that its worker gives tasks back when it drains";

/// A job of equal tasks.
#[derive(Debug)]
pub struct Job {
    /// One task, as JSON.
    pub task: String,
    /// How many.
    pub tasks: u64,
    /// Longest time until the job has ended.
    pub limit: Duration,
}

impl Job {
    /// Submits it to a replica, stops that in the middle, and lets another finish it.
    ///
    /// # Errors
    /// The function cannot be started.
    pub async fn check(&self, launcher: &Launcher, nats_url: &str) -> Result<Judgement, Failure> {
        let settings = [("FARM_NATS_URL", Some(nats_url))];
        let mut first = launcher.launch(&settings).await?;
        let interrupted = self.interrupt(&mut first, launcher.grace).await;
        drop(first);
        let (accepted, before) = match interrupted {
            Ok(interrupted) => interrupted,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut second = launcher.launch(&settings).await?;
        let tasks = accepted.accepted;
        let judgement = match self.account(&mut second, &accepted).await {
            Ok(account) if before < tasks => Ok(format!(
                "{account}; the stop came after {before} of {tasks}"
            )),
            Ok(account) => Ok(format!(
                "{account}; but all had ended before the stop: give longer tasks, or more"
            )),
            Err(fault) => Err(fault),
        };
        Ok(judgement)
    }

    /// The job, and the tasks that had ended when the replica was told to stop.
    async fn interrupt(
        &self,
        running: &mut Running,
        grace: Duration,
    ) -> Result<(Accepted, u64), Fault> {
        ready(running).await?;
        let body = format!("{}\n", self.task).repeat(usize::try_from(self.tasks).unwrap_or(0));
        let submit = running
            .http
            .post("/")
            .header(CONTENT_TYPE, NDJSON)
            .body(body)
            .timeout(self.limit);
        let answer = submit.send().await.map_err(|e| failed(&root_cause(&e)))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|e| failed(&root_cause(&e)))?;
        if status != StatusCode::ACCEPTED {
            let said = String::from_utf8_lossy(&body);
            return Err(Fault::new(
                format!("the job was answered with {}: {said}", status.as_u16()),
                "give --job a task that the worker takes",
            ));
        }
        let accepted: Accepted =
            serde_json::from_slice(&body).map_err(|e| failed(&e.to_string()))?;
        let job = accepted.job.to_string();
        let started = Instant::now();
        // The middle: some are done, or at least one is being computed.
        let ended = loop {
            let status = account_of(running, &job).await?;
            let ended = status.done + status.failed;
            let begun = ended > 0 || started.elapsed() > SHORT_TIMEOUT;
            if begun {
                break ended;
            }
            tokio::time::sleep(POLL).await;
        };
        drain(running, grace).await.map(|_| (accepted, ended))
    }

    /// Waits for the end of the job on another replica, and counts.
    async fn account(&self, running: &mut Running, accepted: &Accepted) -> Result<String, Fault> {
        ready(running).await?;
        let (job, tasks) = (accepted.job.to_string(), accepted.accepted);
        let started = Instant::now();
        let status = loop {
            let status = account_of(running, &job).await?;
            if status.ended_seconds.is_some() {
                break status;
            }
            if started.elapsed() > self.limit {
                let ended = status.done + status.failed;
                let limit = format_duration(self.limit);
                return Err(failed(&format!(
                    "{ended} of {tasks} tasks have an outcome {limit} after the restart"
                )));
            }
            tokio::time::sleep(POLL).await;
        };
        let reading = tokio::time::timeout(self.limit, outcomes(running, &job));
        let outcomes = reading
            .await
            .map_err(|_| failed("the results of the ended job do not end"))??;
        let different: BTreeSet<_> = outcomes.iter().collect();
        let counts = [outcomes.len(), different.len()].map(|count| count as u64);
        if counts != [tasks, tasks] {
            let [outcomes, different] = counts;
            return Err(failed(&format!(
                "{tasks} tasks, but {outcomes} outcomes, of {different} tasks"
            )));
        }
        Ok(format!(
            "{} done, {} failed, each once",
            status.done, status.failed
        ))
    }
}

fn failed(why: &str) -> Fault {
    Fault::new(why, NEXT)
}

async fn ready(running: &mut Running) -> Result<(), Fault> {
    let became = running
        .http
        .becomes("/_/ready", StatusCode::OK, READY_WITHIN)
        .await;
    match became {
        Ok(()) => Ok(()),
        Err(seen) => Err(failed(&format!(
            "GET /_/ready {seen}: {}",
            running.excuse().await
        ))),
    }
}

async fn account_of(running: &mut Running, job: &str) -> Result<JobStatus, Fault> {
    let started = Instant::now();
    loop {
        let why = match running.http.read(&format!("/jobs/{job}")).await {
            Ok((StatusCode::OK, body)) => match serde_json::from_slice(&body) {
                Ok(status) => return Ok(status),
                Err(error) => error.to_string(),
            },
            Ok((status, _)) => status.to_string(),
            Err(cause) => cause,
        };
        if started.elapsed() > SHORT_TIMEOUT {
            return Err(failed(&format!("GET /jobs/{job}: {why}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The tasks of all outcomes, however large these are.
async fn outcomes(running: &Running, job: &str) -> Result<Vec<String>, Fault> {
    let asked = running.http.get(&format!("/jobs/{job}/results")).send();
    let mut answer = asked.await.map_err(|e| failed(&root_cause(&e)))?;
    let (mut tasks, mut rest) = (Vec::new(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|e| failed(&root_cause(&e)))? {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let outcome: TaskOutcome = serde_json::from_slice(&rest)
                    .map_err(|error| failed(&format!("a line of the results: {error}")))?;
                tasks.push(outcome.task);
                rest.clear();
            }
        }
    }
    Ok(tasks)
}
