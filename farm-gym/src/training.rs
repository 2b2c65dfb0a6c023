//! Training in Rust, told of and stopped from Python.

use std::ops::ControlFlow;

use farm_policy::learned::{Actions, Contract};
use farm_sim::environment::Reward;
use farm_sim::scenario::Scenario;
use farm_train::course::{Course, CurvePoint};
use farm_train::dqn::{self, DqnSettings};
use farm_train::sarsa::{self, SarsaSettings};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::settings::{named, parse, to_json};

/// The artefact's file, the score and the learning curve: the latter two as JSON.
type Trained = (Vec<u8>, String, String);

/// Trains a policy with `"sarsa"` or `"dqn"`. What is `None` is as the trainer would have it;
/// `settings` is JSON that replaces some of the trainer's own; `progress` is called with each point
/// of the learning curve, and what it raises ends the training.
#[pyfunction]
#[pyo3(signature = (algorithm, scenario, actions, contract, reward, settings, seed, command, progress))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn train(
    py: Python<'_>,
    algorithm: &str,
    scenario: &str,
    actions: &str,
    contract: Option<&str>,
    reward: Option<&str>,
    settings: &str,
    seed: u64,
    command: &str,
    progress: Py<PyAny>,
) -> PyResult<Trained> {
    let scenario: Scenario = parse("the scenario", scenario)?;
    let actions: Actions = named("actions", actions)?;
    let mut course = match algorithm {
        "sarsa" => sarsa::course(scenario, actions),
        "dqn" => dqn::course(scenario, actions),
        other => {
            let cause = format!("algorithm {other:?}: use sarsa or dqn");
            return Err(PyValueError::new_err(cause));
        }
    };
    if let Some(contract) = contract {
        course.contract = parse::<Contract>("the contract", contract)?;
    }
    if let Some(reward) = reward {
        course.reward = parse::<Reward>("the reward", reward)?;
    }
    course.contract.training.command = command.to_owned();
    let mut raised = None;
    let mut watch = |point: &CurvePoint| match tell(&progress, point) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            raised = Some(error);
            ControlFlow::Break(())
        }
    };
    let trained = match algorithm {
        "sarsa" => {
            let settings = settled(settings)?;
            py.detach(|| train_sarsa(&course, &settings, seed, &mut watch))
        }
        _ => {
            let settings = settled(settings)?;
            py.detach(|| train_dqn(&course, &settings, seed, &mut watch))
        }
    };
    match raised {
        Some(error) => Err(error),
        None => trained,
    }
}

fn train_sarsa(
    course: &Course,
    settings: &SarsaSettings,
    seed: u64,
    watch: &mut dyn FnMut(&CurvePoint) -> ControlFlow<()>,
) -> PyResult<Trained> {
    let trained = sarsa::train(course, settings, seed, watch)
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let (score, curve) = (to_json(&trained.score)?, to_json(&trained.curve)?);
    Ok((trained.table.to_json().into_bytes(), score, curve))
}

fn train_dqn(
    course: &Course,
    settings: &DqnSettings,
    seed: u64,
    watch: &mut dyn FnMut(&CurvePoint) -> ControlFlow<()>,
) -> PyResult<Trained> {
    let trained = dqn::train(course, settings, seed, watch)
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let (score, curve) = (to_json(&trained.score)?, to_json(&trained.curve)?);
    Ok((trained.onnx, score, curve))
}

fn tell(progress: &Py<PyAny>, point: &CurvePoint) -> PyResult<()> {
    let point = to_json(point)?;
    Python::attach(|py| {
        py.check_signals()?;
        progress.call1(py, (point,)).map(drop)
    })
}

/// The trainer's own settings, with those of `json` in their place.
fn settled<T: Default + Serialize + DeserializeOwned>(json: &str) -> PyResult<T> {
    let explain = |error: serde_json::Error| {
        PyValueError::new_err(format!("the settings cannot be read: {error}"))
    };
    let mut settings = serde_json::to_value(T::default()).map_err(explain)?;
    let given: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(json).map_err(explain)?;
    for (name, value) in given {
        let Some(place) = settings.get_mut(&name) else {
            let cause = format!("{name:?} is no setting of the trainer");
            return Err(PyValueError::new_err(cause));
        };
        *place = value;
    }
    serde_json::from_value(settings).map_err(explain)
}
