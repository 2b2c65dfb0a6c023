//! The best constant: what hindsight could have had without a policy.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use farm_policy::PolicySpec;

use super::{Contender, EvaluationError, evaluate};
use crate::scenario::Scenario;

/// The smallest constant parallelism that reaches a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BestConstant {
    /// The parallelism.
    pub parallelism: u32,
    /// Whether it reaches the target; if none does, it is the largest.
    pub reaches_target: bool,
}

impl BestConstant {
    /// The constant as a contender, `static 15 (best constant)`.
    ///
    /// # Errors
    /// The parallelism is no parallelism of a farm.
    pub fn contender(self, one_step: bool) -> Result<Contender, EvaluationError> {
        let note = match self.reaches_target {
            true => "best constant",
            false => "largest constant, misses the target",
        };
        let name = format!("static {} ({note})", self.parallelism);
        constant(name, self.parallelism, one_step)
    }
}

fn constant(name: String, parallelism: u32, one_step: bool) -> Result<Contender, EvaluationError> {
    let parameters = BTreeMap::from([("parallelism".to_owned(), parallelism.to_string())]);
    let spec = PolicySpec::parse("static", &parameters);
    let spec = spec.map_err(|wrong| EvaluationError::Scenario {
        scenario: name.clone(),
        cause: wrong.first().map(ToString::to_string).unwrap_or_default(),
    })?;
    Ok(Contender {
        one_step,
        ..Contender::new(name, spec)
    })
}

/// Looks for the constant with the fewest workers whose mean share of tasks within their deadline
/// reaches the scenario's target. With `one_step` it walks from the initial parallelism to the
/// constant one worker per decision.
///
/// Seeds for the search must not be those of the report: use
/// [`VALIDATION_SEEDS`](super::VALIDATION_SEEDS).
///
/// # Errors
/// [`EvaluationError`]: the scenario makes no sense.
///
/// ```
/// use std::num::NonZeroUsize;
/// use farm_sim::evaluation::{VALIDATION_SEEDS, best_constant};
/// use farm_sim::scenario::Scenario;
/// let seeds = VALIDATION_SEEDS.start..VALIDATION_SEEDS.start + 20;
/// let best = best_constant(&Scenario::paper(), true, seeds, NonZeroUsize::MIN)?;
/// assert!(best.reaches_target && (12..=16).contains(&best.parallelism));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn best_constant(
    scenario: &Scenario,
    one_step: bool,
    seeds: Range<u64>,
    threads: NonZeroUsize,
) -> Result<BestConstant, EvaluationError> {
    let control = &scenario.control;
    // More workers never miss more deadlines, so the search halves the range.
    let (mut low, mut high) = (control.min_parallelism.max(1), control.max_parallelism);
    let reaches = |parallelism: u32| -> Result<bool, EvaluationError> {
        let contender = constant(parallelism.to_string(), parallelism, one_step)?;
        let results = evaluate(scenario, &[contender], seeds.clone(), threads, &|| {})?;
        let mean = results
            .first()
            .map(|result| result.summary().qos_ratio.mean);
        Ok(mean.is_some_and(|mean| mean >= control.target_qos_ratio))
    };
    let reaches_target = reaches(high)?;
    while reaches_target && low < high {
        let middle = low.midpoint(high);
        match reaches(middle)? {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Ok(BestConstant {
        parallelism: high,
        reaches_target,
    })
}
