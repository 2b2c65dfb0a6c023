//! `farm simulate`: one episode of a farm in the simulator.

use std::path::PathBuf;
use std::process::ExitCode;

use farm_sim::episode::{Outcome, TracePoint};
use farm_sim::evaluation::begin;
use farm_sim::scenario::Scenario;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Fields, percent, print_json, print_line};
use crate::plot;
use crate::simulation::contenders::{Pace, PolicyWords, parse_parameter};
use crate::simulation::scenario;

const HELP: &str = "\
Examples:
  farm simulate --scenario bursts --policy predictive --plot episode.svg
  farm simulate --policy static -p parallelism=15 --actions step --seed 7
  farm simulate --show-scenario > mine.json && farm simulate --scenario mine.json";

/// Arguments of `farm simulate`.
#[derive(clap::Args)]
#[command(after_help = HELP, after_long_help = scenario::help_after(HELP))]
pub struct Args {
    /// Workload, platform and control loop: a name (see --help), or a JSON file
    #[arg(long, value_name = "NAME|FILE", default_value = "paper")]
    scenario: String,
    /// The policy, with parameters if it has any: queue:target=0.9,window=1m
    #[arg(long, value_name = "POLICY", default_value = "predictive")]
    policy: PolicyWords,
    /// A parameter of the policy
    #[arg(short = 'p', long = "parameter", value_name = "KEY=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
    /// Put the autoscaler's guard between the policy and the farm
    #[arg(long)]
    guard: bool,
    /// Whether the policy may go more than one worker per decision
    #[arg(long, value_enum, default_value_t)]
    actions: Pace,
    /// Equal seeds give equal episodes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw workers, queue, arrivals and QoS over time into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON, every step included, instead of a table
    #[arg(long)]
    json: bool,
    /// Print the scenario as JSON, and simulate nothing
    #[arg(long)]
    show_scenario: bool,
}

#[derive(Serialize)]
struct Account<'a> {
    scenario: &'a str,
    policy: &'a str,
    seed: u64,
    qos_ratio: f64,
    no_ops: u32,
    #[serde(flatten)]
    outcome: Outcome,
    steps_taken: &'a [TracePoint],
}

/// Runs the episode and prints its account.
///
/// # Errors
/// Scenario or policy are wrong, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let scenario = scenario::read(&args.scenario)?;
    if args.show_scenario {
        let json = serde_json::to_string_pretty(&scenario);
        print_line(&json.map_err(|error| Failure::output(error.into()))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let policy = args.policy.clone().with(&args.parameters);
    let contender = policy.contender(&scenario, args.actions.is_step(), args.guard)?;
    let refused = |error: farm_sim::evaluation::EvaluationError| Failure::Failed(error.to_string());
    let mut episode = begin(&scenario, args.seed).map_err(refused)?;
    episode.keep_trace();
    let outcome = contender.run(&mut episode).map_err(refused)?;
    if let Some(path) = &args.plot {
        plot::write(
            path,
            &picture(&scenario, &contender.name, args.seed, episode.trace())?,
        )?;
    }
    let account = Account {
        scenario: &scenario.name,
        policy: &contender.name,
        seed: args.seed,
        qos_ratio: outcome.qos_ratio(),
        no_ops: outcome.no_ops(),
        outcome,
        steps_taken: episode.trace(),
    };
    match args.json {
        true => print_json(&account)?,
        false => account.print()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn picture(
    scenario: &Scenario,
    policy: &str,
    seed: u64,
    trace: &[TracePoint],
) -> Result<String, Failure> {
    let title = format!("{policy} on {}, seed {seed}", scenario.name);
    plot::episode::episode(&title, trace, scenario.control.target_qos_ratio)
}

impl Account<'_> {
    fn print(&self) -> Result<(), Failure> {
        let outcome = &self.outcome;
        Fields::default()
            .with("scenario", self.scenario)
            .with("policy", self.policy)
            .with("seed", self.seed)
            .with("tasks", outcome.submitted)
            .with("within their deadline", percent(self.qos_ratio))
            .with("unfinished", outcome.unfinished)
            .with("workers, mean", format!("{:.2}", outcome.parallelism_mean))
            .with("workers, most", outcome.parallelism_max)
            .with("worker-seconds", format!("{:.0}", outcome.worker_seconds))
            .with("decisions", outcome.steps)
            .with("scaling actions", outcome.scaling_actions)
            .with("duration", format!("{:.1} s", outcome.seconds))
            .print()
    }
}
