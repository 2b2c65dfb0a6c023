//! The fault campaign: numbered tasks through every entry, faults from a seeded schedule, and a
//! checker that reads what became of each task.
//!
//! `make chaos`; it takes half an hour. docs/faults.md says what it does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use farm_tests::chaos::{Options, run};

const USAGE: &str = "usage: chaos [--seed N] [--tasks N] [--faults N] [--minutes N] \
                     [--servers 1|3] [--no-autoscaler] [--json FILE] [--keep FOLDER]";

struct Arguments {
    options: Options,
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Arguments { options, json }) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(folder) = &options.keep
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        eprintln!("{}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    println!("seed {}, {} NATS server(s)", options.seed, options.servers);
    let report = run(&options).await;
    println!("{}", report.tables());
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    match report.violations.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn arguments() -> Option<Arguments> {
    let mut options = Options {
        seed: 1,
        tasks: 200_000,
        faults: 100,
        span: Duration::from_secs(13 * 60),
        servers: 1,
        autoscaler: true,
        keep: None,
    };
    let mut json = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => options.seed = words.next()?.parse().ok()?,
            "--tasks" => options.tasks = words.next()?.parse().ok()?,
            "--faults" => options.faults = words.next()?.parse().ok()?,
            "--minutes" => {
                let minutes: f64 = words.next()?.parse().ok()?;
                options.span = Duration::try_from_secs_f64(minutes * 60.0).ok()?;
            }
            "--servers" => options.servers = words.next()?.parse().ok()?,
            "--no-autoscaler" => options.autoscaler = false,
            "--json" => json = Some(words.next()?.into()),
            "--keep" => options.keep = Some(words.next()?.into()),
            _ => return None,
        }
    }
    matches!(options.servers, 1 | 3).then_some(Arguments { options, json })
}
