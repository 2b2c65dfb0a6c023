//! An episode as learners see it: numbers in, the index of an action out, a reward back.

use farm_policy::learned::{ActionSpace, Contract, Eyes};
use farm_policy::reward::{self, EpisodeEnd, Prices};
use serde::{Deserialize, Serialize};

use crate::episode::{Episode, Outcome};
use crate::scenario::Scenario;
use crate::workload::Stream;

/// What a step is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reward {
    /// The paper's: [`reward::paper`].
    Paper,
    /// Ours: [`reward::quality_and_cost`] with its default prices.
    QualityAndCost,
    /// `− workers · Δt / interval − price · tasks that missed their deadline`, counted exactly.
    ///
    /// Its sum over an episode is what a table of results shows, workers against quality, as one
    /// number: the Lagrangian of "fewest workers that keep the target". A task that is never
    /// collected missed its deadline.
    MissedTasks {
        /// Workers for one interval that one missed task is worth.
        price: f64,
    },
}

/// What a step brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What it was worth.
    pub reward: f64,
    /// How the episode ended, if it did.
    pub end: Option<EpisodeEnd>,
}

/// A scenario, seen through a contract.
///
/// ```
/// use farm_policy::learned::{ActionSpace, Contract};
/// use farm_sim::environment::{Environment, Reward};
/// use farm_sim::scenario::Scenario;
/// let contract = Contract::paper(ActionSpace::unit_steps());
/// let mut environment = Environment::new(&Scenario::paper(), &contract, Reward::Paper, 42)?;
/// assert_eq!(environment.input().len(), 9);
/// let step = environment.step(2);
/// assert_eq!(environment.input()[4], 13.0);
/// assert!(step.end.is_none());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone)]
pub struct Environment {
    episode: Episode,
    eyes: Eyes,
    actions: ActionSpace,
    reward: Reward,
    input: Vec<f64>,
    /// Outcome before the step, as far as the reward needs it.
    missed: u64,
    worker_seconds: f64,
}

impl Environment {
    /// The beginning of the episode of `seed`.
    ///
    /// # Errors
    /// What is wrong with the scenario.
    pub fn new(
        scenario: &Scenario,
        contract: &Contract,
        reward: Reward,
        seed: u64,
    ) -> Result<Self, String> {
        let mut environment = Self {
            episode: Episode::new(scenario, seed)?,
            eyes: Eyes::new(contract.features.clone(), 1.0),
            actions: contract.actions.clone(),
            reward,
            input: Vec::with_capacity(contract.features.len()),
            missed: 0,
            worker_seconds: 0.0,
        };
        environment.look_anew();
        Ok(environment)
    }

    /// Begins another episode.
    pub fn reset(&mut self, seed: u64) {
        self.episode.reset(seed);
        self.look_anew();
    }

    /// Begins an episode with these very tasks; all other chance is that of `seed`.
    pub fn replay(&mut self, stream: Stream, seed: u64) {
        self.episode.begin(stream, seed);
        self.look_anew();
    }

    fn look_anew(&mut self) {
        self.missed = 0;
        self.worker_seconds = 0.0;
        self.eyes.forget();
        self.eyes.see(self.episode.observation(), &mut self.input);
    }

    /// The numbers of the contract, at the end of the last step.
    pub fn input(&self) -> &[f64] {
        &self.input
    }

    /// The actions to choose from.
    pub fn actions(&self) -> &ActionSpace {
        &self.actions
    }

    /// The episode underneath.
    pub fn episode(&self) -> &Episode {
        &self.episode
    }

    /// The episode underneath, to keep its trace or to run it otherwise.
    pub fn episode_mut(&mut self) -> &mut Episode {
        &mut self.episode
    }

    /// What the episode came to so far.
    pub fn outcome(&self) -> Outcome {
        self.episode.outcome()
    }

    /// Takes the action of that index; one that does not exist changes nothing.
    pub fn step(&mut self, action: usize) -> Step {
        let present = self.episode.observation().parallelism;
        let chosen = self.actions.apply(action, present);
        self.step_to(chosen.map_or(present, |action| action.parallelism))
    }

    /// Asks for a parallelism.
    pub fn step_to(&mut self, parallelism: u32) -> Step {
        self.episode.step(parallelism);
        self.eyes.see(self.episode.observation(), &mut self.input);
        Step {
            reward: self.worth(),
            end: self.episode.end(),
        }
    }

    fn worth(&mut self) -> f64 {
        let observation = self.episode.observation();
        match self.reward {
            Reward::Paper => reward::paper(observation, self.episode.end()),
            Reward::QualityAndCost => reward::quality_and_cost(observation, &Prices::default()),
            Reward::MissedTasks { price } => {
                let outcome = self.episode.outcome();
                let unfinished = self.episode.end().map_or(0, |_| outcome.unfinished);
                let missed = outcome.collected - outcome.met + unfinished;
                let fresh = missed - std::mem::replace(&mut self.missed, missed);
                let worker_seconds = outcome.worker_seconds
                    - std::mem::replace(&mut self.worker_seconds, outcome.worker_seconds);
                -worker_seconds / observation.interval_seconds - price * fresh as f64
            }
        }
    }
}
