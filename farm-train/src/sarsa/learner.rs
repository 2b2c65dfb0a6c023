//! The table while it is learned.

use farm_policy::learned::Table;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::traces::Traces;

/// Values are written as multiples of a ten-thousandth: files are half as long.
const VALUE_STEPS_PER_ONE: f64 = 1e4;

/// What happened in one step: what SARSA is named after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transition {
    pub state: u64,
    pub action: usize,
    pub reward: f64,
    /// State and action that followed; `None` if nothing is to come.
    pub next: Option<(u64, usize)>,
}

/// A table, its traces, and the mean of what the table was lately.
#[derive(Debug)]
pub(super) struct Learner {
    table: Table,
    traces: Traces,
    discount: f64,
    initial_value: f64,
    sums: Vec<Sum>,
}

/// The values of a visited state, added up over samples.
#[derive(Debug)]
struct Sum {
    state: u64,
    values: Vec<f64>,
    samples: f64,
}

impl Learner {
    pub fn new(table: Table, traces: Traces, discount: f64, initial_value: f64) -> Self {
        Self {
            table,
            traces,
            discount,
            initial_value,
            sums: Vec::new(),
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
            self.sums.push(Sum {
                state,
                values: vec![0.0; values.len()],
                samples: 0.0,
            });
        }
        state
    }

    /// The best action so far.
    pub fn best(&self, state: u64) -> usize {
        self.table.best(state).unwrap_or_default()
    }

    /// Any action within `reach` places of the best.
    pub fn explore(&self, state: u64, reach: Option<usize>, random: &mut Pcg64Mcg) -> usize {
        let last = self.table.contract().actions.len().saturating_sub(1);
        let best = self.best(state);
        let reach = reach.unwrap_or(last);
        let (low, high) = (best.saturating_sub(reach), (best + reach).min(last));
        random.random_range(low..=high)
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
        let surprise = reward + self.discount * worth - self.value(state, action);
        self.traces.mark(state, action);
        for trace in self.traces.iter() {
            self.table.values_mut(trace.state)[trace.action] += alpha * surprise * trace.strength;
        }
    }

    fn value(&self, state: u64, action: usize) -> f64 {
        let values = self.table.values(state).unwrap_or_default();
        values.get(action).copied().unwrap_or_default()
    }

    /// Takes the table as it is into the mean.
    pub fn sample(&mut self) {
        for sum in &mut self.sums {
            let values = self.table.values(sum.state).unwrap_or_default();
            for (sum, value) in sum.values.iter_mut().zip(values) {
                *sum += value;
            }
            sum.samples += 1.0;
        }
    }

    /// The mean of the samples, rounded; of states without samples the values as they are. `None`
    /// if a value is not finite. In the means to come, these samples weigh `memory_ratio` as much.
    pub fn take_mean(&mut self, memory_ratio: f64) -> Option<Table> {
        let mut mean = self.table.clone();
        for sum in &mut self.sums {
            let samples = sum.samples;
            sum.samples *= memory_ratio;
            let values = mean.values_mut(sum.state).iter_mut();
            for (value, sum) in values.zip(&mut sum.values) {
                if samples > 0.0 {
                    *value = *sum / samples;
                }
                *sum *= memory_ratio;
                if !value.is_finite() {
                    return None;
                }
                *value = (*value * VALUE_STEPS_PER_ONE).round() / VALUE_STEPS_PER_ONE;
            }
        }
        Some(mean)
    }
}

#[cfg(test)]
mod tests {
    use farm_policy::learned::{ActionSpace, Contract, Table};

    use super::super::TraceKind;
    use super::{Learner, Traces, Transition};

    fn learner() -> Learner {
        let contract = Contract::paper(ActionSpace::unit_steps());
        let table = Table::new(contract, vec![vec![1.0, 2.0]]);
        let traces = Traces::new(TraceKind::Accumulating, 0.5 * 0.5, 0.0);
        Learner::new(table, traces, 0.5, 0.0)
    }

    #[test]
    fn a_surprise_teaches_the_choices_before_it_less_and_less() {
        let mut learner = learner();
        let (first, second) = (learner.visit(&[0.0]), learner.visit(&[1.0]));
        let quiet = Transition {
            state: first,
            action: 2,
            reward: 0.0,
            next: Some((second, 1)),
        };
        learner.learn(quiet, 0.1);
        let surprising = Transition {
            state: second,
            action: 1,
            reward: 8.0,
            next: None,
        };
        learner.learn(surprising, 0.1);
        assert_eq!(learner.value(second, 1), 0.8);
        assert_eq!(learner.value(first, 2), 0.2);
        learner.begin();
        learner.learn(quiet, 0.5);
        // 0.2 + 0.5 (0 + 0.5 * 0.8 - 0.2), and what is second is not taught.
        assert!((learner.value(first, 2) - 0.3).abs() < 1e-12);
        assert_eq!(learner.value(second, 1), 0.8);
    }

    #[test]
    fn the_mean_is_over_the_samples_since_the_last() {
        let mut learner = learner();
        let state = learner.visit(&[0.0]);
        for reward in [10.0, 10.0] {
            let transition = Transition {
                state,
                action: 0,
                reward,
                next: None,
            };
            learner.begin();
            learner.learn(transition, 0.5);
            learner.sample();
        }
        let mut mean = || learner.take_mean(0.0).unwrap().values(state).unwrap()[0];
        assert_eq!(mean(), 6.25);
        assert_eq!(mean(), 7.5);
    }
}
