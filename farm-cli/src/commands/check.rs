//! `farm check`: whether a function keeps its contract with the platform.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use farm_core::quantity::parse_duration;
use farm_local::{BuildError, CrateBuild, NatsServer, Spawner};
use reqwest::Url;
use serde::Serialize;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::check::{Finding, Image, Job, Launcher, Program, Remote, Report, Target, local};
use crate::failure::Failure;
use crate::gateway::read_token;
use crate::output::{print_json, print_table};
use crate::sdk;

/// Arguments of `farm check`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm check ./thumbnails                            build a crate and try it
  farm check ./thumbnails --job '{\"path\":\"a.jpg\"}'   and stop it in the middle of a job
  farm check ghcr.io/me/thumbnails:1.0               run an image, with a read-only root
  farm check http://127.0.0.1:8080/function/thumbnails

A crate, an executable and an image run here, against a NATS server of their own; nothing is left
when the check ends. Of a URL only what HTTP shows is checked. Exit code 1 if a check failed.")]
pub struct Args {
    /// Folder of a crate, executable, image, or URL of a running function
    #[arg(value_name = "IMAGE|URL|CRATE")]
    target: String,
    /// A task as JSON: a job of such tasks is interrupted by a stop, and has to end well
    #[arg(long, value_name = "JSON")]
    job: Option<String>,
    /// Tasks of that job
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000), requires = "job")]
    tasks: u64,
    /// Longest time that job may take
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    job_timeout: Duration,
    /// Time the function has to drain after SIGTERM: its FARM_GRACE_PERIOD
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = parse_duration)]
    grace: Duration,
    /// Environment of the function; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    env: Vec<(String, String)>,
    /// Address of the metrics of a running function, such as http://10.0.0.7:8081/metrics
    #[arg(long, value_name = "URL")]
    metrics_url: Option<Url>,
    /// File with the token of a running function, if it wants one (its secret farm-http-token)
    #[arg(long, env = "FARM_HTTP_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The nats-server to start [default: $NATS_SERVER, one on the PATH, or the one `make tools` got]
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// A rust-farm checkout whose SDK a crate is built with [default: the one this program was built in]
    #[arg(long, env = "FARM_SDK", value_name = "FOLDER")]
    sdk: Option<PathBuf>,
    /// Where cargo keeps what it compiles
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn name_and_value(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it like FARM_SLOTS=4".to_owned()),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    target: &'a str,
    ok: bool,
    checks: &'a [Finding],
}

/// Checks the target until Ctrl-C or SIGTERM.
///
/// # Errors
/// A check failed, or what it needs is missing.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot listen to signals: {error}")))
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    // Dropping the check kills all that it started.
    let report = tokio::select! {
        report = check(&args) => report?,
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
        _ = terminate.recv() => return Ok(ExitCode::from(143)),
    };
    print(&args, &report)?;
    match report.failed() {
        failed if failed.is_empty() => Ok(ExitCode::SUCCESS),
        failed => Err(Failure::Failed(format!(
            "{} breaks its contract: {}; do what the report says",
            args.target,
            failed.join(", ")
        ))),
    }
}

async fn check(args: &Args) -> Result<Report, Failure> {
    let spawner = Spawner::start().map_err(|e| Failure::Failed(format!("cannot start: {e}")))?;
    let job = job(args)?;
    // Holds the executable of a crate.
    let folder = tempfile::tempdir().map_err(|e| Failure::Failed(e.to_string()))?;
    let program = match Target::parse(&args.target)? {
        Target::Url(url) => {
            let token = args.token_file.as_deref().map(read_token).transpose()?;
            let remote = Remote {
                url,
                metrics_url: args.metrics_url.clone(),
                token: token.map(|token| token.reveal().to_owned()),
            };
            return remote.check().await;
        }
        Target::Executable(file) => Program::Executable(file),
        Target::Crate(crate_folder) => {
            Program::Executable(build(args, &spawner, crate_folder, &folder).await?)
        }
        Target::Image(name) => Program::Image {
            image: Image::find(&name).await?,
            read_only: true,
        },
    };
    let sdk = sdk::find(args.sdk.as_deref()).ok();
    let nats = NatsServer::prepare(args.nats_server.as_deref(), sdk.as_deref(), &spawner)
        .await
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let launcher = Launcher {
        program,
        spawner,
        client: crate::check::local_client()?,
        environment: args.env.clone(),
        grace: args.grace,
        log: Arc::default(),
    };
    local(launcher, nats, job.as_ref()).await
}

fn job(args: &Args) -> Result<Option<Job>, Failure> {
    let Some(task) = &args.job else {
        return Ok(None);
    };
    // On one line, whatever was given.
    let value: serde_json::Value = serde_json::from_str(task)
        .map_err(|error| Failure::Usage(format!("--job is no JSON: {error}")))?;
    Ok(Some(Job {
        task: value.to_string(),
        tasks: args.tasks,
        limit: args.job_timeout,
    }))
}

async fn build(
    args: &Args,
    spawner: &Spawner,
    crate_folder: PathBuf,
    folder: &TempDir,
) -> Result<PathBuf, Failure> {
    let sdk = match &args.sdk {
        Some(chosen) => Some(sdk::find(Some(chosen))?),
        None => sdk::find(None).ok(),
    };
    let executable = folder.path().join("function");
    let building = CrateBuild {
        folder: &crate_folder,
        sdk,
        target_folder: args.target_dir.clone(),
        show_progress: std::io::stderr().is_terminal(),
    };
    match building.run(spawner, &executable).await {
        Ok(()) => Ok(executable),
        Err(error) => {
            if let BuildError::Compile { diagnostics, .. } = &error {
                for line in diagnostics {
                    eprintln!("{line}");
                }
            }
            Err(Failure::Failed(error.to_string()))
        }
    }
}

fn print(args: &Args, report: &Report) -> Result<(), Failure> {
    if args.json {
        return print_json(&Printed {
            target: &args.target,
            ok: report.failed().is_empty(),
            checks: report.findings(),
        });
    }
    let heading = ["check", "verdict", "time", "what was seen"].map(str::to_owned);
    let rows = report.findings().iter().map(|finding| {
        let said = match &finding.next {
            Some(next) => format!("{}; {next}", finding.why),
            None => finding.why.clone(),
        };
        [
            finding.check.to_owned(),
            finding.verdict.as_str().to_owned(),
            format!("{:.1} s", finding.seconds),
            said,
        ]
    });
    print_table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}
