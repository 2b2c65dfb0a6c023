//! `farm up`: run a stack on this machine.

mod record;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use farm_local::{
    BuildError, Event, NatsOptions, Options, Platform, PlatformError, Program, ReadyMade, Stack,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::sdk;
use record::Record;

const EXAMPLES: &str = "\
Examples:
  farm up                          the stack file of this folder, until Ctrl-C
  farm up --filter 'mandelbrot*'   only some of its functions
  farm up --data .farm/nats        keep queues and results between runs
  farm up --ce                     with the limits of OpenFaaS CE";

/// The image this program stands in for.
const AUTOSCALER: &str = "farm-autoscaler";

/// Arguments of `farm up`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The stack file [default: stack.yaml, else stack.yml]
    #[arg(short = 'f', long = "yaml", value_name = "FILE")]
    stack: Option<PathBuf>,
    /// Run only these functions; * stands for any text
    #[arg(long, value_name = "NAME", num_args = 1..)]
    filter: Vec<String>,
    /// Port of the gateway [default: 8080, or a free one if that is taken]
    #[arg(long)]
    port: Option<u16>,
    /// Address of the gateway
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    bind: IpAddr,
    /// Join the NATS server at this URL instead of starting one
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// The nats-server to start [default: $NATS_SERVER, one on the PATH, or the one `make tools` got]
    #[arg(long, value_name = "FILE")]
    nats_server: Option<PathBuf>,
    /// Keep queues and results in this folder [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// A rust-farm checkout whose SDK the functions are built with [default: the one this program was built in]
    #[arg(long, env = "FARM_SDK", value_name = "FOLDER")]
    sdk: Option<PathBuf>,
    /// Where cargo keeps what it compiles
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    /// Leave the gateway's system API open to everybody who reaches it
    #[arg(long, conflicts_with = "password_file")]
    no_auth: bool,
    /// File with the gateway's password [default: .farm/gateway-password, made if absent]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Impose the limits and probes of OpenFaaS CE: 5 replicas a function, 15 functions
    #[arg(long)]
    ce: bool,
    /// Print what the functions write
    #[arg(long)]
    logs: bool,
    /// Show cargo's progress and every event
    #[arg(short, long)]
    verbose: bool,
}

/// Runs the stack until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let file = match &args.stack {
        Some(file) => file.clone(),
        None => Stack::find(&std::env::current_dir()?)?,
    };
    let stack = Stack::load(&file)?;
    let state = stack.folder.join(".farm");
    fs::create_dir_all(&state).map_err(|error| format!("{}: {error}", state.display()))?;
    let record = Record::claim(&state)?;
    let password = password(&args, &state)?;
    let (events, told) = mpsc::channel(4096);
    let printing = tokio::spawn(print_events(told, args.logs, args.verbose));
    let mut stop = Stop::listen()?;
    let autoscalers = autoscalers(&stack);
    let options = options(
        &args,
        stack,
        password.as_ref().map(|(_, text)| text.clone()),
        events,
    )?;
    let platform = tokio::select! {
        started = Platform::start(options) => started.map_err(explain)?,
        () = stop.wait() => return Ok(ExitCode::from(130)),
    };
    record.write(&platform)?;
    let password_file = password.as_ref().map(|(file, _)| file.as_path());
    introduce(&platform, password_file, &autoscalers);
    stop.wait().await;
    say(format_args!("draining; Ctrl-C again to kill"));
    let hurry = platform.hurry();
    let stopping = platform.stop();
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => {}
        () = stop.wait() => {
            hurry.cancel();
            stopping.await;
        }
    }
    drop(record);
    // Whatever still holds a sender has nothing left to say.
    let _ = tokio::time::timeout(Duration::from_secs(1), printing).await;
    say(format_args!("stopped"));
    Ok(ExitCode::SUCCESS)
}

fn options(
    args: &Args,
    stack: Stack,
    password: Option<String>,
    events: mpsc::Sender<Event>,
) -> Result<Options, Box<dyn Error>> {
    // Without a checkout, functions take the SDK from crates.io.
    let sdk = match &args.sdk {
        Some(chosen) => Some(sdk::find(Some(chosen))?),
        None => sdk::find(None).ok(),
    };
    Ok(Options {
        filter: args.filter.clone(),
        ready_made: ready_made()?,
        bind: args.bind,
        port: args.port,
        nats: NatsOptions {
            url: args.nats.clone(),
            server: args.nats_server.clone(),
            data: args.data.clone(),
        },
        sdk,
        target_folder: args.target_dir.clone(),
        password,
        ce: args.ce,
        show_progress: args.verbose || std::io::stderr().is_terminal(),
        events: Some(events),
        ..Options::new(stack)
    })
}

/// This program also is the autoscaler.
fn ready_made() -> Result<ReadyMade, Box<dyn Error>> {
    let program = Program {
        executable: std::env::current_exe()?,
        arguments: vec!["autoscaler".into()],
    };
    Ok(ReadyMade::from([(AUTOSCALER.to_owned(), program)]))
}

/// The functions of a stack that scale farms.
fn autoscalers(stack: &Stack) -> BTreeSet<String> {
    let functions = stack.functions.values();
    functions
        .filter(|function| function.image_name() == AUTOSCALER)
        .map(|function| function.name.clone())
        .collect()
}

/// The compiler's own words come before the line that names the function.
fn explain(error: PlatformError) -> Box<dyn Error> {
    if let PlatformError::Build(BuildError::Compile { diagnostics, .. }) = &error {
        for line in diagnostics {
            eprintln!("{line}");
        }
    }
    error.into()
}

/// The gateway's password and the file it is in; made on the first run.
fn password(args: &Args, state: &Path) -> Result<Option<(PathBuf, String)>, Box<dyn Error>> {
    if args.no_auth {
        return Ok(None);
    }
    let file = args
        .password_file
        .clone()
        .unwrap_or_else(|| state.join("gateway-password"));
    if args.password_file.is_none() && !file.exists() {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let made = uuid::Uuid::new_v4().simple().to_string();
        options
            .open(&file)
            .and_then(|mut opened| opened.write_all(made.as_bytes()))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(format!(
            "{} holds no password: write one, or use --no-auth",
            file.display()
        )
        .into());
    }
    Ok(Some((file, text)))
}

/// Prints a line. The platform runs on when nobody reads it any more.
fn say(line: std::fmt::Arguments) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn introduce(platform: &Platform, password_file: Option<&Path>, autoscalers: &BTreeSet<String>) {
    let gateway = platform.gateway_url();
    let functions = platform.functions();
    let width = functions
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0)
        .max(8);
    say(format_args!(""));
    say(format_args!("{:width$}  replicas  url", "function"));
    for (name, replicas) in &functions {
        say(format_args!(
            "{name:width$}  {replicas:>8}  {gateway}/function/{name}"
        ));
    }
    say(format_args!(""));
    say(format_args!("gateway   {gateway}"));
    say(format_args!("NATS      {}", platform.nats_url()));
    let (scaling, farms): (Vec<_>, Vec<_>) = functions
        .iter()
        .partition(|(name, _)| autoscalers.contains(name));
    for (name, _) in scaling {
        say(format_args!("scaling   {gateway}/function/{name}/"));
    }
    if let Some(file) = password_file {
        say(format_args!(
            "faas-cli  faas-cli login --gateway {gateway} --password-stdin < {}",
            file.display()
        ));
    }
    if let Some((name, _)) = farms.first() {
        say(format_args!(
            "try       farm submit {name} --value '<a task as JSON>' --wait"
        ));
    }
    say(format_args!("Ctrl-C drains and stops everything."));
    let _ = std::io::stdout().flush();
}

async fn print_events(mut events: mpsc::Receiver<Event>, logs: bool, verbose: bool) {
    while let Some(event) = events.recv().await {
        match &event {
            Event::Log(line) if logs => say(format_args!("{} | {}", line.instance, line.text)),
            Event::Log(_) => {}
            Event::ReplicaReady { .. } | Event::ReplicaStopped { .. } if !verbose => {}
            Event::Warning(_) | Event::ReplicaFailed { .. } | Event::NatsExited { .. } => {
                eprintln!("{event}");
            }
            _ => say(format_args!("{event}")),
        }
    }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
