//! `farm submit`: send a job to a farm, and wait for its results if asked.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use farm_core::http::{Accepted, FarmStatus};
use farm_core::quantity::parse_duration;
use farm_core::{Role, Roles};
use uuid::Uuid;

use crate::client::{Error, FarmClient, SubmitHeaders, connect};
use crate::failure::Failure;
use crate::gateway::{FunctionName, GatewayArgs};
use crate::input::{Input, InputArgs};
use crate::output::{Out, print_json, print_line};
use crate::progress::Progress;
use crate::wait::Wait;

/// Arguments of `farm submit`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm submit thumbnails photos/ --wait --out thumbnails.ndjson
  farm submit sleeper --value '[{\"seconds\": 0.5}, {\"seconds\": 1}]' --deadline 2s --wait
  producer | farm submit sleeper --json")]
pub struct Args {
    /// The farm's function
    function: FunctionName,
    #[command(flatten)]
    input: InputArgs,
    /// Wait for the job's end, or at most this long, and print its account
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse_duration)]
    wait: Option<Option<Duration>>,
    /// Where to write the results as NDJSON, or the summary if the farm folds one
    #[arg(long, value_name = "FILE", requires = "wait")]
    out: Option<PathBuf>,
    /// Sojourn time allowed to each task, such as 2s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Makes a repeated submit answer with the first one's job [default: a new one each time]
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    idempotency_key: Option<String>,
    /// Address to which the farm posts the outcome when the job ends
    #[arg(long, value_name = "URL", value_parser = parse_callback)]
    callback: Option<String>,
    /// How long to try again when the farm is full or the connection is lost
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    retry_for: Duration,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

fn parse_key(key: &str) -> Result<String, String> {
    match key.len() {
        1..=256 if key.bytes().all(|b| b.is_ascii_graphic()) => Ok(key.to_owned()),
        _ => Err("use 1 to 256 visible ASCII characters".to_owned()),
    }
}

fn parse_callback(url: &str) -> Result<String, String> {
    match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => Ok(url.to_owned()),
        _ => Err("write it like http://host/path".to_owned()),
    }
}

/// Submits, and waits if asked.
///
/// # Errors
/// The input is refused, or the farm cannot be reached.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let input = Input::open(&args.input)?;
    let (client, status) = connect(&args.gateway, &args.function).await?;
    expect_emitter(&args.function, &status)?;
    let waiting = match &args.wait {
        Some(limit) => {
            let out = args
                .out
                .as_deref()
                .map(|path| Out::create(Some(path)))
                .transpose()?;
            Some(Wait {
                limit: *limit,
                patience: args.retry_for,
                out,
                json: args.json,
            })
        }
        None => None,
    };
    let started = Instant::now();
    let accepted = submit(&client, &input, &args).await?;
    match waiting {
        Some(wait) => wait.run(&client, &accepted, started).await,
        None => print_accepted(&args, &accepted),
    }
}

/// Another role would answer 404 to the job, which says less.
fn expect_emitter(function: &FunctionName, status: &FarmStatus) -> Result<(), Failure> {
    let takes_jobs = status
        .roles
        .parse::<Roles>()
        .map_or(true, |roles| roles.has(Role::Emitter));
    if takes_jobs {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "function {function} plays only {} of farm {}: submit to the function that plays emitter",
        status.roles, status.farm
    )))
}

/// Submits, and again as long as that may help: the key makes sure that one job comes of it.
async fn submit(client: &FarmClient, input: &Input, args: &Args) -> Result<Accepted, Failure> {
    let given_up = Instant::now() + args.retry_for;
    let key = args.idempotency_key.clone();
    let headers = SubmitHeaders {
        content_type: input.content_type(),
        deadline: args.deadline,
        idempotency_key: Some(key.unwrap_or_else(|| Uuid::new_v4().to_string())),
        callback_url: args.callback.clone(),
        timeout: None,
    };
    loop {
        let error = match send(client, &headers, input).await? {
            Ok(accepted) => return Ok(accepted),
            Err(error) => error,
        };
        if let Some(fault) = input.fault() {
            return Err(fault);
        }
        match error.retry_after() {
            Some(pause) if Instant::now() + pause <= given_up => {
                eprintln!("farm: {error}; trying again in {} s", pause.as_secs());
                tokio::time::sleep(pause).await;
            }
            _ => return Err(explain(error, input)),
        }
    }
}

async fn send(
    client: &FarmClient,
    headers: &SubmitHeaders,
    input: &Input,
) -> Result<Result<Accepted, Error>, Failure> {
    let progress = Progress::of_bytes("sending");
    let bar = progress.bar();
    let body = input.body(move |bytes| bar.inc(bytes as u64)).await?;
    Ok(client.submit(headers, body).await)
}

/// Adds the file that a refused line was made of.
fn explain(error: Error, input: &Input) -> Failure {
    let line = match &error {
        Error::Refused { problem, .. } => problem.line,
        _ => None,
    };
    match line.and_then(|line| input.file_of_line(line)) {
        Some(file) => Failure::Refused(format!("{file}: {error}")),
        None => error.into(),
    }
}

fn print_accepted(args: &Args, accepted: &Accepted) -> Result<ExitCode, Failure> {
    if args.json {
        print_json(accepted)?;
    } else {
        let again = if accepted.repeated {
            " (an earlier submit with the same key)"
        } else {
            ""
        };
        let Accepted { job, accepted, .. } = accepted;
        print_line(&format!("job {job}: {accepted} tasks accepted{again}"))?;
        print_line(&format!("results: farm results {} {job}", args.function))?;
    }
    Ok(ExitCode::SUCCESS)
}
