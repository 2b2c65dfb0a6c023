//! Policies against each other: the same tasks for all, over many seeds.
//!
//! Every contender meets the same seeds (common random numbers), so that the difference of two
//! policies is known better than either of them. A best constant belongs into every comparison:
//! who does not beat it needs no policy.

mod constant;
mod statistics;
mod summary;

use std::num::NonZeroUsize;
use std::ops::Range;

use farm_policy::{Guard, Limits, Observation, Policy, PolicyError, PolicySpec, UnitStep};

pub use constant::{BestConstant, best_constant};
pub use statistics::Estimate;
pub use summary::{Difference, Summary};

use crate::episode::{Episode, Outcome};
use crate::scenario::Scenario;

/// Seeds for training, for choosing among candidates, and for the final account. They never meet.
///
/// Seeds below a million are for anything else: the published runs, tests, users.
pub const TRAINING_SEEDS: Range<u64> = 1_000_000..1_000_000_000;
/// Seeds on which checkpoints, settings and constants are compared.
pub const VALIDATION_SEEDS: Range<u64> = 1_000_000_000..1_000_001_000;
/// Seeds on which results are reported; nothing is ever chosen by them.
pub const EVALUATION_SEEDS: Range<u64> = 2_000_000_000..2_000_001_000;

/// One who takes part: a policy, and what it is held by.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    /// Its name in tables.
    pub name: String,
    /// The policy; every episode gets a fresh one.
    pub spec: PolicySpec,
    /// Whether it may go one worker further per decision, and no more.
    pub one_step: bool,
    /// Limits of a guard between the policy and the farm, if there is one.
    pub guard: Option<Limits>,
}

/// A policy that could not be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvaluationError {
    /// The scenario makes no sense.
    #[error("scenario {scenario}: {cause}")]
    Scenario {
        /// Its name.
        scenario: String,
        /// The setting, and what is wrong with it.
        cause: String,
    },
    /// A policy failed.
    #[error("{contender} on scenario {scenario}, seed {seed}: {cause}")]
    Policy {
        /// Its name in tables.
        contender: String,
        /// The scenario.
        scenario: String,
        /// The seed.
        seed: u64,
        /// What the policy said.
        cause: String,
    },
    /// The threads to evaluate on ended early.
    #[error("a thread of the evaluation broke")]
    Thread,
}

/// What a contender came to: one outcome for each seed, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Its name in tables.
    pub name: String,
    /// The outcomes.
    pub outcomes: Vec<Outcome>,
}

impl Evaluated {
    /// Means over the episodes.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.outcomes)
    }

    /// How it differs from a baseline that met the same seeds.
    pub fn difference_to(&self, baseline: &Self) -> Difference {
        Difference::between(&self.outcomes, &baseline.outcomes)
    }
}

impl Contender {
    /// A policy alone, unguarded and as fast as it likes.
    pub fn new(name: impl Into<String>, spec: PolicySpec) -> Self {
        Self {
            name: name.into(),
            spec,
            one_step: false,
            guard: None,
        }
    }

    /// Runs `episode`, which is at its beginning, to its end.
    ///
    /// # Errors
    /// What the policy says if it fails. With a guard it cannot.
    pub fn run(&self, episode: &mut Episode) -> Result<Outcome, EvaluationError> {
        let mut decider = Decider::new(self);
        while episode.end().is_none() {
            let wanted = decider.decide(episode.observation());
            let wanted = wanted.map_err(|error| EvaluationError::Policy {
                contender: self.name.clone(),
                scenario: episode.scenario().name.clone(),
                seed: episode.seed(),
                cause: error.cause,
            })?;
            let present = episode.observation().parallelism;
            let step = UnitStep::towards(present, wanted).from_parallelism(present);
            episode.step(match self.one_step {
                true => step.parallelism,
                false => wanted,
            });
        }
        Ok(episode.outcome())
    }
}

/// A policy during one episode.
enum Decider {
    Alone(Box<dyn Policy>),
    Guarded(Box<Guard>),
}

impl Decider {
    fn new(contender: &Contender) -> Self {
        let policy = contender.spec.build();
        match &contender.guard {
            Some(limits) => Self::Guarded(Box::new(Guard::new(policy, limits.clone()))),
            None => Self::Alone(policy),
        }
    }

    fn decide(&mut self, observation: &Observation) -> Result<u32, PolicyError> {
        match self {
            Self::Alone(policy) => Ok(policy.decide(observation)?.parallelism),
            Self::Guarded(guard) => Ok(guard.decide(observation).target),
        }
    }
}

/// Runs every contender on every seed, on several threads; results do not depend on their number.
/// `on_episode` is called after each episode.
///
/// # Errors
/// [`EvaluationError`]: the scenario makes no sense, or an unguarded policy failed.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::num::NonZeroUsize;
/// use farm_policy::PolicySpec;
/// use farm_sim::evaluation::{Contender, EVALUATION_SEEDS, evaluate};
/// use farm_sim::scenario::Scenario;
/// let parameters = BTreeMap::from([("parallelism".to_owned(), "16".to_owned())]);
/// let sixteen = PolicySpec::parse("static", &parameters).map_err(|wrong| wrong[0].clone())?;
/// let contenders = [Contender::new("sixteen", sixteen)];
/// let seeds = EVALUATION_SEEDS.start..EVALUATION_SEEDS.start + 10;
/// let results = evaluate(&Scenario::paper(), &contenders, seeds, NonZeroUsize::MIN, &|| {})?;
/// assert!(results[0].summary().qos_ratio.mean > 0.97);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(
    scenario: &Scenario,
    contenders: &[Contender],
    seeds: Range<u64>,
    threads: NonZeroUsize,
    on_episode: &(dyn Fn() + Sync),
) -> Result<Vec<Evaluated>, EvaluationError> {
    let count = seeds.end.saturating_sub(seeds.start);
    let share = count.div_ceil(threads.get() as u64).max(1);
    let shares: Vec<Range<u64>> = (0..count.div_ceil(share))
        .map(|index| seeds.start + index * share)
        .map(|start| start..(start + share).min(seeds.end))
        .collect();
    let parts = std::thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|seeds| scope.spawn(|| run_share(scenario, contenders, seeds, on_episode)))
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| ended.unwrap_or(Err(EvaluationError::Thread)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut results: Vec<Evaluated> = contenders
        .iter()
        .map(|contender| Evaluated {
            name: contender.name.clone(),
            outcomes: Vec::with_capacity(count as usize),
        })
        .collect();
    for part in parts {
        for (result, outcomes) in results.iter_mut().zip(part) {
            result.outcomes.extend(outcomes);
        }
    }
    Ok(results)
}

/// Outcomes by contender, then by seed.
fn run_share(
    scenario: &Scenario,
    contenders: &[Contender],
    seeds: Range<u64>,
    on_episode: &(dyn Fn() + Sync),
) -> Result<Vec<Vec<Outcome>>, EvaluationError> {
    let mut episode = begin(scenario, seeds.start)?;
    let mut outcomes = vec![Vec::new(); contenders.len()];
    for seed in seeds {
        for (contender, outcomes) in contenders.iter().zip(&mut outcomes) {
            episode.reset(seed);
            outcomes.push(contender.run(&mut episode)?);
            on_episode();
        }
    }
    Ok(outcomes)
}

/// The beginning of an episode.
///
/// # Errors
/// [`EvaluationError::Scenario`].
pub fn begin(scenario: &Scenario, seed: u64) -> Result<Episode, EvaluationError> {
    Episode::new(scenario, seed).map_err(|cause| EvaluationError::Scenario {
        scenario: scenario.name.clone(),
        cause,
    })
}

#[cfg(test)]
mod tests;
