//! Scenarios, contracts and rewards: JSON in Python, types in Rust.

use farm_policy::learned::{ActionSpace, Actions, Contract, Feature, Sense};
use farm_policy::{PAPER_HIGH, PAPER_LOW};
use farm_sim::environment::Reward;
use farm_sim::scenario::{SCENARIO_NAMES, Scenario};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::de::DeserializeOwned;

/// The environment that JSON describes.
pub(crate) struct Settings {
    pub scenario: Scenario,
    pub contract: Contract,
    pub reward: Reward,
}

impl Settings {
    pub fn parse(scenario: &str, contract: &str, reward: &str) -> PyResult<Self> {
        let settings = Self {
            scenario: parse("the scenario", scenario)?,
            contract: parse("the contract", contract)?,
            reward: parse("the reward", reward)?,
        };
        settings.scenario.check().map_err(|cause| {
            let name = &settings.scenario.name;
            PyValueError::new_err(format!(
                "the scenario {name:?} cannot be simulated: {cause}"
            ))
        })?;
        check(&settings.contract)?;
        Ok(settings)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, json: &str) -> PyResult<T> {
    serde_json::from_str(json)
        .map_err(|error| PyValueError::new_err(format!("{what} cannot be read: {error}")))
}

pub(crate) fn check(contract: &Contract) -> PyResult<()> {
    contract.check().map_err(|wrong| {
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        PyValueError::new_err(wrong.join("; "))
    })
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The named scenario as JSON.
#[pyfunction]
pub(crate) fn scenario(name: &str) -> PyResult<String> {
    match Scenario::named(name) {
        Some(scenario) => to_json(&scenario),
        None => Err(PyValueError::new_err(format!(
            "{name:?} is no scenario; known are: {}. Give a path with a / or .json for a file",
            SCENARIO_NAMES.join(", ")
        ))),
    }
}

/// Names of the scenarios.
#[pyfunction]
pub(crate) fn scenario_names() -> [&'static str; SCENARIO_NAMES.len()] {
    SCENARIO_NAMES
}

/// Names of the paper's nine numbers, in its order.
#[pyfunction]
pub(crate) fn sense_names() -> Vec<String> {
    Sense::PAPER.iter().map(ToString::to_string).collect()
}

/// What a policy sees and may do, as JSON: `features` is a JSON list of names, which get their usual
/// bounds, or of whole features; without it the paper's nine numbers within its own bounds.
/// `actions` are `"step"` or `"free"`.
#[pyfunction]
#[pyo3(signature = (actions, features, interval_seconds, min_parallelism, max_parallelism))]
pub(crate) fn contract(
    actions: &str,
    features: Option<&str>,
    interval_seconds: f64,
    min_parallelism: u32,
    max_parallelism: u32,
) -> PyResult<String> {
    let actions: Actions = named("actions", actions)?;
    let features = match features {
        None => paper_features(max_parallelism),
        Some(features) => {
            let shown: Vec<serde_json::Value> = parse("the observation", features)?;
            let shown = shown
                .into_iter()
                .map(|value| feature(value, max_parallelism));
            shown.collect::<PyResult<_>>()?
        }
    };
    let contract = Contract {
        features,
        interval_seconds,
        min_parallelism,
        max_parallelism,
        ..Contract::paper(ActionSpace::named(
            actions,
            min_parallelism,
            max_parallelism,
        ))
    };
    check(&contract)?;
    to_json(&contract)
}

fn feature(value: serde_json::Value, max_parallelism: u32) -> PyResult<Feature> {
    let explain = |error| PyValueError::new_err(format!("observation: {error}"));
    if !value.is_string() {
        return serde_json::from_value(value).map_err(explain);
    }
    let sense: Sense = serde_json::from_value(value).map_err(explain)?;
    let (low, high) = sense.usual_bounds(max_parallelism);
    Ok(Feature { sense, low, high })
}

/// The paper's bounds, wider only if the farm may have more than its 32 workers.
fn paper_features(max_parallelism: u32) -> Vec<Feature> {
    let bounds = PAPER_LOW.into_iter().zip(PAPER_HIGH);
    Sense::PAPER
        .into_iter()
        .zip(bounds)
        .map(|(sense, (low, high))| match sense {
            Sense::Workers => Feature {
                sense,
                low,
                high: high.max(f64::from(max_parallelism)),
            },
            _ => Feature { sense, low, high },
        })
        .collect()
}

pub(crate) fn named<T: DeserializeOwned>(option: &str, name: &str) -> PyResult<T> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|error| PyValueError::new_err(format!("{option}: {error}")))
}
