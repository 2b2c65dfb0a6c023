//! The loop: act, remember, learn, score, keep the best.

use std::ops::ControlFlow;
use std::time::Instant;

use farm_policy::InvalidSetting;
use farm_policy::learned::Contract;
use farm_sim::environment::Environment;
use farm_sim::random::{Cause, random_for};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::learner::Learner;
use super::network::{Network, Pass, best};
use super::onnx;
use super::replay::{Batch, Experience, Recent, Replay};
use super::settings::DqnSettings;
use crate::course::{Course, CurvePoint, Score, TRAINING_SEEDS, VALIDATION_SEEDS};

/// Observations whose values are recorded in the file.
const GOLDEN_ROWS: usize = 4;

/// What came of a training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The file of the network that did best.
    pub onnx: Vec<u8>,
    /// What the file says of it.
    pub contract: Contract,
    /// How good it is, on validation seeds.
    pub score: Score,
    /// How good it was on the way, on fewer of them.
    pub curve: Vec<CurvePoint>,
    network: Network,
}

impl Trained {
    /// Chooses the best action for an input.
    pub fn greedy(&self) -> impl FnMut(&[f64]) -> usize {
        greedy(&self.network)
    }
}

/// Why nothing was trained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting that makes no sense.
    #[error("settings: {0}")]
    Setting(#[from] InvalidSetting),
    /// A scenario that cannot be simulated.
    #[error("scenario: {0}")]
    Scenario(String),
    /// A contract that cannot be kept.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Contract(Vec<InvalidSetting>),
    /// A network that cannot be written.
    #[error("the network cannot be written: {0}")]
    Write(String),
    /// The values grew beyond all bounds.
    #[error(
        "the values are not finite after {steps} steps: use a smaller learning_rate or reward_scale"
    )]
    Diverged {
        /// Control steps trained until then.
        steps: u64,
    },
}

/// Trains a network with Double DQN and keeps the checkpoint that does best on validation seeds.
///
/// `progress` is told each checkpoint's score and may end the training there. What the contract
/// says of its training is completed, but for the command, which is the caller's.
///
/// # Errors
/// [`TrainError`] if course or settings make no sense, or if the values diverge.
///
/// ```
/// use std::ops::ControlFlow;
/// use farm_policy::learned::Actions;
/// use farm_sim::scenario::Scenario;
/// use farm_train::dqn::{self, DqnSettings};
/// let course = dqn::course(Scenario::paper(), Actions::Step);
/// let settings = DqnSettings {
///     steps: 500,
///     hidden: vec![16],
///     warm_up_steps: 100,
///     checkpoints: 1,
///     checkpoint_episodes: 2,
///     ..DqnSettings::default()
/// };
/// let trained = dqn::train(&course, &settings, 1, &mut |point| {
///     println!("{} steps: {:.1} workers", point.steps, point.score.parallelism);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(trained.contract.training.algorithm, "dqn");
/// # Ok::<(), dqn::TrainError>(())
/// ```
pub fn train(
    course: &Course,
    settings: &DqnSettings,
    seed: u64,
    progress: &mut dyn FnMut(&CurvePoint) -> ControlFlow<()>,
) -> Result<Trained, TrainError> {
    settings.check()?;
    course.contract.check().map_err(TrainError::Contract)?;
    let mut training = Training::new(course, settings, seed)?;
    let checkpoints = u64::from(settings.checkpoints);
    for checkpoint in 1..=checkpoints {
        training.run_until(settings.steps * checkpoint / checkpoints);
        let point = training.score()?;
        if progress(&point).is_break() {
            break;
        }
    }
    training.finish(seed)
}

struct Training<'a> {
    course: &'a Course,
    settings: &'a DqnSettings,
    began: Instant,
    random: Randoms,
    lanes: Vec<Lane>,
    /// What is seen in all lanes, one after the other.
    observations: Vec<f32>,
    replay: Replay,
    batch: Batch,
    learner: Learner,
    pass: Pass,
    steps: u64,
    episodes: u32,
    updates: u64,
    finalists: Vec<Finalist>,
    curve: Vec<CurvePoint>,
}

/// Chance, one stream per cause.
struct Randoms {
    episodes: Pcg64Mcg,
    exploration: Pcg64Mcg,
    sampling: Pcg64Mcg,
}

/// One of the episodes that run side by side.
struct Lane {
    environment: Environment,
    recent: Recent,
}

/// A checkpoint that may be kept.
struct Finalist {
    network: Network,
    steps: u64,
    /// Smaller is better.
    cost: f64,
}

impl<'a> Training<'a> {
    fn new(course: &'a Course, settings: &'a DqnSettings, seed: u64) -> Result<Self, TrainError> {
        let mut root = random_for(seed, Cause::Exploration);
        let mut stream = || Pcg64Mcg::seed_from_u64(root.random());
        let mut initial = stream();
        let mut random = Randoms {
            episodes: stream(),
            exploration: stream(),
            sampling: stream(),
        };
        let mut lanes = Vec::with_capacity(settings.environments);
        for _ in 0..settings.environments {
            let seed = random.episodes.random_range(TRAINING_SEEDS);
            lanes.push(Lane {
                environment: course.environment(seed).map_err(TrainError::Scenario)?,
                recent: Recent::new(settings.reward_steps, settings.discount as f32),
            });
        }
        let (features, actions) = (&course.contract.features, course.contract.actions.len());
        let network = Network::new(features, &settings.hidden, actions, &mut initial);
        Ok(Self {
            course,
            settings,
            began: Instant::now(),
            random,
            observations: (lanes.iter())
                .flat_map(|lane| lane.environment.input())
                .map(|number| *number as f32)
                .collect(),
            lanes,
            replay: Replay::new(features.len(), settings.replay_capacity),
            batch: Batch::default(),
            learner: Learner::new(network, settings),
            pass: Pass::default(),
            steps: 0,
            episodes: 0,
            updates: 0,
            finalists: Vec::new(),
            curve: Vec::new(),
        })
    }

    fn run_until(&mut self, steps: u64) {
        while self.steps < steps {
            self.act();
            self.learn();
        }
    }

    /// Takes one step in every lane.
    fn act(&mut self) {
        let settings = self.settings;
        let progress_ratio = self.steps as f64 / settings.steps as f64;
        let epsilon = settings.epsilon.at(progress_ratio, self.episodes);
        let network = self.learner.online();
        let values = network.compute(&self.observations, &mut self.pass);
        let contract = &self.course.contract;
        let (features, actions) = (contract.features.len(), contract.actions.len());
        let seen = self.observations.chunks_exact_mut(features);
        let mut next_observation = Vec::with_capacity(features);
        for ((lane, seen), values) in self.lanes.iter_mut().zip(seen).zip(values.chunks(actions)) {
            let random = &mut self.random.exploration;
            let action = settings.choose(values, epsilon, random);
            let step = lane.environment.step(action);
            read(&lane.environment, &mut next_observation);
            let experience = Experience {
                observation: seen,
                action,
                reward: settings.worth(step.reward),
                next_observation: &next_observation,
                discount: settings.discount as f32,
            };
            let ended = step.end.is_some();
            lane.recent.push(experience, ended, &mut self.replay);
            if ended {
                self.episodes += 1;
                let seed = self.random.episodes.random_range(TRAINING_SEEDS);
                lane.environment.reset(seed);
                read(&lane.environment, &mut next_observation);
            }
            seen.copy_from_slice(&next_observation);
        }
        self.steps += self.lanes.len() as u64;
    }

    /// Makes the updates that are due.
    fn learn(&mut self) {
        let settings = self.settings;
        let progress_ratio = self.steps as f64 / settings.steps as f64;
        let rate = settings.learning_rate.at(progress_ratio, self.episodes) as f32;
        let learned_from = self.steps.saturating_sub(settings.warm_up_steps);
        while self.updates < learned_from / settings.steps_per_update {
            let random = &mut self.random.sampling;
            self.replay.sample(settings.batch, random, &mut self.batch);
            self.learner.learn(&self.batch, rate);
            self.updates += 1;
        }
    }

    /// Scores the network as it is now.
    fn score(&mut self) -> Result<CurvePoint, TrainError> {
        let network = self.learner.target().clone();
        if !network.parameters().iter().all(|number| number.is_finite()) {
            let steps = self.steps;
            return Err(TrainError::Diverged { steps });
        }
        let score = self.score_of(&network, self.settings.checkpoint_episodes)?;
        self.finalists.push(Finalist {
            network,
            steps: self.steps,
            cost: self.settings.cost(&score),
        });
        self.finalists.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        self.finalists.truncate(self.settings.finalists);
        let point = CurvePoint {
            steps: self.steps,
            seconds: self.began.elapsed().as_secs_f64(),
            score,
        };
        self.curve.push(point);
        Ok(point)
    }

    fn score_of(&self, network: &Network, episodes: u64) -> Result<Score, TrainError> {
        let seeds = VALIDATION_SEEDS.start..VALIDATION_SEEDS.start + episodes;
        let score = self.course.score(seeds, greedy(network));
        score.map_err(TrainError::Scenario)
    }

    /// Keeps the finalist that does best on more episodes.
    fn finish(self, seed: u64) -> Result<Trained, TrainError> {
        let mut kept: Option<(f64, Score, &Finalist)> = None;
        for finalist in &self.finalists {
            let score = self.score_of(&finalist.network, self.settings.final_episodes)?;
            let cost = self.settings.cost(&score);
            if kept.is_none_or(|(least, _, _)| cost < least) {
                kept = Some((cost, score, finalist));
            }
        }
        let (_, score, finalist) = kept.ok_or(TrainError::Diverged { steps: self.steps })?;
        let mut contract = self.course.contract.clone();
        contract.training.algorithm = "dqn".to_owned();
        contract.training.scenario = self.course.scenario.name.clone();
        contract.training.seed = seed;
        contract.training.steps = finalist.steps;
        let observations = self.golden_observations(&finalist.network)?;
        let onnx = onnx::write(&finalist.network, &contract, &observations);
        Ok(Trained {
            onnx: onnx.map_err(|error| TrainError::Write(error.to_string()))?,
            contract,
            score,
            curve: self.curve,
            network: finalist.network.clone(),
        })
    }

    /// What the network sees on its way through an episode.
    fn golden_observations(&self, network: &Network) -> Result<Vec<Vec<f32>>, TrainError> {
        let environment = self.course.environment(VALIDATION_SEEDS.start);
        let mut environment = environment.map_err(TrainError::Scenario)?;
        let (mut pass, mut observation) = (Pass::default(), Vec::new());
        let mut seen = Vec::new();
        while environment.episode().end().is_none() {
            read(&environment, &mut observation);
            environment.step(best(network.compute(&observation, &mut pass)));
            seen.push(observation.clone());
        }
        let every = seen.len().div_ceil(GOLDEN_ROWS).max(1);
        Ok(seen.into_iter().step_by(every).collect())
    }
}

fn greedy(network: &Network) -> impl FnMut(&[f64]) -> usize {
    let (mut pass, mut observation) = (Pass::default(), Vec::new());
    move |input| {
        observation.clear();
        observation.extend(input.iter().map(|number| *number as f32));
        best(network.compute(&observation, &mut pass))
    }
}

fn read(environment: &Environment, observation: &mut Vec<f32>) {
    observation.clear();
    observation.extend(environment.input().iter().map(|number| *number as f32));
}
