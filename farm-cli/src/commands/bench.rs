//! `farm bench`: what a farm costs, beside a raw NATS loop.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use farm_bench::{Bench, Document, Machine, Part, Scenario, Settings, Table};
use tabwriter::TabWriter;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::output::print_line;
use crate::{plot, sdk};

const HELP: &str = "\
Examples:
  farm bench --quick
  farm bench throughput --only '128 B, file, 4 workers' --pairs 3
  farm bench throughput latency --json bench.json --plot out/bench
  farm bench footprint --idle-workers 1000 --function target/release/thumbnails

Starts its own NATS servers and processes, and stops them at the end, on Ctrl-C and on errors. Use a
release build on a quiet machine; what else runs shows in the range of the pairs.";

/// Arguments of `farm bench`.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// What to measure [default: everything]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Named>,
    /// Runs of the farm and of the raw loop, taking turns, for every figure
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    pairs: u16,
    /// Two short pairs for every figure: to see that it works, not to publish
    #[arg(long, conflicts_with = "pairs")]
    quick: bool,
    /// Every combination of a scenario, not only those that tell most
    #[arg(long)]
    all: bool,
    /// Of the throughput, only combinations with these words in their name, such as "1024 B"; repeatable
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// How long a run is meant to take [default: 2]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Tasks in a run at most [default: as many as fit into the time]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tasks: Option<u64>,
    /// FARM_SLOTS of the workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    slots: u16,
    /// How long to watch an idle worker [default: 30]
    #[arg(long, value_name = "SECONDS")]
    idle_seconds: Option<f64>,
    /// How many idle workers to start on one NATS server [default: 100]
    #[arg(long, value_name = "N")]
    idle_workers: Option<usize>,
    /// A built function, whose cold start and memory are measured beside the benchmark's own
    #[arg(long, value_name = "PATH")]
    function: Option<PathBuf>,
    /// A job for that function
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "function")]
    function_job: String,
    /// The nats-server to start, instead of the one found
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// Write every run, with all that was counted, into this JSON file, scenario by scenario
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the curves into SVG files in this folder
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
}

/// Arguments of a process of the benchmark.
#[derive(clap::Args)]
pub struct PartArgs {
    #[arg(value_parser = Part::parse)]
    part: Part,
}

/// A scenario by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named(Scenario);

impl ValueEnum for Named {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [Named; Scenario::ALL.len()] = {
            let mut all = [Named(Scenario::ALL[0]); Scenario::ALL.len()];
            let mut index = 0;
            while index < all.len() {
                all[index] = Named(Scenario::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
}

/// Plays one process of the benchmark.
///
/// # Errors
/// Whatever keeps it from playing its part.
pub async fn play(args: PartArgs) -> Result<ExitCode, Failure> {
    args.part.play().await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the scenarios and prints their tables, each as soon as it is known.
///
/// # Errors
/// There is no NATS server, a process fails, tasks are lost, or a file cannot be written.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let json = args.json.as_deref().map(JsonFile::new).transpose()?;
    let bench = Bench::new(args.settings().await?, |words| eprintln!("farm: {words}"));
    print_machine(bench.machine())?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    tokio::select! {
        measured = args.measure(&bench, json.as_ref()) => measured?,
        _ = tokio::signal::ctrl_c() => return Err(interrupted()),
        _ = terminate.recv() => return Err(interrupted()),
    }
    Ok(ExitCode::SUCCESS)
}

fn interrupted() -> Failure {
    Failure::Failed("interrupted; all processes of the benchmark are stopped".to_owned())
}

impl Args {
    async fn settings(&self) -> Result<Settings, Failure> {
        let sdk = sdk::find(None).ok();
        let found = farm_local::find_nats_server(self.nats_server.as_deref(), sdk.as_deref()).await;
        let or = |chosen: Option<f64>, long: f64, short: f64| {
            chosen.unwrap_or(if self.quick { short } else { long })
        };
        Ok(Settings {
            nats_server: found.map_err(|error| Failure::Failed(error.to_string()))?,
            pairs: if self.quick { 2 } else { self.pairs.into() },
            run_seconds: or(self.seconds, 2.0, 0.5),
            max_tasks: self.tasks,
            slots: self.slots.into(),
            all: self.all,
            only: self.only.clone(),
            idle_seconds: or(self.idle_seconds, 30.0, 3.0),
            idle_workers: self
                .idle_workers
                .unwrap_or(if self.quick { 10 } else { 100 }),
            function: self.function.clone(),
            function_job: self.function_job.clone(),
        })
    }

    async fn measure(&self, bench: &Bench, json: Option<&JsonFile>) -> Result<(), Failure> {
        let named = self.scenarios.iter().map(|named| named.0);
        let scenarios: Vec<Scenario> = match self.scenarios.is_empty() {
            true => Scenario::ALL.to_vec(),
            false => named.collect(),
        };
        let mut document = bench.document();
        for scenario in scenarios {
            let report = bench.run(scenario).await;
            let report = report.map_err(|error| Failure::Failed(error.to_string()))?;
            for table in &report.findings.tables {
                print(table)?;
            }
            if let Some(folder) = &self.plot {
                for figure in &report.findings.figures {
                    let path = folder.join(format!("{}.svg", figure.name));
                    plot::write(&path, &plot::bench::figure(figure)?)?;
                }
            }
            document.scenarios.push(report);
            if let Some(json) = json {
                json.replace(&document)?;
            }
        }
        Ok(())
    }
}

/// The JSON of a benchmark: what an earlier one wrote stays until there is something to put in its
/// place, and what is known stays if the rest fails.
struct JsonFile {
    path: PathBuf,
    unfinished: PathBuf,
}

impl JsonFile {
    /// Tries whether it can be written, before there is any work.
    fn new(path: &Path) -> Result<Self, Failure> {
        // A link stays one.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let file = Self {
            path,
            unfinished: unfinished.into(),
        };
        if file.path.exists() {
            if !file.path.is_file() {
                return Err(file.failed("it is no file"));
            }
            let opened = File::options().append(true).open(&file.path);
            opened.map_err(|error| file.failed(error))?;
        }
        let tried = File::create(&file.unfinished).and_then(|_| fs::remove_file(&file.unfinished));
        tried.map_err(|error| file.failed(error))?;
        Ok(file)
    }

    fn replace(&self, document: &Document) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(document).map_err(|error| self.failed(error))?;
        let written = fs::write(&self.unfinished, text)
            .and_then(|()| fs::rename(&self.unfinished, &self.path));
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, why: impl Display) -> Failure {
        Failure::Failed(format!("cannot write {}: {why}", self.path.display()))
    }
}

fn print_machine(machine: &Machine) -> Result<(), Failure> {
    let Machine {
        cores,
        processor,
        memory_bytes,
        kernel,
        load_average,
        nats_server,
        build,
    } = machine;
    let gibibytes = *memory_bytes as f64 / f64::from(1 << 30);
    print_line(&format!(
        "machine: {cores} cores of {processor}, {gibibytes:.1} GiB, Linux {kernel}; load before \
         {load_average}; {nats_server}; {build} build"
    ))
}

fn print(table: &Table) -> Result<(), Failure> {
    print_line(&format!("\n{}", table.title))?;
    let mut writer = TabWriter::new(io::stdout()).padding(3);
    for row in std::iter::once(&table.heading).chain(&table.rows) {
        writeln!(writer, "{}", row.join("\t")).map_err(Failure::output)?;
    }
    writer.flush().map_err(Failure::output)?;
    table
        .notes
        .iter()
        .try_for_each(|note| print_line(&format!("  {note}")))
}
