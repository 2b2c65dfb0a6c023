//! Policies on one scenario, with the best constant among them.

use std::num::NonZeroUsize;

use farm_sim::evaluation::{
    Contender, EVALUATION_SEEDS, Evaluated, EvaluationError, VALIDATION_SEEDS, best_constant,
    evaluate,
};
use farm_sim::scenario::Scenario;

use super::contenders::Pace;
use super::report::Report;
use super::scenario;
use crate::failure::Failure;
use crate::progress::Progress;

/// Seeds on which the best constant is looked for.
const SEARCH_SEEDS: u64 = 300;
/// Most seeds of an evaluation: those set apart for it.
const MOST_SEEDS: u64 = EVALUATION_SEEDS.end - EVALUATION_SEEDS.start;

/// What seeds are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SeedSet {
    /// To report: nothing may be chosen by them
    #[default]
    Evaluation,
    /// To choose settings by
    Validation,
}

impl SeedSet {
    fn first(self) -> u64 {
        match self {
            Self::Evaluation => EVALUATION_SEEDS.start,
            Self::Validation => VALIDATION_SEEDS.start,
        }
    }
}

/// How policies are compared.
#[derive(Debug, clap::Args)]
pub struct Comparison {
    /// Share of tasks that is to meet its deadline [default: the scenario's]
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    pub target: Option<f64>,
    /// Number of seeds
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MOST_SEEDS))]
    seeds: u64,
    /// Which seeds
    #[arg(long, value_name = "SET", value_enum, default_value_t)]
    on: SeedSet,
    /// Threads to simulate on [default: one per core]; results do not depend on it
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if ratio > 0.0 && ratio <= 1.0 => Ok(ratio),
        _ => Err("use a share above 0 and at most 1, such as 0.95".to_owned()),
    }
}

impl Comparison {
    /// The scenario of that name or file, with the target asked for.
    ///
    /// # Errors
    /// There is none.
    pub fn scenario(&self, name: &str) -> Result<Scenario, Failure> {
        let mut scenario = scenario::read(name)?;
        if let Some(target) = self.target {
            scenario.control.target_qos_ratio = target;
        }
        Ok(scenario)
    }

    /// Runs the policies, and the best constant at the same pace.
    ///
    /// # Errors
    /// A policy failed.
    pub fn run(
        &self,
        scenario: &Scenario,
        contenders: Vec<Contender>,
        pace: Pace,
    ) -> Result<Report, Failure> {
        let evaluated = self.evaluate(scenario, contenders, pace);
        let evaluated = evaluated.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Report::new(scenario, pace, self.on.first(), evaluated))
    }

    /// The best constant comes first.
    fn evaluate(
        &self,
        scenario: &Scenario,
        mut contenders: Vec<Contender>,
        pace: Pace,
    ) -> Result<Vec<Evaluated>, EvaluationError> {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or_else(cores);
        let search = VALIDATION_SEEDS.start..VALIDATION_SEEDS.start + SEARCH_SEEDS;
        let best = best_constant(scenario, pace.is_step(), search, threads)?;
        contenders.insert(0, best.contender(pace.is_step())?);
        let progress = Progress::of(self.seeds * contenders.len() as u64, "episodes");
        let bar = progress.bar();
        bar.set_message(scenario.name.clone());
        let seeds = self.on.first()..self.on.first() + self.seeds;
        evaluate(scenario, &contenders, seeds, threads, &|| bar.inc(1))
    }
}
