//! Waiting for a job: its results as they come, and its account at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use farm_core::JobId;
use farm_core::http::{Accepted, JobStatus};
use reqwest::Response;
use serde::Serialize;

use crate::client::{Error, FarmClient, Follow};
use crate::failure::{Failure, INCOMPLETE};
use crate::output::{Fields, Out, percent, print_json, seconds};
use crate::progress::watch_job;
use crate::tally::{SeenKeys, SojournSeconds, Tally};

/// How to wait for a job.
pub struct Wait {
    /// Longest time to wait; without one, until the job ends.
    pub limit: Option<Duration>,
    /// How long to bear with a farm out of reach.
    pub patience: Duration,
    /// Where results, or the summary if the farm folds one, are written.
    pub out: Option<Out>,
    /// Whether the account is printed as JSON.
    pub json: bool,
}

/// The account of a job, as a client saw it.
#[derive(Debug, Serialize)]
struct JobReport {
    job: JobId,
    ended: bool,
    accepted: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
    unfinished: u64,
    /// Accepted tasks that ended without any outcome: 0 unless the farm is broken.
    lost: u64,
    /// Outcomes that came twice: 0 unless the farm is broken.
    duplicates: u64,
    elapsed_seconds: f64,
    throughput_per_second: f64,
    sojourn_seconds: Option<SojournSeconds>,
    qos_ratio: Option<f64>,
}

impl Wait {
    /// Waits for the job's end, writes its results and prints its account.
    ///
    /// # Errors
    /// The farm was out of reach for too long, or the time to wait is over.
    pub async fn run(
        mut self,
        client: &FarmClient,
        accepted: &Accepted,
        started: Instant,
    ) -> Result<ExitCode, Failure> {
        let job = &accepted.job;
        let folds = self.out.is_some() && folds(client, job).await?;
        let mut tally = Tally::new()?;
        let mut follow = Follow::new(client, job, 0, self.patience);
        let progress = watch_job(client.clone(), job.clone(), accepted.accepted);
        let mut results_out = self.out.take_if(|_| !folds);
        let receiving = receive(&mut follow, &mut tally, &mut results_out);
        let in_time = match self.limit {
            Some(limit) => tokio::time::timeout(limit, receiving).await,
            None => Ok(receiving.await),
        };
        // An error while waiting leaves a job that goes on: its name is what the user needs next.
        in_time
            .unwrap_or(Ok(()))
            .map_err(|failure| name_job(failure, client, job))?;
        // Cleared before anything is printed beside it.
        progress.abort();
        let _ = progress.await;
        if let (Some(out), Some(_)) = (&mut self.out, follow.ended()) {
            write_summary(client, job, self.patience, out).await?;
        }
        let report = JobReport::new(accepted, follow.ended(), &tally, started.elapsed());
        report.print(self.json)?;
        report.exit_code(client)
    }
}

async fn receive(
    follow: &mut Follow<'_>,
    tally: &mut Tally,
    out: &mut Option<Out>,
) -> Result<(), Failure> {
    let mut seen = SeenKeys::default();
    while let Some(lines) = follow.next().await? {
        let mut text = String::new();
        for line in &lines {
            tally.record(&line.outcome, &mut seen, Duration::ZERO);
            if out.is_some() {
                text.push_str(&line.text);
                text.push('\n');
            }
        }
        if let Some(out) = out {
            out.write(text.as_bytes())?;
        }
    }
    Ok(())
}

/// Whether the farm has a collector function: a job's summary is then late, not unknown.
async fn folds(client: &FarmClient, job: &JobId) -> Result<bool, Failure> {
    match client.summary(job).await {
        Ok(_) | Err(Error::StillRunning { .. }) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes what the collector folded, once it is there.
///
/// # Errors
/// The farm has no collector function, or was out of reach for longer than `patience`.
pub async fn write_summary(
    client: &FarmClient,
    job: &JobId,
    patience: Duration,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut response = await_summary(client, job, patience).await?;
    let cut = |e: reqwest::Error| {
        Failure::Unreachable(format!(
            "the summary of job {job} broke off ({e}): fetch it again with `farm results --summary`"
        ))
    };
    while let Some(chunk) = response.chunk().await.map_err(cut)? {
        out.write(&chunk)?;
    }
    Ok(())
}

async fn await_summary(
    client: &FarmClient,
    job: &JobId,
    patience: Duration,
) -> Result<Response, Error> {
    let mut trouble_since = None;
    loop {
        let error = match client.summary(job).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(pause) = error.retry_after() else {
            return Err(error);
        };
        if matches!(error, Error::StillRunning { .. }) {
            trouble_since = None;
        } else if trouble_since.get_or_insert_with(Instant::now).elapsed() + pause > patience {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
    }
}

fn name_job(failure: Failure, client: &FarmClient, job: &JobId) -> Failure {
    match failure {
        Failure::Unreachable(text) => Failure::Unreachable(format!(
            "{text}; job {job} goes on, see `farm results {} {job}`",
            client.function()
        )),
        other => other,
    }
}

impl JobReport {
    fn new(
        accepted: &Accepted,
        ended: Option<&JobStatus>,
        tally: &Tally,
        waited: Duration,
    ) -> Self {
        let cancelled = ended.map_or(0, |status| status.cancelled);
        let remaining = accepted
            .accepted
            .saturating_sub(tally.done + tally.failed + cancelled);
        let (unfinished, lost) = match ended {
            Some(status) => (status.in_flight, remaining.saturating_sub(status.in_flight)),
            None => (remaining, 0),
        };
        let elapsed_seconds = ended
            .and_then(|status| Some(status.ended_seconds? - status.created_seconds))
            .unwrap_or(waited.as_secs_f64());
        Self {
            job: accepted.job.clone(),
            ended: ended.is_some(),
            accepted: accepted.accepted,
            done: tally.done,
            failed: tally.failed,
            cancelled,
            unfinished,
            lost,
            duplicates: tally.duplicates,
            elapsed_seconds,
            throughput_per_second: (tally.done + tally.failed) as f64 / elapsed_seconds.max(1e-6),
            sojourn_seconds: tally.sojourn(),
            qos_ratio: tally.qos_ratio(),
        }
    }

    fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return print_json(self);
        }
        Fields::default()
            .with("job", &self.job)
            .with("accepted", self.accepted)
            .with("results", self.done)
            .with("failed", self.failed)
            .with_some("cancelled", (self.cancelled > 0).then_some(self.cancelled))
            .with_some(
                "unfinished",
                (self.unfinished > 0).then_some(self.unfinished),
            )
            .with("lost", self.lost)
            .with("duplicates", self.duplicates)
            .with("time", seconds(self.elapsed_seconds))
            .with(
                "throughput",
                format!("{:.1} tasks/s", self.throughput_per_second),
            )
            .with_some(
                "sojourn p50",
                self.sojourn_seconds.map(|sojourn| seconds(sojourn.p50)),
            )
            .with_some(
                "sojourn p99",
                self.sojourn_seconds.map(|sojourn| seconds(sojourn.p99)),
            )
            .with_some("inside deadline", self.qos_ratio.map(percent))
            .print()
    }

    fn exit_code(&self, client: &FarmClient) -> Result<ExitCode, Failure> {
        if !self.ended {
            return Err(Failure::Failed(format!(
                "job {job} has not ended yet: go on with `farm results {function} {job}`",
                job = self.job,
                function = client.function(),
            )));
        }
        let complete = self.failed + self.cancelled + self.unfinished + self.lost == 0;
        Ok(if complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(INCOMPLETE)
        })
    }
}
