//! Policies, as the autoscaler runs them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use farm_policy::PolicySpec;
use farm_policy::learned::{ActionSpace, Artefact, BuiltInModels, Contract, Models, Sense};
use farm_sim::evaluation::{Contender, evaluate};
use farm_sim::scenario::Scenario;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::facts::{dictionary, outcome_facts};
use crate::settings::{parse, to_json};

/// What a model's file is called where it has no other name.
const GIVEN: &str = "the file";

/// A policy: a rule by its name, or a trained one from its file.
#[pyclass(module = "farm_gym._core", frozen)]
pub(crate) struct Policy {
    spec: PolicySpec,
    artefact: Option<Arc<Artefact>>,
}

/// One trained policy whose file is in memory already.
struct Given(Vec<u8>);

impl Models for Given {
    fn read(&self, _: &str) -> Result<Cow<'_, [u8]>, String> {
        Ok(Cow::Borrowed(&self.0))
    }
}

#[pymethods]
impl Policy {
    /// The policy of that name, with parameters as annotations have them.
    #[staticmethod]
    fn named(name: &str, mut parameters: BTreeMap<String, String>) -> PyResult<Self> {
        if let Ok(artefact) = BuiltInModels.load(name) {
            let policy = policy_of(&artefact);
            parameters.insert("model".to_owned(), name.to_owned());
            return build(policy, &parameters, &BuiltInModels, Some(artefact));
        }
        build(name, &parameters, &BuiltInModels, None)
    }

    /// The trained policy of a file.
    #[staticmethod]
    fn trained(file: Vec<u8>, mut parameters: BTreeMap<String, String>) -> PyResult<Self> {
        let models = Given(file);
        let artefact = models.load(GIVEN).map_err(PyValueError::new_err)?;
        parameters.insert("model".to_owned(), GIVEN.to_owned());
        build(policy_of(&artefact), &parameters, &models, Some(artefact))
    }

    /// Its name in annotations.
    #[getter]
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    /// What it was trained on, as JSON; `None` for a rule.
    #[getter]
    fn contract(&self) -> PyResult<Option<String>> {
        let contract = self.artefact.as_ref().map(|artefact| artefact.contract());
        contract.map(to_json).transpose()
    }

    /// The action it takes for an observation of its contract.
    fn action(&self, observation: PyReadonlyArray1<'_, f32>) -> PyResult<usize> {
        let Some(artefact) = &self.artefact else {
            let name = self.spec.name();
            return Err(PyValueError::new_err(format!(
                "{name} decides by more than an observation array: use farm_gym.evaluate"
            )));
        };
        let input: Vec<f64> = observation
            .as_array()
            .iter()
            .copied()
            .map(f64::from)
            .collect();
        let expected = artefact.contract().features.len();
        if input.len() != expected {
            return Err(PyValueError::new_err(format!(
                "{} numbers for {expected} features: make the environment with FarmEnv.of(policy)",
                input.len()
            )));
        }
        choose(artefact, &input).map_err(PyValueError::new_err)
    }

    /// What the episodes of the seeds from `first` to before `end` come to.
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        scenario: &str,
        first: u64,
        end: u64,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let scenario: Scenario = parse("the scenario", scenario)?;
        let contenders = [Contender::new(self.spec.name(), self.spec.clone())];
        let evaluated = py.detach(|| {
            let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            evaluate(&scenario, &contenders, first..end, threads, &|| {})
        });
        let evaluated = evaluated.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let outcomes = evaluated.iter().flat_map(|result| &result.outcomes);
        outcomes
            .map(|outcome| dictionary(py, &outcome_facts(outcome)))
            .collect()
    }
}

fn build(
    name: &str,
    parameters: &BTreeMap<String, String>,
    models: &dyn Models,
    artefact: Option<Arc<Artefact>>,
) -> PyResult<Policy> {
    let spec = PolicySpec::parse_with(name, parameters, models).map_err(|wrong| {
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        PyValueError::new_err(wrong.join("; "))
    })?;
    Ok(Policy { spec, artefact })
}

fn policy_of(artefact: &Artefact) -> &'static str {
    match artefact {
        Artefact::Table(_) => "sarsa",
        Artefact::Network(_) => "onnx",
    }
}

/// The action of the highest value; among equal ones as the autoscaler chooses.
fn choose(artefact: &Artefact, input: &[f64]) -> Result<usize, String> {
    match artefact {
        Artefact::Table(table) => {
            let state = table.nearest(table.state(input));
            let action = state.and_then(|state| table.best(state));
            action.map_or_else(|| staying(artefact.contract(), input), Ok)
        }
        Artefact::Network(network) => {
            let values = network.decide(input).map_err(|error| error.to_string())?;
            let best = values.iter().enumerate().rev();
            let best = best.max_by(|(_, a), (_, b)| a.total_cmp(b));
            best.map(|(action, _)| action)
                .ok_or_else(|| "the network gives no values".to_owned())
        }
    }
}

/// The action that changes nothing, for a state of which nothing was learned.
fn staying(contract: &Contract, input: &[f64]) -> Result<usize, String> {
    let workers = contract.features.iter().zip(input);
    let mut workers = workers.filter(|(feature, _)| feature.sense == Sense::Workers);
    let present = workers.next().map(|(_, number)| *number as u32);
    let action = match &contract.actions {
        ActionSpace::Steps(steps) => steps.iter().position(|step| *step == 0),
        ActionSpace::Levels(levels) => levels.iter().position(|level| Some(*level) == present),
    };
    action.ok_or_else(|| "nothing was learned of this state, and no action stays".to_owned())
}
