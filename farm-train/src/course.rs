//! What a policy is trained for, and how good it is.

use std::ops::Range;

use farm_policy::learned::Contract;
use farm_sim::environment::{Environment, Reward};
pub use farm_sim::evaluation::{EVALUATION_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS};
use farm_sim::scenario::Scenario;

/// What a policy is trained for.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// The farm and its platform.
    pub scenario: Scenario,
    /// What the policy sees and may do.
    pub contract: Contract,
    /// What a step is worth.
    pub reward: Reward,
}

/// How good a policy is: means over episodes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Score {
    /// Share of the tasks that met their deadline.
    pub qos_ratio: f64,
    /// Its standard deviation over the episodes.
    pub qos_ratio_sd: f64,
    /// Mean parallelism.
    pub parallelism: f64,
    /// Scaling actions of an episode.
    pub scaling_actions: f64,
    /// Sum of rewards of an episode.
    pub reward: f64,
}

/// One point of a learning curve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct CurvePoint {
    /// Control steps trained so far.
    pub steps: u64,
    /// Wall-clock seconds spent so far.
    pub seconds: f64,
    /// How good it was then, on validation seeds.
    pub score: Score,
}

impl Course {
    /// An environment at the beginning of the episode of `seed`.
    ///
    /// # Errors
    /// What is wrong with the scenario.
    pub fn environment(&self, seed: u64) -> Result<Environment, String> {
        Environment::new(&self.scenario, &self.contract, self.reward, seed)
    }

    /// Runs one episode for each seed with the actions that `choose` takes for its input.
    ///
    /// # Errors
    /// What is wrong with the scenario.
    pub fn score(
        &self,
        seeds: Range<u64>,
        mut choose: impl FnMut(&[f64]) -> usize,
    ) -> Result<Score, String> {
        let mut environment = self.environment(seeds.start)?;
        let episodes = (seeds.end - seeds.start).max(1) as f64;
        let mut sums = [0.0; 5];
        for seed in seeds {
            environment.reset(seed);
            let mut reward = 0.0;
            while environment.episode().end().is_none() {
                let action = choose(environment.input());
                reward += environment.step(action).reward;
            }
            let outcome = environment.outcome();
            let qos = outcome.qos_ratio();
            let actions = f64::from(outcome.scaling_actions);
            let terms = [qos, qos * qos, outcome.parallelism_mean, actions, reward];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += term / episodes;
            }
        }
        let [qos_ratio, squares, parallelism, scaling_actions, reward] = sums;
        Ok(Score {
            qos_ratio,
            qos_ratio_sd: (squares - qos_ratio * qos_ratio).max(0.0).sqrt(),
            parallelism,
            scaling_actions,
            reward,
        })
    }
}
