//! Training.

use std::ops::ControlFlow;
use std::time::Instant;

use farm_policy::learned::Table;
use farm_sim::environment::{Environment, Reward};
use farm_sim::random::{Cause, random_for};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::learner::{Learner, Transition};
use super::traces::Traces;
use super::{SarsaSettings, TrainError, Trained};
use crate::course::{Course, CurvePoint, Score, TRAINING_SEEDS, VALIDATION_SEEDS};

pub fn train(
    course: &Course,
    settings: &SarsaSettings,
    seed: u64,
    progress: &mut dyn FnMut(&CurvePoint) -> ControlFlow<()>,
) -> Result<Trained, TrainError> {
    Training::new(course, settings, seed)?.run(progress)
}

pub fn greedy(table: &Table) -> impl FnMut(&[f64]) -> usize {
    |input: &[f64]| {
        let state = table.nearest(table.state(input));
        state
            .and_then(|state| table.best(state))
            .unwrap_or(usize::MAX)
    }
}

struct Training<'a> {
    course: Course,
    settings: &'a SarsaSettings,
    environment: Environment,
    learner: Learner,
    random: Pcg64Mcg,
    steps: u64,
    episodes: u64,
    epsilon: Option<f64>,
    alpha: Option<f64>,
    best: Option<(Table, Score)>,
    began: Instant,
    curve: Vec<CurvePoint>,
}

impl<'a> Training<'a> {
    fn new(course: &Course, settings: &'a SarsaSettings, seed: u64) -> Result<Self, TrainError> {
        let edges = course.contract.features.iter().map(|feature| {
            let of = settings
                .edges
                .iter()
                .find(|(sense, _)| *sense == feature.sense);
            of.map(|(_, edges)| edges.clone()).unwrap_or_default()
        });
        let table = Table::new(course.contract.clone(), edges.collect());
        let traces = Traces::new(
            settings.traces,
            settings.gamma * settings.lambda,
            settings.trace_threshold,
        );
        let environment = course
            .environment(TRAINING_SEEDS.start)
            .map_err(TrainError::Scenario)?;
        Ok(Self {
            course: course.clone(),
            settings,
            environment,
            learner: Learner::new(table, traces, settings.gamma, settings.initial_value),
            random: random_for(seed, Cause::Exploration),
            steps: 0,
            episodes: 0,
            epsilon: None,
            alpha: None,
            best: None,
            began: Instant::now(),
            curve: Vec::new(),
        })
    }

    fn run(
        mut self,
        progress: &mut dyn FnMut(&CurvePoint) -> ControlFlow<()>,
    ) -> Result<Trained, TrainError> {
        let checkpoints = self.settings.checkpoints;
        for checkpoint in 1..=checkpoints {
            let until = self.settings.steps * checkpoint / checkpoints;
            while self.steps < until {
                self.episode();
                if self.episodes % 16 == 0 {
                    self.learner.sample();
                }
            }
            let table = self.learner.take_mean();
            let table = if self.settings.average {
                table
            } else {
                self.learner.table().clone()
            };
            let seeds =
                VALIDATION_SEEDS.start..VALIDATION_SEEDS.start + self.settings.checkpoint_episodes;
            let score = self
                .course
                .score(seeds, greedy(&table))
                .map_err(TrainError::Scenario)?;
            let point = CurvePoint {
                steps: self.steps,
                seconds: self.began.elapsed().as_secs_f64(),
                score,
            };
            self.curve.push(point);
            let better = match &self.best {
                None => true,
                Some((_, best)) => self.better(&score, best),
            };
            if better {
                self.best = Some((table, score));
            }
            if progress(&point).is_break() {
                break;
            }
            self.adapt(&score)?;
        }
        let (table, score) = self.best.ok_or(TrainError::Scenario("none".into()))?;
        let price = match self.course.reward {
            Reward::MissedTasks { price } => price,
            _ => 0.0,
        };
        Ok(Trained {
            table,
            score,
            curve: self.curve,
            price,
        })
    }

    fn better(&self, score: &Score, best: &Score) -> bool {
        let Some(target) = self.settings.target_qos_ratio else {
            return score.reward > best.reward;
        };
        match (score.qos_ratio >= target, best.qos_ratio >= target) {
            (true, true) => score.parallelism < best.parallelism,
            (false, false) => score.qos_ratio > best.qos_ratio,
            (met, _) => met,
        }
    }

    fn adapt(&mut self, score: &Score) -> Result<(), TrainError> {
        let (Some(target), Reward::MissedTasks { price }) =
            (self.settings.target_qos_ratio, self.course.reward)
        else {
            return Ok(());
        };
        let excess = (1.0 - score.qos_ratio) / (1.0 - target) - 1.0;
        let factor = (1.0 + self.settings.price_gain * excess).clamp(0.8, 1.25);
        self.course.reward = Reward::MissedTasks {
            price: (price * factor).clamp(0.1, 1000.0),
        };
        self.environment = self
            .course
            .environment(TRAINING_SEEDS.start)
            .map_err(TrainError::Scenario)?;
        Ok(())
    }

    fn episode(&mut self) {
        let done = self.steps as f64 / self.settings.steps as f64;
        let epsilon = self.settings.epsilon.at(self.epsilon, done);
        let alpha = self.settings.alpha.at(self.alpha, done);
        (self.epsilon, self.alpha) = (Some(epsilon), Some(alpha));
        self.environment
            .reset(self.random.random_range(TRAINING_SEEDS));
        self.learner.begin();
        let mut state = self.learner.visit(self.environment.input());
        let mut action = self.learner.choose(state, epsilon, &mut self.random);
        let mut ended = false;
        while !ended {
            let step = self.environment.step(action);
            ended = step.end.is_some();
            let next_state = self.learner.visit(self.environment.input());
            let next_action = self.learner.choose(next_state, epsilon, &mut self.random);
            let follows = !(ended && self.settings.ends);
            let next = follows.then_some((next_state, next_action));
            self.learner.learn(
                Transition {
                    state,
                    action,
                    reward: step.reward,
                    next,
                },
                alpha,
            );
            (state, action) = (next_state, next_action);
            self.steps += 1;
        }
        self.episodes += 1;
    }
}
