//! What a trained policy was promised.

use serde::{Deserialize, Serialize};

use super::{ActionSpace, ArtefactError, Sense};
use crate::limits::MAX_PARALLELISM;
use crate::{InvalidSetting, PAPER_HIGH, PAPER_LOW};

/// The version of the contract's form that this build reads.
const VERSION: u32 = 1;
/// More inputs or outputs than any policy has.
const MOST_FEATURES: usize = 256;
const MOST_ACTIONS: usize = 4096;

/// What an artefact was trained on, and so what it must be shown and may answer.
///
/// ```
/// use farm_policy::learned::{ActionSpace, Contract};
/// let contract = Contract::paper(ActionSpace::unit_steps());
/// assert_eq!(contract.features.len(), 9);
/// assert_eq!(contract.interval_seconds, 8.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Version of this contract's form: 1.
    pub version: u32,
    /// What the policy sees, in the order of its input.
    pub features: Vec<Feature>,
    /// What its outputs stand for, in their order.
    pub actions: ActionSpace,
    /// The control interval it was trained at, in seconds.
    pub interval_seconds: f64,
    /// Smallest parallelism it was trained with.
    pub min_parallelism: u32,
    /// Largest parallelism it was trained with.
    pub max_parallelism: u32,
    /// Where it comes from.
    pub training: Training,
}

/// One number a policy sees, with the bounds it is clipped to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Which number.
    pub sense: Sense,
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

/// Where an artefact comes from: for people, nothing depends on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The algorithm: `sarsa`, `dqn`, `ppo`, ...
    pub algorithm: String,
    /// The command that made it.
    pub command: String,
    /// The scenario it was trained on.
    pub scenario: String,
    /// Seed of the training.
    pub seed: u64,
    /// Control steps it was trained for.
    pub steps: u64,
}

impl Contract {
    /// The paper's nine numbers within its bounds, decided upon every 8 s, with 1 to 32 workers.
    pub fn paper(actions: ActionSpace) -> Self {
        let features = Sense::PAPER
            .into_iter()
            .zip(PAPER_LOW.into_iter().zip(PAPER_HIGH))
            .map(|(sense, (low, high))| Feature { sense, low, high })
            .collect();
        Self {
            version: VERSION,
            features,
            actions,
            interval_seconds: 8.0,
            min_parallelism: 1,
            max_parallelism: 32,
            training: Training::default(),
        }
    }

    /// Features of `senses` within their usual bounds for a farm of up to `max_parallelism`
    /// workers.
    pub fn features(senses: &[Sense], max_parallelism: u32) -> Vec<Feature> {
        senses
            .iter()
            .map(|&sense| {
                let (low, high) = sense.usual_bounds(max_parallelism);
                Feature { sense, low, high }
            })
            .collect()
    }

    /// Tells whether the contract can be kept.
    ///
    /// # Errors
    /// Every rule that is broken, not just the first.
    ///
    /// ```
    /// use farm_policy::learned::{ActionSpace, Contract};
    /// let contract = Contract {
    ///     interval_seconds: 0.0,
    ///     ..Contract::paper(ActionSpace::Levels(vec![4, 64]))
    /// };
    /// let wrong: Vec<String> = contract
    ///     .check()
    ///     .unwrap_err()
    ///     .iter()
    ///     .map(ToString::to_string)
    ///     .collect();
    /// assert_eq!(wrong, [
    ///     "contract.actions: level 64 is not in 1 to 32, the parallelism it was trained with",
    ///     "contract.interval_seconds: 0 is not a time above 0 s",
    /// ]);
    /// ```
    pub fn check(&self) -> Result<(), Vec<InvalidSetting>> {
        let mut wrong = Vec::new();
        let mut require = |holds: bool, setting: &str, cause: String| {
            if !holds {
                let setting = format!("contract.{setting}");
                wrong.push(InvalidSetting::new(setting, cause));
            }
        };
        let version = self.version;
        let cause = format!("{version} is not {VERSION}, which this build reads");
        require(version == VERSION, "version", cause);
        let count = self.features.len();
        let cause = format!("{count} are not 1 to {MOST_FEATURES}");
        require((1..=MOST_FEATURES).contains(&count), "features", cause);
        for Feature { sense, low, high } in &self.features {
            let cause = format!("the bounds of {sense}, {low} to {high}, leave no number");
            let bounded = low.is_finite() && high.is_finite() && low <= high;
            require(bounded, "features", cause);
        }
        let count = self.actions.len();
        let cause = format!("{count} are not 1 to {MOST_ACTIONS}");
        require((1..=MOST_ACTIONS).contains(&count), "actions", cause);
        let (min, max) = (self.min_parallelism, self.max_parallelism);
        if let Some(level) = self.actions.level_outside(min, max) {
            let cause = format!(
                "level {level} is not in {min} to {max}, the parallelism it was trained with"
            );
            require(false, "actions", cause);
        }
        let seconds = self.interval_seconds;
        let cause = format!("{seconds} is not a time above 0 s");
        require(
            seconds.is_finite() && seconds > 0.0,
            "interval_seconds",
            cause,
        );
        let cause = format!("{max} is not in {} to {MAX_PARALLELISM}", min.max(1));
        let ordered = (min.max(1)..=MAX_PARALLELISM).contains(&max);
        require(ordered, "max_parallelism", cause);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// The version of a contract, before the rest of it is believed.
#[derive(Deserialize)]
pub(super) struct Versioned {
    version: u32,
}

impl Versioned {
    pub fn check(&self) -> Result<(), ArtefactError> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(ArtefactError::Version {
            what: "the contract",
            found: self.version,
            expected: VERSION,
        })
    }
}
