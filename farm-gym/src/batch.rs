//! Many simulated farms, stepped in one call.

use farm_sim::environment::Environment;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::facts::{Columns, outcome_facts, step_facts};
use crate::settings::Settings;
use crate::simulation::{ending, environment};

/// Observations, rewards, terminated, truncated, infos, and which environments began anew.
type Steps<'py> = (
    Bound<'py, PyArray2<f32>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyDict>,
    Vec<usize>,
);

/// Many simulated farms, each with an episode of its own.
#[pyclass(module = "farm_gym._core")]
pub(crate) struct Batch {
    environments: Vec<Environment>,
    features: usize,
    /// Whether an environment that ended begins anew within the step, or with the next one.
    same_step: bool,
    /// Steps after which an episode is cut off from outside, as Gymnasium's `TimeLimit` does.
    time_limit: Option<u32>,
    elapsed: Vec<u32>,
    ended: Vec<bool>,
}

#[pymethods]
impl Batch {
    #[new]
    #[pyo3(signature = (scenario, contract, reward, count, same_step, time_limit=None))]
    fn new(
        scenario: &str,
        contract: &str,
        reward: &str,
        count: usize,
        same_step: bool,
        time_limit: Option<u32>,
    ) -> PyResult<Self> {
        let settings = Settings::parse(scenario, contract, reward)?;
        let first = environment(&settings)?;
        Ok(Self {
            environments: vec![first; count],
            features: settings.contract.features.len(),
            same_step,
            time_limit,
            elapsed: vec![0; count],
            ended: vec![false; count],
        })
    }

    /// Begins the episodes of these seeds.
    fn reset<'py>(
        &mut self,
        py: Python<'py>,
        seeds: Vec<u64>,
    ) -> PyResult<(Bound<'py, PyArray2<f32>>, Bound<'py, PyDict>)> {
        self.check("seeds", seeds.len())?;
        let mut sheet = Sheet::new(self.environments.len(), self.features);
        py.detach(|| {
            for (index, seed) in seeds.into_iter().enumerate() {
                self.begin(index, seed);
                sheet.show(index, &self.environments[index]);
            }
        });
        let observations = sheet.observations(py)?;
        Ok((observations, sheet.infos.into_dictionary(py)?))
    }

    /// Steps every environment; one that begins anew takes the seed that is ready for it.
    fn step<'py>(
        &mut self,
        py: Python<'py>,
        actions: PyReadonlyArray1<'py, i64>,
        seeds: PyReadonlyArray1<'py, u64>,
    ) -> PyResult<Steps<'py>> {
        let (actions, seeds) = (actions.as_array().to_vec(), seeds.as_array().to_vec());
        self.check("actions", actions.len())?;
        self.check("seeds", seeds.len())?;
        self.check_actions(&actions)?;
        let sheet = py.detach(|| self.advance(&actions, &seeds));
        sheet.into_python(py)
    }
}

impl Batch {
    fn check(&self, what: &str, given: usize) -> PyResult<()> {
        let expected = self.environments.len();
        match given == expected {
            true => Ok(()),
            false => Err(PyValueError::new_err(format!(
                "{given} {what} for {expected} environments"
            ))),
        }
    }

    fn check_actions(&self, actions: &[i64]) -> PyResult<()> {
        let Some(first) = self.environments.first() else {
            return Ok(());
        };
        let known = first.actions().len();
        let is_known = |action: &i64| usize::try_from(*action).is_ok_and(|action| action < known);
        match actions.iter().find(|action| !is_known(action)) {
            None => Ok(()),
            Some(action) => Err(PyValueError::new_err(format!(
                "action {action} is not one of 0 to {}",
                known - 1
            ))),
        }
    }

    fn begin(&mut self, index: usize, seed: u64) {
        self.environments[index].reset(seed);
        self.elapsed[index] = 0;
        self.ended[index] = false;
    }

    fn advance(&mut self, actions: &[i64], seeds: &[u64]) -> Sheet {
        let mut sheet = Sheet::new(self.environments.len(), self.features);
        for (index, (action, seed)) in actions.iter().zip(seeds).enumerate() {
            if self.ended[index] {
                self.begin(index, *seed);
                sheet.begun.push(index);
                sheet.show(index, &self.environments[index]);
                continue;
            }
            let environment = &mut self.environments[index];
            let step = environment.step(*action as usize);
            self.elapsed[index] += 1;
            let (terminated, truncated) = ending(step.end);
            let late = self
                .time_limit
                .is_some_and(|limit| self.elapsed[index] >= limit);
            sheet.rewards[index] = step.reward;
            sheet.terminated[index] = terminated;
            sheet.truncated[index] = truncated || late;
            self.ended[index] = terminated || truncated || late;
            if self.ended[index] && self.same_step {
                sheet.end(index, &self.environments[index]);
                self.begin(index, *seed);
                sheet.begun.push(index);
            }
            sheet.show(index, &self.environments[index]);
        }
        sheet
    }
}

/// What one step of all environments brought.
struct Sheet {
    count: usize,
    inputs: Vec<f32>,
    features: usize,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    infos: Columns,
    outcomes: Outcomes,
    finals: Vec<Final>,
    final_infos: Columns,
    final_outcomes: Outcomes,
    begun: Vec<usize>,
}

/// The last observation of an episode after which another began at once.
struct Final {
    index: usize,
    input: Vec<f32>,
}

/// Outcomes of the environments that ended.
struct Outcomes {
    columns: Columns,
    present: Vec<bool>,
}

impl Outcomes {
    fn new(count: usize) -> Self {
        Self {
            columns: Columns::new(count),
            present: vec![false; count],
        }
    }

    fn put(&mut self, index: usize, environment: &Environment) {
        if environment.episode().end().is_some() {
            self.columns
                .put(index, &outcome_facts(&environment.outcome()));
            self.present[index] = true;
        }
    }

    fn add_to(self, infos: &Bound<'_, PyDict>) -> PyResult<()> {
        if !self.present.contains(&true) {
            return Ok(());
        }
        let py = infos.py();
        infos.set_item("outcome", self.columns.into_dictionary(py)?)?;
        infos.set_item("_outcome", self.present.into_pyarray(py))
    }
}

impl Sheet {
    fn new(count: usize, features: usize) -> Self {
        Self {
            count,
            inputs: vec![0.0; count * features],
            features,
            rewards: vec![0.0; count],
            terminated: vec![false; count],
            truncated: vec![false; count],
            infos: Columns::new(count),
            outcomes: Outcomes::new(count),
            finals: Vec::new(),
            final_infos: Columns::new(count),
            final_outcomes: Outcomes::new(count),
            begun: Vec::new(),
        }
    }

    fn show(&mut self, index: usize, environment: &Environment) {
        let row = &mut self.inputs[index * self.features..][..self.features];
        for (place, number) in row.iter_mut().zip(environment.input()) {
            *place = *number as f32;
        }
        let episode = environment.episode();
        let facts = step_facts(episode.observation(), episode.seed());
        self.infos.put(index, &facts);
        self.outcomes.put(index, environment);
    }

    fn end(&mut self, index: usize, environment: &Environment) {
        let input = environment.input().iter().map(|number| *number as f32);
        self.finals.push(Final {
            index,
            input: input.collect(),
        });
        let episode = environment.episode();
        let facts = step_facts(episode.observation(), episode.seed());
        self.final_infos.put(index, &facts);
        self.final_outcomes.put(index, environment);
    }

    fn observations<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let shape = (self.count, self.features);
        let inputs = std::mem::take(&mut self.inputs);
        let inputs = Array2::from_shape_vec(shape, inputs);
        inputs
            .map(|inputs| inputs.into_pyarray(py))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn into_python(mut self, py: Python<'_>) -> PyResult<Steps<'_>> {
        let observations = self.observations(py)?;
        let infos = self.infos.into_dictionary(py)?;
        self.outcomes.add_to(&infos)?;
        if !self.finals.is_empty() {
            let observations = PyList::new(py, (0..self.count).map(|_| py.None()))?;
            let mut present = vec![false; self.count];
            for last in self.finals {
                present[last.index] = true;
                observations.set_item(last.index, last.input.into_pyarray(py))?;
            }
            let final_infos = self.final_infos.into_dictionary(py)?;
            self.final_outcomes.add_to(&final_infos)?;
            infos.set_item("final_obs", observations)?;
            infos.set_item("_final_obs", present.clone().into_pyarray(py))?;
            infos.set_item("final_info", final_infos)?;
            infos.set_item("_final_info", present.into_pyarray(py))?;
        }
        Ok((
            observations,
            self.rewards.into_pyarray(py),
            self.terminated.into_pyarray(py),
            self.truncated.into_pyarray(py),
            infos,
            self.begun,
        ))
    }
}
