//! What many episodes came to.

use serde::Serialize;

use super::Estimate;
use crate::episode::Outcome;

/// Means over episodes; every count is one of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Episodes.
    pub episodes: usize,
    /// Share of the submitted tasks that met their deadline.
    pub qos_ratio: Estimate,
    /// Mean parallelism over the decisions.
    pub parallelism_mean: Estimate,
    /// Most workers at once.
    pub parallelism_max: Estimate,
    /// Workers asked for, integrated over time.
    pub worker_seconds: Estimate,
    /// Decisions that changed the parallelism.
    pub scaling_actions: Estimate,
    /// Decisions that did not.
    pub no_ops: Estimate,
    /// Tasks not collected in the end.
    pub unfinished_tasks: Estimate,
}

impl Summary {
    /// The means of these episodes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let over = |value: fn(&Outcome) -> f64| Estimate::of(outcomes.iter().map(value));
        Self {
            episodes: outcomes.len(),
            qos_ratio: over(Outcome::qos_ratio),
            parallelism_mean: over(|outcome| outcome.parallelism_mean),
            parallelism_max: over(|outcome| f64::from(outcome.parallelism_max)),
            worker_seconds: over(|outcome| outcome.worker_seconds),
            scaling_actions: over(|outcome| f64::from(outcome.scaling_actions)),
            no_ops: over(|outcome| f64::from(outcome.no_ops())),
            unfinished_tasks: over(|outcome| outcome.unfinished as f64),
        }
    }
}

/// One policy less another, seed by seed: what they have in common by chance cancels out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Of the share of tasks that met their deadline.
    pub qos_ratio: Estimate,
    /// Of the mean parallelism.
    pub parallelism_mean: Estimate,
}

impl Difference {
    /// `these` less `those`; both in the order of the same seeds.
    pub fn between(these: &[Outcome], those: &[Outcome]) -> Self {
        let less = |value: fn(&Outcome) -> f64| {
            let pairs = these.iter().zip(those);
            Estimate::of(pairs.map(|(this, that)| value(this) - value(that)))
        };
        Self {
            qos_ratio: less(Outcome::qos_ratio),
            parallelism_mean: less(|outcome| outcome.parallelism_mean),
        }
    }
}
