//! `farm results`: the outcomes of a job, live until it ends, or what the collector folded.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use farm_core::JobId;
use farm_core::http::JobStatus;
use farm_core::quantity::parse_duration;

use crate::client::{FarmClient, Follow, connect};
use crate::failure::{Failure, INCOMPLETE};
use crate::gateway::{FunctionName, GatewayArgs};
use crate::output::Out;
use crate::wait::write_summary;

/// Arguments of `farm results`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm results thumbnails 01JD7ZK4 > results.ndjson
  farm results thumbnails 01JD7ZK4 --after 512 --out rest.ndjson
  farm results wordcount 01JD7ZK4 --summary")]
pub struct Args {
    /// The farm's function
    function: FunctionName,
    /// The job
    job: JobId,
    /// Only outcomes after this cursor; each result line has one
    #[arg(long, value_name = "CURSOR", default_value_t = 0)]
    after: u64,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the collector folded, instead of the results; waits for the job's end
    #[arg(long, conflicts_with = "after")]
    summary: bool,
    /// How long to try again when the connection is lost
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    retry_for: Duration,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Writes the results of a job until it has ended.
///
/// # Errors
/// There is no such job, or the farm cannot be reached.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let (client, _) = connect(&args.gateway, &args.function).await?;
    // An unknown job is told before a file is made for it.
    client.job(&args.job).await?;
    let mut out = Out::create(args.out.as_deref())?;
    if args.summary {
        write_summary(&client, &args.job, args.retry_for, &mut out).await?;
        out.write(b"\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut follow = Follow::new(&client, &args.job, args.after, args.retry_for);
    let mut received = 0;
    loop {
        let lines = match follow.next().await {
            Ok(Some(lines)) => lines,
            Ok(None) => break,
            Err(error) => return Err(resumable(error.into(), follow.cursor())),
        };
        let text: String = lines
            .iter()
            .flat_map(|line| [line.text.as_str(), "\n"])
            .collect();
        out.write(text.as_bytes())?;
        received += lines.len() as u64;
    }
    Ok(follow.ended().map_or(ExitCode::SUCCESS, |ended| {
        verdict(&args, &client, ended, received)
    }))
}

fn resumable(failure: Failure, cursor: u64) -> Failure {
    match failure {
        Failure::Unreachable(text) => {
            Failure::Unreachable(format!("{text}; go on later with --after {cursor}"))
        }
        other => other,
    }
}

fn verdict(args: &Args, client: &FarmClient, ended: &JobStatus, received: u64) -> ExitCode {
    let expected = ended.done + ended.failed;
    if args.after == 0 && received < expected {
        eprintln!(
            "farm: {} of {expected} results of job {} are gone: {} keeps them only for its FARM_RESULT_TTL",
            expected - received,
            args.job,
            client.function()
        );
        return ExitCode::from(INCOMPLETE);
    }
    if ended.failed + ended.cancelled > 0 {
        return ExitCode::from(INCOMPLETE);
    }
    ExitCode::SUCCESS
}
