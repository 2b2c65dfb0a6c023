//! A farm that runs: the same numbers and rewards from what its autoscaler tells.

use farm_policy::Observation;
use farm_policy::learned::{Contract, Eyes};
use farm_policy::reward::{self, Prices};
use farm_sim::environment::Reward;
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::facts::{dictionary, step_facts};
use crate::settings::{check, parse};

/// Sees and scores the observations of a live farm.
#[pyclass(module = "farm_gym._core")]
pub(crate) struct Live {
    contract: Contract,
    reward: Reward,
    eyes: Eyes,
    seen: Option<Observation>,
}

#[pymethods]
impl Live {
    #[new]
    #[pyo3(signature = (contract, reward, time_scale=1.0))]
    fn new(contract: &str, reward: &str, time_scale: f64) -> PyResult<Self> {
        let contract: Contract = parse("the contract", contract)?;
        check(&contract)?;
        Ok(Self {
            reward: parse("the reward", reward)?,
            eyes: Eyes::new(contract.features.clone(), time_scale),
            seen: None,
            contract,
        })
    }

    /// Forgets what was seen: a new episode begins.
    fn forget(&mut self) {
        self.eyes.forget();
        self.seen = None;
    }

    /// Looks at an observation, JSON; returns the policy's input and what the interval was worth.
    fn see<'py>(
        &mut self,
        py: Python<'py>,
        observation: &str,
    ) -> PyResult<(Bound<'py, PyArray1<f32>>, f64)> {
        let observation: Observation = parse("the observation", observation)?;
        let worth = worth(self.reward, self.seen.as_ref(), &observation);
        let mut input = Vec::with_capacity(self.contract.features.len());
        self.eyes.see(&observation, &mut input);
        self.seen = Some(observation);
        let input: Vec<f32> = input.iter().map(|number| *number as f32).collect();
        Ok((input.into_pyarray(py), worth))
    }

    /// The parallelism that an action asks for.
    fn order(&self, action: usize) -> PyResult<u32> {
        let Some(seen) = &self.seen else {
            return Err(PyValueError::new_err("nothing was seen yet: call reset()"));
        };
        let contract = &self.contract;
        let Some(chosen) = contract.actions.apply(action, seen.parallelism) else {
            let last = contract.actions.len() - 1;
            return Err(PyValueError::new_err(format!(
                "action {action} is not one of 0 to {last}"
            )));
        };
        let bounds = (contract.min_parallelism, contract.max_parallelism);
        Ok(chosen.parallelism.clamp(bounds.0, bounds.1))
    }

    /// What is told of the farm beside the input.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match &self.seen {
            None => Ok(PyDict::new(py)),
            // A live farm has no seed, which is the first of the facts.
            Some(seen) => dictionary(py, &step_facts(seen, 0)[1..]),
        }
    }
}

/// What the interval that `now` ended was worth.
fn worth(reward: Reward, before: Option<&Observation>, now: &Observation) -> f64 {
    match reward {
        Reward::Paper => reward::paper(now, None),
        Reward::QualityAndCost => reward::quality_and_cost(now, &Prices::default()),
        Reward::MissedTasks { price } => {
            let known = before.map_or(now.collected_tasks, |before| before.collected_tasks);
            let collected = now.collected_tasks.saturating_sub(known) as f64;
            let late_ratio = 1.0 - now.qos_ratio.unwrap_or(1.0);
            -f64::from(now.parallelism) - price * late_ratio * collected
        }
    }
}
