//! `farm evaluate`: policies against each other, over many seeds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use farm_sim::evaluation::Contender;
use farm_sim::scenario::Scenario;

use crate::failure::Failure;
use crate::output::{Out, print_json, print_line};
use crate::plot;
use crate::simulation::compare::Comparison;
use crate::simulation::contenders::{self, Pace, PolicyWords};
use crate::simulation::report::CSV_HEADING;
use crate::simulation::scenario;

const HELP: &str = "\
Examples:
  farm evaluate
  farm evaluate --scenario sine --scenario bursts --policy predictive --policy queue:target=1
  farm evaluate --policy utilisation:target=0.6,farm.min=14,farm.stabilisation=30s
  farm evaluate --policy sarsa:model=mine.json --actions step --target 0.992 --pareto pareto.svg

A policy takes its parameters, and limits of the guard as in a stack file: farm.min, farm.max,
farm.step.up, farm.step.down, farm.stabilisation, farm.cooldown.

All policies meet the same tasks, on seeds that nothing was trained or chosen on. Every table has
the best constant: the smallest that reaches the target on other seeds. Intervals are of 95 %;
differences are taken to the best constant, seed by seed.";

/// Arguments of `farm evaluate`.
#[derive(clap::Args)]
#[command(after_help = HELP, after_long_help = scenario::help_after(HELP))]
pub struct Args {
    /// Workload, platform and control loop: a name (see --help), or a JSON file; repeatable
    #[arg(long = "scenario", value_name = "NAME|FILE", default_value = "paper")]
    scenarios: Vec<String>,
    /// A policy, with parameters if it has any; repeatable [default: all that need none, and the trained ones built in that fit]
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<PolicyWords>,
    /// Put the autoscaler's guard between each policy and the farm
    #[arg(long)]
    guard: bool,
    /// Whether policies may go more than one worker per decision
    #[arg(long, value_enum, default_value_t)]
    actions: Pace,
    #[command(flatten)]
    comparison: Comparison,
    /// Draw QoS against workers into this SVG file; of several scenarios, one file each
    #[arg(long, value_name = "FILE")]
    pareto: Option<PathBuf>,
    /// Write every episode into this CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Evaluates and prints the tables.
///
/// # Errors
/// Scenarios or policies are wrong, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let scenarios = args
        .scenarios
        .iter()
        .map(|name| args.comparison.scenario(name));
    let scenarios = scenarios.collect::<Result<Vec<_>, _>>()?;
    let contenders = scenarios.iter().map(|scenario| args.contenders(scenario));
    let contenders = contenders.collect::<Result<Vec<_>, _>>()?;
    let csv = args.csv.as_deref().map(|path| Out::create(Some(path)));
    let mut csv = csv.transpose()?;
    if let Some(csv) = &mut csv {
        csv.write(CSV_HEADING.as_bytes())?;
    }
    let mut reports = Vec::new();
    for (scenario, contenders) in scenarios.iter().zip(contenders) {
        let report = args.comparison.run(scenario, contenders, args.actions)?;
        if let Some(csv) = &mut csv {
            report.write_csv(csv)?;
        }
        if let Some(path) = &args.pareto {
            let path = match scenarios.len() {
                1 => path.clone(),
                _ => with_suffix(path, &scenario.name),
            };
            plot::write(&path, &report.pareto()?)?;
        }
        if !args.json {
            if !reports.is_empty() {
                print_line("")?;
            }
            report.print()?;
        }
        reports.push(report);
    }
    if args.json {
        print_json(&serde_json::json!({ "scenarios": reports }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `pareto.svg` of the scenario `sine`: `pareto-sine.svg`.
fn with_suffix(path: &Path, scenario: &str) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().display().to_string();
    let (stem, extension) = (part(path.file_stem()), part(path.extension()));
    path.with_file_name(format!("{stem}-{scenario}.{extension}"))
}

impl Args {
    fn contenders(&self, scenario: &Scenario) -> Result<Vec<Contender>, Failure> {
        let one_step = self.actions.is_step();
        if self.policies.is_empty() {
            let usual = contenders::usual().into_iter();
            return Ok(usual
                .filter_map(|policy| policy.contender(scenario, one_step, self.guard).ok())
                .collect());
        }
        let named = self.policies.iter();
        named
            .map(|policy| policy.contender(scenario, one_step, self.guard))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_its_own_picture() {
        let path = with_suffix(Path::new("out/pareto.svg"), "sine");
        assert_eq!(path, Path::new("out/pareto-sine.svg"));
    }
}
