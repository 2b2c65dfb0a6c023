//! The loop: act, learn, score, keep the best.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use farm_policy::InvalidSetting;
use farm_policy::learned::Table;
use farm_sim::environment::{Environment, Reward};
use farm_sim::random::{Cause, random_for};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::bins;
use super::learner::{Learner, Transition};
use super::settings::SarsaSettings;
use super::suitable_bins;
use super::traces::Traces;
use crate::course::{Course, CurvePoint, Score, TRAINING_SEEDS, VALIDATION_SEEDS};

/// Episodes between two samples of the mean.
const SAMPLE_EVERY_EPISODES: u32 = 16;

/// What came of a training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The table that did best.
    pub table: Table,
    /// How good it is, on all validation seeds.
    pub score: Score,
    /// How good it was on the way, on some of them.
    pub curve: Vec<CurvePoint>,
    /// The reward in the end, its price adapted to the target.
    pub reward: Reward,
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
    /// The values grew beyond all bounds.
    #[error("the values are not finite after {steps} steps: use a smaller alpha")]
    Diverged {
        /// Control steps trained until then.
        steps: u64,
    },
}

/// Trains a table with SARSA(λ) and keeps the checkpoint that does best on validation seeds.
///
/// `progress` is told each checkpoint's score and may end the training there. What the contract
/// says of its training is completed, but for the command, which is the caller's. Equal courses,
/// settings and seeds give equal tables.
///
/// # Errors
/// [`TrainError`] if course or settings make no sense, or if the values diverge.
///
/// ```
/// use std::ops::ControlFlow;
/// use farm_policy::learned::Actions;
/// use farm_sim::scenario::Scenario;
/// use farm_train::sarsa::{self, SarsaSettings};
/// let course = sarsa::course(Scenario::paper(), Actions::Step);
/// let settings = SarsaSettings {
///     steps: 1_000,
///     checkpoints: 1,
///     checkpoint_episodes: 2,
///     ..SarsaSettings::default()
/// };
/// let trained = sarsa::train(&course, &settings, 1, &mut |point| {
///     println!("{} steps: {:.1} workers", point.steps, point.score.parallelism);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(trained.table.contract().training.algorithm, "sarsa");
/// # Ok::<(), sarsa::TrainError>(())
/// ```
pub fn train(
    course: &Course,
    settings: &SarsaSettings,
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
        training.adapt_price(&point.score)?;
    }
    training.finish(seed)
}

/// What a table chooses, for [`Course::score`]: the best action of the state that decides, or
/// nothing where no state does.
pub fn greedy(table: &Table) -> impl FnMut(&[f64]) -> usize {
    |input| {
        let state = table.nearest(table.state(input));
        // No action has this number, so nothing changes.
        (state.and_then(|state| table.best(state))).unwrap_or(usize::MAX)
    }
}

struct Training<'a> {
    /// As given, but for the price of a missed task.
    course: Course,
    settings: &'a SarsaSettings,
    began: Instant,
    random: Randoms,
    environment: Environment,
    learner: Learner,
    steps: u64,
    episodes: u32,
    finalists: Vec<Finalist>,
    curve: Vec<CurvePoint>,
}

/// Chance, one stream per cause.
struct Randoms {
    episodes: Pcg64Mcg,
    exploration: Pcg64Mcg,
}

/// A checkpoint that may be kept.
struct Finalist {
    table: Table,
    steps: u64,
    /// Smaller is better.
    cost: f64,
}

impl<'a> Training<'a> {
    fn new(course: &Course, settings: &'a SarsaSettings, seed: u64) -> Result<Self, TrainError> {
        let mut root = random_for(seed, Cause::Exploration);
        let mut stream = || Pcg64Mcg::seed_from_u64(root.random());
        let contract = &course.contract;
        let bins = settings.bins.clone();
        let bins = bins.unwrap_or_else(|| suitable_bins(&course.scenario, contract));
        let edges = bins::edges(&contract.features, &bins);
        let decay = settings.discount * settings.lambda;
        let learner = Learner::new(
            Table::new(contract.clone(), edges),
            Traces::new(settings.traces, decay, settings.trace_threshold),
            settings.discount,
            settings.initial_value,
        );
        Ok(Self {
            course: course.clone(),
            settings,
            began: Instant::now(),
            random: Randoms {
                episodes: stream(),
                exploration: stream(),
            },
            environment: (course.environment(TRAINING_SEEDS.start))
                .map_err(TrainError::Scenario)?,
            learner,
            steps: 0,
            episodes: 0,
            finalists: Vec::new(),
            curve: Vec::new(),
        })
    }

    fn run_until(&mut self, steps: u64) {
        while self.steps < steps {
            self.run_episode();
            let averages = self.settings.averaging_ratio > 0.0;
            if averages && self.episodes.is_multiple_of(SAMPLE_EVERY_EPISODES) {
                self.learner.sample();
            }
        }
    }

    fn run_episode(&mut self) {
        let settings = self.settings;
        let progress_ratio = self.steps as f64 / settings.steps as f64;
        let epsilon = settings.epsilon.at(progress_ratio, self.episodes);
        let alpha = settings.alpha.at(progress_ratio, self.episodes);
        let seed = self.random.episodes.random_range(TRAINING_SEEDS);
        self.environment.reset(seed);
        self.learner.begin();
        let (mut state, mut action) = self.choose(epsilon);
        let mut ended = self.environment.episode().end().is_some();
        while !ended {
            let step = self.environment.step(action);
            ended = step.end.is_some();
            let next = self.choose(epsilon);
            let follows = !ended || settings.bootstrap_after_end;
            let transition = Transition {
                state,
                action,
                reward: step.reward,
                next: follows.then_some(next),
            };
            self.learner.learn(transition, alpha);
            (state, action) = next;
            self.steps += 1;
        }
        self.episodes += 1;
    }

    /// The present state and what is to be done in it.
    fn choose(&mut self, epsilon: f64) -> (u64, usize) {
        let state = self.learner.visit(self.environment.input());
        let random = &mut self.random.exploration;
        let action = match random.random::<f64>() < epsilon {
            true => {
                let reach = self.settings.exploration_reach;
                self.learner.explore(state, reach, random)
            }
            false => self.learner.best(state),
        };
        (state, action)
    }

    /// Scores the table as it is now.
    fn score(&mut self) -> Result<CurvePoint, TrainError> {
        let diverged = TrainError::Diverged { steps: self.steps };
        let memory_ratio = self.settings.memory_ratio();
        let table = self.learner.take_mean(memory_ratio).ok_or(diverged)?;
        let (start, episodes) = (VALIDATION_SEEDS.start, self.settings.checkpoint_episodes);
        let score = self.score_of(&table, start..start + episodes)?;
        self.finalists.push(Finalist {
            table,
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

    fn score_of(&self, table: &Table, seeds: Range<u64>) -> Result<Score, TrainError> {
        let score = self.course.score(seeds, greedy(table));
        score.map_err(TrainError::Scenario)
    }

    /// Makes a missed task dearer if too many are missed, and cheaper if fewer than may be.
    fn adapt_price(&mut self, score: &Score) -> Result<(), TrainError> {
        let Reward::MissedTasks { price } = self.course.reward else {
            return Ok(());
        };
        let price = self.settings.adapted_price(price, score);
        self.course.reward = Reward::MissedTasks { price };
        let environment = self.course.environment(TRAINING_SEEDS.start);
        self.environment = environment.map_err(TrainError::Scenario)?;
        Ok(())
    }

    /// Keeps the finalist that does best on all validation seeds.
    fn finish(self, seed: u64) -> Result<Trained, TrainError> {
        let mut kept: Option<(f64, Score, &Finalist)> = None;
        for finalist in &self.finalists {
            let score = self.score_of(&finalist.table, VALIDATION_SEEDS)?;
            let cost = self.settings.cost(&score);
            if kept.is_none_or(|(least, _, _)| cost < least) {
                kept = Some((cost, score, finalist));
            }
        }
        let diverged = TrainError::Diverged { steps: self.steps };
        let (_, score, finalist) = kept.ok_or(diverged)?;
        let mut table = finalist.table.clone();
        let training = table.training_mut();
        training.algorithm = "sarsa".to_owned();
        training.scenario = self.course.scenario.name.clone();
        training.seed = seed;
        training.steps = finalist.steps;
        Ok(Trained {
            table,
            score,
            curve: self.curve,
            reward: self.course.reward,
        })
    }
}
