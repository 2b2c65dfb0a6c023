//! `farm dead`: list, show, replay and purge dead letters.

use std::io::{self, BufRead, IsTerminal};
use std::pin::pin;
use std::process::ExitCode;

use clap::Subcommand;
use farm_core::http::{DeadLetter, Replayed};
use farm_core::{JobId, TaskId};
use futures_util::StreamExt;

use crate::client::{FarmClient, connect};
use crate::failure::Failure;
use crate::gateway::{FunctionName, GatewayArgs};
use crate::output::{Fields, ago, print_json, print_line, print_table, seconds, shorten};

const CAUSE_CHARS: usize = 80;
/// Dead letters one request queues again.
const REPLAYED_AT_ONCE: u64 = 1000;

/// Arguments of `farm dead`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm dead list thumbnails --job 01JD7ZK4
  farm dead show thumbnails 01JD7ZK4.17
  farm dead replay thumbnails 01JD7ZK4.17
  farm dead purge thumbnails --all --yes")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List tasks that failed for good, with their cause
    List(ListArgs),
    /// Show one of them, with its body
    Show(ShowArgs),
    /// Queue them again, with fresh attempts
    Replay(ChangeArgs),
    /// Delete them
    Purge(PurgeArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    /// The farm's function
    function: FunctionName,
    /// Only those of this job
    #[arg(long)]
    job: Option<JobId>,
    /// Most to list
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,
    /// Print JSON, one line per dead letter, body and all
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

#[derive(clap::Args)]
struct ShowArgs {
    /// The farm's function
    function: FunctionName,
    /// The task, as `<job>.<task>`
    task: TaskId,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

// clap would put the choice in front of the function.
#[derive(clap::Args)]
#[command(override_usage = "farm dead replay [OPTIONS] <FUNCTION> <TASK|--job <JOB>|--all>")]
struct ChangeArgs {
    /// The farm's function
    function: FunctionName,
    #[command(flatten)]
    letters: Letters,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

#[derive(clap::Args)]
#[command(override_usage = "farm dead purge [OPTIONS] <FUNCTION> <TASK|--job <JOB>|--all>")]
struct PurgeArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Do not ask before deleting
    #[arg(long)]
    yes: bool,
}

/// Which dead letters: exactly one of the three.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Letters {
    /// One task, as `<job>.<task>`
    task: Option<TaskId>,
    /// All of this job
    #[arg(long)]
    job: Option<JobId>,
    /// All of the farm
    #[arg(long)]
    all: bool,
}

impl Letters {
    fn describe(&self, function: &FunctionName) -> String {
        match (&self.task, &self.job) {
            (Some(task), _) => format!("dead letter {task} of {function}"),
            (None, Some(job)) => format!("all dead letters of job {job} of {function}"),
            (None, None) => format!("all dead letters of {function}"),
        }
    }
}

/// Lists, shows, replays or purges dead letters.
///
/// # Errors
/// There is no such task, or the farm cannot be reached.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.action {
        Action::List(args) => list(args).await,
        Action::Show(args) => show(args).await,
        Action::Replay(args) => replay(args).await,
        Action::Purge(args) => purge(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let (client, _) = connect(&args.gateway, &args.function).await?;
    let mut lines = pin!(client.dead_letters(args.job.as_ref(), args.limit).await?);
    let mut rows = vec![["TASK", "ATTEMPTS", "REPLAYS", "DIED", "CAUSE"].map(str::to_owned)];
    while let Some(line) = lines.next().await {
        let line = line?;
        if args.json {
            print_line(&line)?;
        } else {
            rows.push(row(&read(&client, &line)?));
        }
    }
    match rows.len() {
        _ if args.json => Ok(()),
        1 => print_line("no dead letters"),
        _ => print_table(&rows),
    }
}

fn read(client: &FarmClient, line: &str) -> Result<DeadLetter, Failure> {
    serde_json::from_str(line).map_err(|e| {
        Failure::Failed(format!(
            "{} sent a dead letter that cannot be read: {e}",
            client.function()
        ))
    })
}

fn row(letter: &DeadLetter) -> [String; 5] {
    [
        letter.task.to_string(),
        letter.attempts.to_string(),
        letter.replays.to_string(),
        ago(letter.died_seconds),
        shorten(&letter.cause, CAUSE_CHARS),
    ]
}

async fn show(args: ShowArgs) -> Result<(), Failure> {
    let (client, _) = connect(&args.gateway, &args.function).await?;
    let letter = client.dead_letter(&args.task).await?;
    if args.json {
        return print_json(&letter);
    }
    Fields::default()
        .with("task", &letter.task)
        .with("cause", &letter.cause)
        .with("attempts", letter.attempts)
        .with("replays", letter.replays)
        .with("worker", &letter.worker)
        .with("died", ago(letter.died_seconds))
        .with_some("deadline", letter.deadline_seconds.map(seconds))
        .with_some("codec", letter.codec.as_ref())
        .with(
            if letter.body_is_hex {
                "body (hexadecimal)"
            } else {
                "body"
            },
            &letter.body,
        )
        .print()
}

async fn replay(args: ChangeArgs) -> Result<(), Failure> {
    let (client, _) = connect(&args.gateway, &args.function).await?;
    let replayed = match &args.letters.task {
        Some(task) => client.replay(task).await?,
        None => replay_all(&client, args.letters.job.as_ref()).await?,
    };
    if args.json {
        return print_json(&replayed);
    }
    print_line(&format!("queued again: {}", replayed.replayed))
}

/// In portions, each of them one request that ends in time.
async fn replay_all(client: &FarmClient, job: Option<&JobId>) -> Result<Replayed, Failure> {
    let mut total = Replayed { replayed: 0 };
    loop {
        let Replayed { replayed } = client.replay_all(job, REPLAYED_AT_ONCE).await?;
        total.replayed += replayed;
        if replayed < REPLAYED_AT_ONCE {
            return Ok(total);
        }
    }
}

async fn purge(args: PurgeArgs) -> Result<(), Failure> {
    let PurgeArgs { change: args, yes } = args;
    let (client, _) = connect(&args.gateway, &args.function).await?;
    if !yes {
        confirm(&args.letters.describe(&args.function))?;
    }
    let purged = match &args.letters.task {
        Some(task) => client.purge(task).await?,
        None => client.purge_all(args.letters.job.as_ref()).await?,
    };
    if args.json {
        return print_json(&purged);
    }
    print_line(&format!("deleted: {}", purged.purged))
}

fn confirm(what: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "this deletes {what}: add --yes if you mean it"
        )));
    }
    eprint!("Delete {what}? [y/N] ");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| Failure::Failed(format!("cannot read the answer: {e}")))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Failed("nothing was deleted".to_owned())),
    }
}
