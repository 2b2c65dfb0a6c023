//! What policies came to on a scenario: table, JSON and CSV.

use farm_sim::evaluation::{Difference, Estimate, Evaluated, Summary};
use farm_sim::scenario::Scenario;
use serde::Serialize;

use super::contenders::Pace;
use crate::failure::Failure;
use crate::output::{Out, print_line, print_table};
use crate::plot::pareto::{Point, pareto};

/// Policies on one scenario.
#[derive(Serialize)]
pub struct Report {
    scenario: String,
    interval_seconds: f64,
    target_qos_ratio: f64,
    actions: &'static str,
    first_seed: u64,
    episodes: usize,
    /// Whom the differences are taken from.
    baseline: String,
    policies: Vec<Row>,
    #[serde(skip)]
    evaluated: Vec<Evaluated>,
}

#[derive(Serialize)]
struct Row {
    policy: String,
    #[serde(flatten)]
    summary: Summary,
    difference: Difference,
}

impl Report {
    /// The report of what was run on `scenario`. The first of `evaluated` is the baseline.
    pub fn new(
        scenario: &Scenario,
        pace: Pace,
        first_seed: u64,
        evaluated: Vec<Evaluated>,
    ) -> Self {
        let baseline = evaluated.first();
        let rows = evaluated.iter().map(|result| Row {
            policy: result.name.clone(),
            summary: result.summary(),
            difference: result.difference_to(baseline.unwrap_or(result)),
        });
        Self {
            scenario: scenario.name.clone(),
            interval_seconds: scenario.control.interval_seconds,
            target_qos_ratio: scenario.control.target_qos_ratio,
            actions: pace.name(),
            first_seed,
            episodes: baseline.map_or(0, |baseline| baseline.outcomes.len()),
            baseline: baseline.map_or(String::new(), |baseline| baseline.name.clone()),
            policies: rows.collect(),
            evaluated,
        }
    }

    /// Prints the table.
    ///
    /// # Errors
    /// Standard output is closed or cannot be written.
    pub fn print(&self) -> Result<(), Failure> {
        print_line(&format!(
            "scenario {}: target {} %, {} seeds from {}, differences to {}",
            self.scenario,
            percent(self.target_qos_ratio),
            self.episodes,
            self.first_seed,
            self.baseline,
        ))?;
        let mut table = vec![
            [
                "POLICY",
                "QOS %",
                "SD",
                "WORKERS",
                "MAX",
                "WORKER-S",
                "ACTIONS",
                "NO-OPS",
                "UNFINISHED",
                "ΔQOS",
                "ΔWORKERS",
            ]
            .map(str::to_owned),
        ];
        table.extend(self.policies.iter().map(Row::cells));
        print_table(&table)
    }

    /// Draws quality against workers.
    ///
    /// # Errors
    /// Never for reasons outside.
    pub fn pareto(&self) -> Result<String, Failure> {
        let points: Vec<Point> = self
            .policies
            .iter()
            .map(|row| Point {
                name: row.policy.clone(),
                qos_ratio: row.summary.qos_ratio,
                parallelism: row.summary.parallelism_mean,
            })
            .collect();
        let title = format!(
            "{}: QoS against workers, {} seeds, 95 % intervals",
            self.scenario, self.episodes
        );
        pareto(&title, &points, self.target_qos_ratio)
    }

    /// Writes a line for each episode.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_csv(&self, out: &mut Out) -> Result<(), Failure> {
        let mut lines = String::new();
        for result in &self.evaluated {
            for (seed, outcome) in (self.first_seed..).zip(&result.outcomes) {
                let cells = [
                    quoted(&self.scenario),
                    quoted(&result.name),
                    seed.to_string(),
                    outcome.qos_ratio().to_string(),
                    outcome.parallelism_mean.to_string(),
                    outcome.parallelism_max.to_string(),
                    outcome.worker_seconds.to_string(),
                    outcome.scaling_actions.to_string(),
                    outcome.no_ops().to_string(),
                    outcome.unfinished.to_string(),
                    outcome.seconds.to_string(),
                ];
                lines.push_str(&cells.join(","));
                lines.push('\n');
            }
        }
        out.write(lines.as_bytes())
    }
}

/// The heading of the CSV file.
pub const CSV_HEADING: &str = "scenario,policy,seed,qos_ratio,parallelism_mean,parallelism_max,worker_seconds,scaling_actions,no_ops,unfinished_tasks,seconds\n";

impl Row {
    fn cells(&self) -> [String; 11] {
        let Summary {
            episodes: _,
            qos_ratio,
            parallelism_mean,
            parallelism_max,
            worker_seconds,
            scaling_actions,
            no_ops,
            unfinished_tasks,
        } = &self.summary;
        [
            self.policy.clone(),
            interval(qos_ratio, 100.0, 2),
            format!("{:.2}", qos_ratio.sd * 100.0),
            interval(parallelism_mean, 1.0, 2),
            format!("{:.1}", parallelism_max.mean),
            format!("{:.0}", worker_seconds.mean),
            format!("{:.1}", scaling_actions.mean),
            format!("{:.1}", no_ops.mean),
            format!("{:.1}", unfinished_tasks.mean),
            change(&self.difference.qos_ratio, 100.0),
            change(&self.difference.parallelism_mean, 1.0),
        ]
    }
}

fn interval(estimate: &Estimate, factor: f64, digits: usize) -> String {
    let mean = estimate.mean * factor;
    match estimate.half_width_95 {
        Some(half) => format!("{mean:.digits$} ± {:.digits$}", half * factor),
        None => format!("{mean:.digits$}"),
    }
}

fn change(estimate: &Estimate, factor: f64) -> String {
    let mean = estimate.mean * factor;
    match estimate.half_width_95 {
        Some(half) => format!("{mean:+.2} ± {:.2}", half * factor),
        None => format!("{mean:+.2}"),
    }
}

/// A share as a percentage without needless digits.
fn percent(ratio: f64) -> f64 {
    (ratio * 1e6).round() / 1e4
}

/// A cell of a CSV file (RFC 4180).
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_their_interval() {
        let one = Estimate::of([0.5]);
        let many = Estimate::of([0.98, 0.99, 1.0]);
        assert_eq!(interval(&one, 100.0, 2), "50.00");
        assert_eq!(interval(&many, 100.0, 2), "99.00 ± 2.48");
        assert_eq!(change(&one, 100.0), "+50.00");
        assert_eq!((percent(0.992), percent(0.95)), (99.2, 95.0));
    }

    #[test]
    fn a_comma_in_a_name_does_not_move_the_cells() {
        assert_eq!(quoted("predictive, guarded"), "\"predictive, guarded\"");
        assert_eq!(quoted("queue target=2"), "queue target=2");
    }
}
