//! `farm status`: the farms of a gateway, one farm, or one job.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use farm_core::JobId;
use farm_core::gateway::FunctionStatus;
use farm_core::http::{FarmStatus, JobState, JobStatus};
use farm_core::quantity::parse_duration;
use futures_util::{StreamExt, stream};
use reqwest::Client;
use serde::Serialize;

use crate::client::{FarmClient, connect, functions, http_client};
use crate::failure::Failure;
use crate::gateway::{FunctionName, Gateway, GatewayArgs};
use crate::output::{Fields, ago, ahead, percent, print_json, print_line, print_table};

/// Functions asked at the same time.
const ASKED_AT_ONCE: usize = 16;
const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";

/// Arguments of `farm status`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm status                       all farms of the gateway
  farm status thumbnails --watch    one farm, again and again
  farm status thumbnails 01JD7ZK4   one job

Without FUNCTION, every function with a replica is asked with GET /: a farm tells its state.")]
pub struct Args {
    /// The farm's function
    function: Option<FunctionName>,
    /// A job of it
    job: Option<JobId>,
    /// Show it again and again; a job until it ends
    #[arg(long)]
    watch: bool,
    /// Time between two looks with --watch
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    interval: Duration,
    /// Print JSON, one line per farm or job
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Prints the status asked for.
///
/// # Errors
/// The farm or job does not exist or cannot be reached; with `--watch`, only at the first look.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let target = Target::find(&args).await?;
    let mut ended = target.look(&args).await?;
    while args.watch && !ended {
        tokio::time::sleep(args.interval).await;
        if io::stdout().is_terminal() && !args.json {
            print_line(CLEAR_SCREEN)?;
        }
        ended = match target.look(&args).await {
            // Whoever watches wants to see the farm come back.
            Err(Failure::Unreachable(text)) => {
                eprintln!("farm: {text}");
                false
            }
            looked => looked?,
        };
    }
    Ok(ExitCode::SUCCESS)
}

enum Target {
    Gateway(Client, Gateway),
    Farm(FarmClient),
    Job(FarmClient, JobId),
}

impl Target {
    async fn find(args: &Args) -> Result<Self, Failure> {
        let Some(function) = &args.function else {
            let gateway = args.gateway.find()?;
            return Ok(Target::Gateway(http_client(&gateway)?, gateway));
        };
        let (client, _) = connect(&args.gateway, function).await?;
        Ok(match &args.job {
            Some(job) => Target::Job(client, job.clone()),
            None => Target::Farm(client),
        })
    }

    /// Prints the status; true if it will not change any more.
    async fn look(&self, args: &Args) -> Result<bool, Failure> {
        match self {
            Target::Gateway(http, gateway) => {
                print_farms(&farms(http, gateway).await?, args.json)?;
                Ok(false)
            }
            Target::Farm(client) => {
                print_farm(&client.status().await?, args.json)?;
                Ok(false)
            }
            Target::Job(client, job) => {
                let status = client.job(job).await?;
                print_job(&status, args.json)?;
                Ok(matches!(status.state, JobState::Done | JobState::Cancelled))
            }
        }
    }
}

/// A function of the gateway that is part of a farm.
#[derive(Serialize)]
struct FarmFunction {
    function: String,
    replicas: u64,
    #[serde(flatten)]
    status: FarmStatus,
}

async fn farms(http: &Client, gateway: &Gateway) -> Result<Vec<FarmFunction>, Failure> {
    let functions = functions(http, gateway).await?;
    // Asking a function without replicas would start one where the platform scales from zero.
    let awake = functions
        .into_iter()
        .filter(|function| function.available_replicas > 0);
    let asked = stream::iter(awake).map(|function| ask(http.clone(), gateway.clone(), function));
    let mut farms: Vec<_> = asked
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    farms.sort_by(|a, b| (&a.status.farm, &a.function).cmp(&(&b.status.farm, &b.function)));
    Ok(farms)
}

async fn ask(http: Client, gateway: Gateway, function: FunctionStatus) -> Option<FarmFunction> {
    let client = FarmClient::new(http, gateway, function.name.parse().ok()?);
    let status = client.status().await.ok()?;
    Some(FarmFunction {
        function: function.name,
        replicas: function.available_replicas,
        status,
    })
}

fn print_farms(farms: &[FarmFunction], json: bool) -> Result<(), Failure> {
    if json {
        return farms.iter().try_for_each(print_json);
    }
    if farms.is_empty() {
        return print_line("no farm among the functions of this gateway that have a replica");
    }
    let heading = [
        "FUNCTION",
        "FARM",
        "ROLES",
        "REPLICAS",
        "BACKLOG",
        "IN FLIGHT",
        "RESULTS",
        "DEAD",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(farms.iter().map(|farm| {
        [
            farm.function.clone(),
            farm.status.farm.to_string(),
            farm.status.roles.clone(),
            farm.replicas.to_string(),
            farm.status.backlog_tasks.to_string(),
            farm.status.in_flight_tasks.to_string(),
            farm.status.result_tasks.to_string(),
            farm.status.dead_tasks.to_string(),
        ]
    }));
    print_table(&rows)
}

fn print_farm(status: &FarmStatus, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(status);
    }
    Fields::default()
        .with("farm", &status.farm)
        .with("roles here", &status.roles)
        .with("SDK", &status.version)
        .with(
            "backlog",
            format!(
                "{} of at most {} tasks",
                status.backlog_tasks, status.queue_max_tasks
            ),
        )
        .with("in flight", status.in_flight_tasks)
        .with("results kept", status.result_tasks)
        .with("dead letters", status.dead_tasks)
        .print()
}

/// Prints the account of a job.
///
/// # Errors
/// Standard output is closed or cannot be written.
pub fn print_job(status: &JobStatus, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(status);
    }
    let state = match status.state {
        JobState::Open => "open",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
    };
    Fields::default()
        .with("job", &status.job)
        .with("state", state)
        .with_some("accepted", status.accepted)
        .with("done", status.done)
        .with("failed", status.failed)
        .with("cancelled", status.cancelled)
        .with("in flight", status.in_flight)
        .with_some("inside deadline", status.qos_ratio.map(percent))
        .with("submitted", ago(status.created_seconds))
        .with_some("ended", status.ended_seconds.map(ago))
        .with_some("will end", status.estimated_end_seconds.map(ahead))
        .with_some("note", status.note.as_ref())
        .print()
}
