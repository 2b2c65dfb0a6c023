//! `sarsa`, `dqn` and `onnx`: policies that were trained.

use std::fmt;
use std::sync::Arc;

use crate::learned::{ActionSpace, Artefact, Contract, Eyes};
use crate::{Action, Observation, Policy, PolicyError};

/// How far the control interval may be from the one of training, as a share of it.
const INTERVAL_TOLERANCE_RATIO: f64 = 0.25;
/// Actions whose values a reason tells.
const TOLD_ACTIONS: usize = 5;

/// The policies `sarsa`, `dqn` and `onnx`: what was learned in a simulator or on a live farm.
///
/// Formula: the features of the artefact's [`Contract`] are read off the observation by [`Eyes`];
/// a [table](crate::learned::Table) (`sarsa`) or a [network](crate::learned::Network) (`dqn`,
/// `onnx`) gives every action a value, and the action of the highest is taken.
///
/// | parameter | unit | default |
/// |---|---|---|
/// | `model` | name of a file, built in or beside | none: it must be given |
/// | `time_scale` | the farm's times per time of training | 1 |
/// | `step` | `one` or `free` | free |
///
/// With `time_scale` 0.1 the farm runs ten times as fast as in training: a task of 0.15 s is shown
/// as one of 1.5 s, and the control interval has to be a tenth. An interval that is more than a
/// quarter off is refused with every decision, and the guard's fallback decides.
///
/// A table decides in a state that was never visited as in the
/// [nearest](crate::learned::Table::nearest) one that was; if there is none, the parallelism stays.
///
/// Source: SARSA(λ) and deep Q-learning as in arXiv 2602.06555; the artefacts are described at
/// [`learned`](crate::learned).
///
/// Choose it for a load that is like the one of training. It knows nothing about any other: keep
/// `max` within the contract's, and compare with `predictive`.
#[derive(Debug, Clone)]
pub struct Learned {
    name: &'static str,
    artefact: Arc<Artefact>,
    eyes: Eyes,
    time_scale: f64,
    input: Vec<f64>,
    last: Option<Decision>,
}

/// How the last decision came about, for its reason.
#[derive(Debug, Clone)]
struct Decision {
    state: Option<State>,
    values: Vec<f64>,
    parallelism: u32,
}

#[derive(Debug, Clone)]
struct State {
    number: u64,
    decided_as: Option<u64>,
}

impl Learned {
    /// A policy of that name that has seen nothing yet.
    pub fn new(name: &'static str, artefact: Arc<Artefact>, time_scale: f64) -> Self {
        Self {
            name,
            eyes: Eyes::new(artefact.contract().features.clone(), time_scale),
            artefact,
            time_scale,
            input: Vec::new(),
            last: None,
        }
    }

    fn choose(&self, present: u32) -> Result<Decision, String> {
        let (state, values, best) = match &*self.artefact {
            Artefact::Table(table) => {
                let number = table.state(&self.input);
                let decided_as = table.nearest(number);
                let values = decided_as.and_then(|state| table.values(state));
                let best = decided_as.and_then(|state| table.best(state));
                let state = State { number, decided_as };
                (Some(state), values.unwrap_or_default().to_vec(), best)
            }
            Artefact::Network(network) => {
                let values = network.decide(&self.input);
                let values = values.map_err(|error| error.to_string())?;
                let best = first_highest(&values);
                let values = values.into_iter().map(f64::from).collect();
                (None, values, best)
            }
        };
        let actions = &self.artefact.contract().actions;
        let action = best.and_then(|index| actions.apply(index, present));
        Ok(Decision {
            state,
            values,
            parallelism: action.map_or(present, |action| action.parallelism),
        })
    }

    fn told_input(&self) -> String {
        let numbers = self.eyes.features().iter().zip(&self.input);
        let told: Vec<String> = numbers
            .map(|(feature, number)| format!("{} {}", feature.sense, Short(*number)))
            .collect();
        told.join(", ")
    }
}

impl Policy for Learned {
    fn name(&self) -> &'static str {
        self.name
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        // It sees everything, so that it remembers on the day it may decide.
        self.eyes.see(observation, &mut self.input);
        self.last = None;
        let refuse = |cause| PolicyError {
            policy: self.name,
            cause,
        };
        let contract = self.artefact.contract();
        check_interval(contract, self.time_scale, observation.interval_seconds).map_err(refuse)?;
        let decision = self.choose(observation.parallelism).map_err(refuse)?;
        let parallelism = decision.parallelism;
        self.last = Some(decision);
        Ok(Action { parallelism })
    }

    fn reason(&self) -> String {
        let Some(decision) = &self.last else {
            return "nothing decided yet".to_owned();
        };
        let input = self.told_input();
        let shown = match &decision.state {
            None => format!("the network, shown {input},"),
            Some(State { number, decided_as }) => match decided_as {
                Some(like) if like == number => format!("state {number} ({input})"),
                Some(like) => {
                    format!("state {number} ({input}), never visited and decided like {like},")
                }
                None => format!("state {number} ({input}), never visited nor any like it,"),
            },
        };
        let actions = &self.artefact.contract().actions;
        let values = told_values(actions, &decision.values);
        format!("{shown} {values}: {} workers", decision.parallelism)
    }
}

/// Tells how an interval differs from the one of training, if it does by too much.
pub(crate) fn check_interval(
    contract: &Contract,
    time_scale: f64,
    interval_seconds: f64,
) -> Result<(), String> {
    let trained = contract.interval_seconds * time_scale;
    let off = (interval_seconds - trained).abs();
    if off <= INTERVAL_TOLERANCE_RATIO * trained {
        return Ok(());
    }
    let scaled = match time_scale {
        1.0 => String::new(),
        scale => format!(
            " ({} s at time_scale {scale})",
            Short(contract.interval_seconds)
        ),
    };
    Err(format!(
        "the control interval is {} s, where the model was trained with {} s{scaled}",
        Short(interval_seconds),
        Short(trained),
    ))
}

/// Index of the highest value, of equal ones the first, as `argmax` does everywhere.
fn first_highest(values: &[f32]) -> Option<usize> {
    let highest = values.iter().copied().reduce(f32::max)?;
    values.iter().position(|value| *value == highest)
}

/// The values of the actions in their order; of many, those of the best.
fn told_values(actions: &ActionSpace, values: &[f64]) -> String {
    if values.is_empty() {
        return "changes nothing".to_owned();
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    let mut which = "values";
    if values.len() > TOLD_ACTIONS {
        order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
        order.truncate(TOLD_ACTIONS);
        which = "values most";
    }
    let told: Vec<String> = order
        .into_iter()
        .map(|index| format!("{} at {}", actions.label(index), Short(values[index])))
        .collect();
    format!("{which} {}", told.join(", "))
}

/// A number with as many digits as people read.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            size if size >= 100.0 => 0,
            size if size >= 1.0 => 2,
            _ => 3,
        };
        let text = format!("{:.digits$}", self.0);
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        f.write_str(if text == "-0" { "0" } else { text })
    }
}
