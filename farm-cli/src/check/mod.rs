//! `farm check`: whether a function keeps the contract between a farm function and its platform.
//!
//! A crate or an executable runs as a process, an image as a container; both against a NATS server
//! of their own, which is taken away and brought back. Of a function that runs elsewhere only what
//! HTTP shows is checked. Everything has a time limit, and nothing outlives the check.

mod docker;
mod finding;
mod job;
mod launch;
mod life;
mod log;
mod metrics;
mod probe;
mod remote;
mod start;
mod target;

pub use docker::Image;
pub use finding::{Finding, Report};
pub use job::Job;
pub use launch::{Launcher, Program};
pub use remote::Remote;
pub use target::Target;

use std::time::{Duration, Instant};

use farm_local::NatsServer;

use crate::failure::Failure;
use finding::Fault;
use life::Life;

/// The names of the checks, in the order of the report.
pub mod name {
    pub const ROOT: &str = "read-only root";
    pub const USER: &str = "non-root user";
    pub const BAD_VALUE: &str = "bad value";
    pub const NATS_URL: &str = "no NATS URL";
    pub const HEALTH: &str = "health";
    pub const READINESS: &str = "readiness";
    pub const STATUS: &str = "farm status";
    pub const METRICS: &str = "metrics";
    pub const DRAIN: &str = "drain";
    pub const JOB: &str = "job";
    pub const LOG: &str = "log lines";
}

/// The client that asks replicas on this machine.
///
/// # Errors
/// The TLS set-up of this machine is unusable.
pub fn local_client() -> Result<reqwest::Client, Failure> {
    probe::client(false)
}

/// Checks what `launcher` starts.
///
/// # Errors
/// What the check itself needs, a process, a container or a NATS server, cannot be had.
pub async fn local(
    mut launcher: Launcher,
    mut nats: NatsServer,
    job: Option<&Job>,
) -> Result<Report, Failure> {
    let mut report = Report::default();
    life::root(&mut launcher, &nats.url(), &mut report).await?;
    start::check(&launcher, &nats.url(), &mut report).await?;
    let running = match life::begin(&launcher, &nats.url(), &mut report).await? {
        Some(running) => running,
        None => {
            log_lines(&launcher, &mut report);
            return Ok(report);
        }
    };
    Life::new(&launcher, running, &mut nats)
        .check(&mut report)
        .await?;
    match job {
        Some(job) => {
            let started = Instant::now();
            nats.start()
                .await
                .map_err(|e| Failure::Failed(e.to_string()))?;
            let judgement = job.check(&launcher, &nats.url()).await?;
            report.record(name::JOB, started, judgement);
        }
        None => report.skip(name::JOB, "no task was given: give one with --job"),
    }
    log_lines(&launcher, &mut report);
    Ok(report)
}

fn log_lines(launcher: &Launcher, report: &mut Report) {
    let started = Instant::now();
    let longest = launcher.log.longest();
    let judgement = match longest.bytes < log::LIMIT_BYTES {
        true => Ok(format!("the longest has {} bytes", longest.bytes)),
        false => Err(Fault::new(
            format!(
                "a line of {} bytes, over the {} that a log path takes: {:?}...",
                longest.bytes,
                log::LIMIT_BYTES,
                longest.start
            ),
            "log a size or a name in place of the value: a platform may stop reading there",
        )),
    };
    report.record(name::LOG, started, judgement);
}

/// Longest wait for the first answer on the HTTP port, and for the end of a process that cannot run.
const STARTS_WITHIN: Duration = Duration::from_secs(15);
/// Longest wait for readiness when NATS is there, and for its loss when NATS is not.
const READY_WITHIN: Duration = Duration::from_secs(30);
