//! What happens to a farm at its limits: real servers, real processes, minutes of them. Prints the
//! tables of docs/extremes.md.
//!
//! `make extremes`; it takes a quarter of an hour.

mod expiry;
mod large_job;
mod long_task;
mod many_jobs;
mod overload;
mod poison;
mod report;
mod rig;
mod slow_readers;
mod tally;

use std::process::ExitCode;

use report::Report;
use serde_json::{Map, Value};

const NAMES: &[&str] = &[
    "overload",
    "many-jobs",
    "large-job",
    "slow-readers",
    "expiry",
    "poison",
    "long-task",
];

const USAGE: &str = "usage: extremes [--only NAME]... [--json FILE] [--seconds OVERLOAD] \
    [--jobs COUNT] [--tasks COUNT] [--readers COUNT] \
    [--pause-seconds SECONDS] [--long-seconds SECONDS]";

/// What to do, and how much of it.
struct Options {
    only: Vec<String>,
    json: Option<String>,
    /// How long the overload lasts.
    overload_seconds: u64,
    /// Jobs of one task.
    jobs: usize,
    /// Tasks of the one large job.
    tasks: usize,
    /// Readers that are slow.
    readers: usize,
    /// How long some of them pause before they go on.
    pause_seconds: u64,
    /// How long the long task takes.
    long_seconds: u64,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            only: Vec::new(),
            json: None,
            overload_seconds: 60,
            jobs: 10_000,
            tasks: 1_000_000,
            readers: 50,
            pause_seconds: 40,
            long_seconds: 60,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--only" => options
                    .only
                    .push(words.next().filter(|name| is_known(name))?),
                "--json" => options.json = Some(words.next()?),
                "--seconds" => options.overload_seconds = words.next()?.parse().ok()?,
                "--jobs" => options.jobs = words.next()?.parse().ok()?,
                "--tasks" => options.tasks = words.next()?.parse().ok()?,
                "--readers" => options.readers = words.next()?.parse().ok()?,
                "--pause-seconds" => options.pause_seconds = words.next()?.parse().ok()?,
                "--long-seconds" => options.long_seconds = words.next()?.parse().ok()?,
                _ => return None,
            }
        }
        Some(options)
    }

    async fn run(&self, name: &str) -> Vec<Report> {
        match name {
            "overload" => overload::run(self.overload_seconds).await,
            "many-jobs" => vec![many_jobs::run(self.jobs).await],
            "large-job" => vec![large_job::run(self.tasks).await],
            "slow-readers" => slow_readers::run(self.readers, self.pause_seconds).await,
            "expiry" => vec![expiry::run().await],
            "poison" => poison::run().await,
            _ => vec![long_task::run(self.long_seconds).await],
        }
    }
}

fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(options) = Options::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}\nNAME is one of {}", NAMES.join(", "));
        return ExitCode::from(2);
    };
    let mut reports = Vec::new();
    for name in NAMES {
        if options.only.is_empty() || options.only.iter().any(|only| only == name) {
            let found = options.run(name).await;
            found.iter().for_each(Report::print);
            reports.extend(found);
        }
    }
    if let Some(file) = &options.json {
        let account: Map<String, Value> = reports.iter().map(Report::json).collect();
        if let Err(error) = std::fs::write(file, Value::Object(account).to_string()) {
            eprintln!("cannot write {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    match reports.iter().all(Report::is_kept) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
