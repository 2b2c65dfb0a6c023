//! Training by name: what `farm train` asks of the trainers.

use std::ops::ControlFlow;
use std::path::Path;

use farm_policy::learned::Actions;
use farm_sim::environment::Reward;
use farm_sim::scenario::Scenario;
use farm_train::course::{Course, CurvePoint};
use farm_train::dqn::{self, DqnSettings};
use farm_train::sarsa::{self, SarsaSettings};
use serde::de::DeserializeOwned;

use super::contenders::Pace;
use crate::failure::Failure;

/// How a policy is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// SARSA(λ): a table, as JSON
    Sarsa,
    /// Double DQN: a network, as ONNX
    Dqn,
}

impl Algorithm {
    /// Its name, which is also that of the policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sarsa => "sarsa",
            Self::Dqn => "dqn",
        }
    }

    /// How its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Sarsa => "json",
            Self::Dqn => "onnx",
        }
    }
}

/// What a step is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RewardName {
    /// The paper's formula
    Paper,
    /// Quality within its target, and workers
    QualityAndCost,
    /// Workers, and a price for each task that missed its deadline
    MissedTasks,
}

/// Workers for one interval of 8 s that a missed task costs.
const MISSED_TASK_PRICE: f64 = 5.0;

impl RewardName {
    fn reward(self, usual: Reward) -> Reward {
        match (self, usual) {
            (Self::Paper, _) => Reward::Paper,
            (Self::QualityAndCost, _) => Reward::QualityAndCost,
            (Self::MissedTasks, Reward::MissedTasks { .. }) => usual,
            (Self::MissedTasks, _) => Reward::MissedTasks {
                price: MISSED_TASK_PRICE,
            },
        }
    }
}

/// The settings of the paper, in place of a file.
const PUBLISHED: &str = "published";

/// A training to be done.
#[derive(Debug)]
pub struct Order<'a> {
    /// How.
    pub algorithm: Algorithm,
    /// For which farm.
    pub scenario: Scenario,
    /// How far the policy may go in one decision.
    pub pace: Pace,
    /// Seed of all chance in it.
    pub seed: u64,
    /// Control steps, if not the usual number.
    pub steps: Option<u64>,
    /// What a step is worth, if not the usual.
    pub reward: Option<RewardName>,
    /// [`PUBLISHED`], or a JSON file of those settings that are not the usual ones.
    pub settings: Option<&'a Path>,
    /// What the artefact says made it.
    pub command: String,
}

/// A trained policy.
pub struct Made {
    /// Its file.
    pub bytes: Vec<u8>,
    /// How it learned.
    pub curve: Vec<CurvePoint>,
    /// Steps after which it was as it is.
    pub steps: u64,
}

/// What is told at every checkpoint; breaking ends the training there.
pub type OnCheckpoint<'a> = &'a mut dyn FnMut(&CurvePoint) -> ControlFlow<()>;

impl Order<'_> {
    /// Trains.
    ///
    /// # Errors
    /// The settings make no sense, or the training failed.
    pub fn carry_out(
        &self,
        on_begin: impl FnOnce(u64),
        on_checkpoint: OnCheckpoint<'_>,
    ) -> Result<Made, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::Failed(format!("cannot train {}: {error}", self.algorithm.name()))
        };
        let actions = match self.pace {
            Pace::Step => Actions::Step,
            Pace::Free => Actions::Free,
        };
        match self.algorithm {
            Algorithm::Dqn => {
                let mut settings = self.read_settings(DqnSettings::published)?;
                settings.steps = self.steps.unwrap_or(settings.steps);
                on_begin(settings.steps);
                let course = self.course(dqn::course(self.scenario.clone(), actions));
                let trained = dqn::train(&course, &settings, self.seed, on_checkpoint);
                let trained = trained.map_err(|error| failed(&error))?;
                Ok(Made {
                    bytes: trained.onnx,
                    curve: trained.curve,
                    steps: trained.contract.training.steps,
                })
            }
            Algorithm::Sarsa => {
                let mut settings = self.read_settings(SarsaSettings::published)?;
                settings.steps = self.steps.unwrap_or(settings.steps);
                on_begin(settings.steps);
                let course = self.course(sarsa::course(self.scenario.clone(), actions));
                let trained = sarsa::train(&course, &settings, self.seed, on_checkpoint);
                let trained = trained.map_err(|error| failed(&error))?;
                Ok(Made {
                    bytes: trained.table.to_json().into_bytes(),
                    curve: trained.curve,
                    steps: trained.table.contract().training.steps,
                })
            }
        }
    }

    fn course(&self, usual: Course) -> Course {
        let mut course = usual;
        if let Some(reward) = self.reward {
            course.reward = reward.reward(course.reward);
        }
        course.contract.training.command.clone_from(&self.command);
        course
    }

    fn read_settings<S: DeserializeOwned + Default>(
        &self,
        published: fn() -> S,
    ) -> Result<S, Failure> {
        let path = match self.settings {
            None => return Ok(S::default()),
            Some(path) if path == Path::new(PUBLISHED) => return Ok(published()),
            Some(path) => path,
        };
        let refused =
            |cause: String| Failure::Refused(format!("--settings {}: {cause}", path.display()));
        let json = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let mut deserializer = serde_json::Deserializer::from_slice(&json);
        let settings = serde_path_to_error::deserialize(&mut deserializer);
        settings.map_err(|error| refused(error.to_string()))
    }
}
