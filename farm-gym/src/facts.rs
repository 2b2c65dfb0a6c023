//! What is told of an episode beside the observation: Gymnasium's `info`.

use farm_policy::Observation;
use farm_sim::environment::Environment;
use farm_sim::episode::Outcome;
use numpy::IntoPyArray;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A number with its Python type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// Named numbers; those that are not known are absent.
pub(crate) type Facts<const N: usize> = [(&'static str, Option<Number>); N];

/// What is told after every step.
pub(crate) fn step_facts(observation: &Observation, seed: u64) -> Facts<8> {
    let some = |number: Number| Some(number);
    [
        ("seed", some(seed.into())),
        ("time_seconds", some(observation.time_seconds.into())),
        ("parallelism", some(observation.parallelism.into())),
        (
            "available_parallelism",
            some(observation.available_parallelism.into()),
        ),
        ("backlog_tasks", some(observation.backlog_tasks.into())),
        ("in_flight_tasks", some(observation.in_flight_tasks.into())),
        (
            "arrival_rate_per_second",
            some(observation.arrival_rate_per_second.into()),
        ),
        ("qos_ratio", observation.qos_ratio.map(Number::from)),
    ]
}

/// What an episode came to.
pub(crate) fn outcome_facts(outcome: &Outcome) -> Facts<11> {
    let some = |number: Number| Some(number);
    [
        ("submitted", some(outcome.submitted.into())),
        ("collected", some(outcome.collected.into())),
        ("met", some(outcome.met.into())),
        ("unfinished", some(outcome.unfinished.into())),
        ("steps", some(outcome.steps.into())),
        ("scaling_actions", some(outcome.scaling_actions.into())),
        ("parallelism_mean", some(outcome.parallelism_mean.into())),
        ("parallelism_max", some(outcome.parallelism_max.into())),
        ("worker_seconds", some(outcome.worker_seconds.into())),
        ("seconds", some(outcome.seconds.into())),
        ("qos_ratio", some(outcome.qos_ratio().into())),
    ]
}

/// The facts as a dictionary.
pub(crate) fn dictionary<'py>(
    py: Python<'py>,
    facts: &[(&'static str, Option<Number>)],
) -> PyResult<Bound<'py, PyDict>> {
    let dictionary = PyDict::new(py);
    for (name, number) in facts {
        match number {
            Some(Number::Int(number)) => dictionary.set_item(name, number)?,
            Some(Number::Float(number)) => dictionary.set_item(name, number)?,
            None => {}
        }
    }
    Ok(dictionary)
}

/// The `info` of one environment.
pub(crate) fn info<'py>(
    py: Python<'py>,
    environment: &Environment,
) -> PyResult<Bound<'py, PyDict>> {
    let episode = environment.episode();
    let info = dictionary(py, &step_facts(episode.observation(), episode.seed()))?;
    if episode.end().is_some() {
        let outcome = outcome_facts(&environment.outcome());
        info.set_item("outcome", dictionary(py, &outcome)?)?;
    }
    Ok(info)
}

/// The facts of many environments, as Gymnasium's vector environments tell them: an array for each
/// name, and under `_name` which environments have it.
#[derive(Debug)]
pub(crate) struct Columns {
    count: usize,
    columns: Vec<(&'static str, Column, Vec<bool>)>,
}

#[derive(Debug)]
enum Column {
    Int(Vec<i64>),
    Float(Vec<f64>),
}

impl Columns {
    pub fn new(count: usize) -> Self {
        Self {
            count,
            columns: Vec::new(),
        }
    }

    /// Notes the facts of environment `index`.
    pub fn put(&mut self, index: usize, facts: &[(&'static str, Option<Number>)]) {
        for (name, number) in facts {
            let Some(number) = number else { continue };
            let place = (self.columns.iter()).position(|(known, _, _)| known == name);
            let place = place.unwrap_or_else(|| {
                let column = match number {
                    Number::Int(_) => Column::Int(vec![0; self.count]),
                    Number::Float(_) => Column::Float(vec![0.0; self.count]),
                };
                self.columns.push((name, column, vec![false; self.count]));
                self.columns.len() - 1
            });
            let (_, column, present) = &mut self.columns[place];
            present[index] = true;
            match (column, number) {
                (Column::Int(column), Number::Int(number)) => column[index] = *number,
                (Column::Float(column), Number::Float(number)) => column[index] = *number,
                // A name has one type.
                _ => present[index] = false,
            }
        }
    }

    pub fn into_dictionary(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let dictionary = PyDict::new(py);
        for (name, column, present) in self.columns {
            match column {
                Column::Int(column) => dictionary.set_item(name, column.into_pyarray(py))?,
                Column::Float(column) => dictionary.set_item(name, column.into_pyarray(py))?,
            }
            dictionary.set_item(format!("_{name}"), present.into_pyarray(py))?;
        }
        Ok(dictionary)
    }
}
