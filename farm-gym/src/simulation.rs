//! One simulated farm.

use farm_policy::reward::EpisodeEnd;
use farm_sim::environment::Environment;
use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::facts::info;
use crate::settings::Settings;

/// What `step` returns beside the information: observation, reward, terminated, truncated.
type Step<'py> = (Bound<'py, PyArray1<f32>>, f64, bool, bool);

/// One simulated farm, seen through a contract.
#[pyclass(module = "farm_gym._core")]
pub(crate) struct Simulation {
    environment: Environment,
}

#[pymethods]
impl Simulation {
    #[new]
    fn new(scenario: &str, contract: &str, reward: &str) -> PyResult<Self> {
        let settings = Settings::parse(scenario, contract, reward)?;
        let mut environment = environment(&settings)?;
        environment.episode_mut().keep_trace();
        Ok(Self { environment })
    }

    /// Begins the episode of `seed`, with the tasks of `stream_seed` if it is given.
    #[pyo3(signature = (seed, stream_seed=None))]
    fn reset<'py>(
        &mut self,
        py: Python<'py>,
        seed: u64,
        stream_seed: Option<u64>,
    ) -> Bound<'py, PyArray1<f32>> {
        match stream_seed {
            None => self.environment.reset(seed),
            Some(stream_seed) => {
                let workload = &self.environment.episode().scenario().workload;
                let stream = workload.stream(stream_seed);
                self.environment.replay(stream, seed);
            }
        }
        self.observation(py)
    }

    fn step<'py>(&mut self, py: Python<'py>, action: usize) -> PyResult<Step<'py>> {
        let actions = self.environment.actions().len();
        if action >= actions {
            return Err(PyValueError::new_err(format!(
                "action {action} is not one of 0 to {}",
                actions - 1
            )));
        }
        let step = self.environment.step(action);
        let (terminated, truncated) = ending(step.end);
        Ok((self.observation(py), step.reward, terminated, truncated))
    }

    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        info(py, &self.environment)
    }

    /// The steps so far, by column.
    fn trace<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let trace = self.environment.episode().trace();
        let columns = PyDict::new(py);
        let add = |name, column: Vec<f64>| columns.set_item(name, column.into_pyarray(py));
        add(
            "time_seconds",
            trace.iter().map(|point| point.time_seconds).collect(),
        )?;
        add(
            "parallelism",
            trace.iter().map(|point| point.parallelism.into()).collect(),
        )?;
        add(
            "backlog_tasks",
            trace
                .iter()
                .map(|point| point.backlog_tasks as f64)
                .collect(),
        )?;
        add(
            "arrival_rate_per_second",
            trace
                .iter()
                .map(|point| point.arrival_rate_per_second)
                .collect(),
        )?;
        add(
            "qos_ratio",
            trace
                .iter()
                .map(|point| point.qos_ratio.unwrap_or(f64::NAN))
                .collect(),
        )?;
        Ok(columns)
    }
}

impl Simulation {
    fn observation<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        let input = self.environment.input();
        let input: Vec<f32> = input.iter().map(|number| *number as f32).collect();
        input.into_pyarray(py)
    }
}

pub(crate) fn environment(settings: &Settings) -> PyResult<Environment> {
    let Settings {
        scenario,
        contract,
        reward,
    } = settings;
    Environment::new(scenario, contract, *reward, 0).map_err(PyValueError::new_err)
}

/// Gymnasium's two flags: a farm that collected everything is done, steps that ran out cut it off.
pub(crate) fn ending(end: Option<EpisodeEnd>) -> (bool, bool) {
    match end {
        None => (false, false),
        Some(EpisodeEnd::AllCollected) => (true, false),
        Some(EpisodeEnd::OutOfSteps { .. }) => (false, true),
    }
}
