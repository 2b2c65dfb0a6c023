//! The table while it is learned.

use farm_policy::learned::Table;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::traces::Traces;

/// What happened in one step, as SARSA is named after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transition {
    pub state: u64,
    pub action: usize,
    pub reward: f64,
    /// State and action that followed; `None` if nothing is to follow.
    pub next: Option<(u64, usize)>,
}

/// A table, its traces, and the mean of what the table was lately.
#[derive(Debug)]
pub(super) struct Learner {
    table: Table,
    traces: Traces,
    gamma: f64,
    initial_value: f64,
    /// Every visited state and the sums of its values over the samples.
    sums: Vec<(u64, Vec<f64>)>,
    samples: f64,
}

impl Learner {
    pub fn new(table: Table, traces: Traces, gamma: f64, initial_value: f64) -> Self {
        Self {
            table,
            traces,
            gamma,
            initial_value,
            sums: Vec::new(),
            samples: 0.0,
        }
    }

    /// An episode begins.
    pub fn begin(&mut self) {
        self.traces.clear();
    }

    /// The state of `input`, with initial values if it is new.
    pub fn visit(&mut self, input: &[f64]) -> u64 {
        let state = self.table.state(input);
        if self.table.values(state).is_none() {
            let values = self.table.values_mut(state);
            values.fill(self.initial_value);
            self.sums.push((state, vec![0.0; values.len()]));
        }
        state
    }

    /// The best action so far, or with probability `epsilon` any.
    pub fn choose(&self, state: u64, epsilon: f64, random: &mut Pcg64Mcg) -> usize {
        if random.random::<f64>() < epsilon {
            let actions = self.table.contract().actions.len();
            return random.random_range(0..actions);
        }
        self.table.best(state).unwrap_or_default()
    }

    /// Lets the step's surprise teach all choices that led to it.
    pub fn learn(&mut self, transition: Transition, alpha: f64) {
        let Transition {
            state,
            action,
            reward,
            next,
        } = transition;
        let worth = next.map_or(0.0, |(state, action)| self.value(state, action));
        let surprise = reward + self.gamma * worth - self.value(state, action);
        self.traces.mark(state, action);
        for (state, action, trace) in self.traces.iter() {
            self.table.values_mut(state)[action] += alpha * surprise * trace;
        }
    }

    /// Takes the table as it is into the mean.
    pub fn sample(&mut self) {
        for (state, sums) in &mut self.sums {
            let values = self.table.values(*state).unwrap_or_default();
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
        self.samples += 1.0;
    }

    /// The table as it is.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The mean of the samples since this was called last; the table as it is if there are none.
    pub fn take_mean(&mut self) -> Table {
        let mut mean = self.table.clone();
        let samples = std::mem::replace(&mut self.samples, 0.0);
        for (state, sums) in &mut self.sums {
            for (value, sum) in mean.values_mut(*state).iter_mut().zip(sums) {
                let sum = std::mem::replace(sum, 0.0);
                if samples > 0.0 {
                    *value = sum / samples;
                }
            }
        }
        mean
    }

    fn value(&self, state: u64, action: usize) -> f64 {
        let values = self.table.values(state).unwrap_or_default();
        values.get(action).copied().unwrap_or_default()
    }
}
