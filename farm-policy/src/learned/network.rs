//! Networks in ONNX files: what DQN learns, and what any framework exports.

use std::sync::Arc;

use prost::Message;
use rten::{
    DataType, Dimension, Model, ModelOptions, NodeId, OpRegistry, RunOptions, ThreadPool, Value,
    ValueType, op_registry,
};
use serde::Deserialize;

use super::artefact::check_size;
use super::contract::Versioned;
use super::onnx::{self, StringStringEntry};
use super::{ArtefactError, Contract};

const INPUT: &str = "observation";
const OUTPUT: &str = "values";
const CONTRACT: &str = "farm_contract";
const GOLDEN: &str = "farm_golden";
/// How far a value may be from the recorded one, as a share of its row's largest: other machines
/// add in another order.
const TOLERANCE_RATIO: f32 = 1e-3;

thread_local! {
    /// One thread computes for each that asks: a network this small gains nothing from more, and
    /// threads that evaluate policies side by side do not wait for each other.
    static THREADS: Arc<ThreadPool> = Arc::new(ThreadPool::with_num_threads(1));
}

/// A network that gives every action a value; the highest one is chosen, of equal ones the first.
///
/// # File
///
/// An ONNX model with one input `observation`, f32 `[batch, features]`, and an output `values`, f32
/// `[batch, actions]`. The input is the features' plain numbers, clipped to their bounds:
/// normalisation is part of the graph. Its `metadata_props` carry
///
/// | key | JSON |
/// |---|---|
/// | `farm_contract` | the [`Contract`] |
/// | `farm_golden` | `{"observation": [[..], ..], "values": [[..], ..]}`: inputs, and what the network computed where it was made |
///
/// The golden pair is computed again when the file is read.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    model: Box<Model>,
    input: NodeId,
    output: NodeId,
}

impl Network {
    /// Reads an ONNX file.
    ///
    /// # Errors
    /// [`ArtefactError`] if it is too large, no ONNX, without contract or golden pair, if its input
    /// or output does not fit the contract, or if it does not compute what was recorded.
    pub fn from_onnx(bytes: &[u8]) -> Result<Self, ArtefactError> {
        check_size(bytes)?;
        let mut file = onnx::Model::decode(bytes).map_err(unreadable)?;
        let metadata = std::mem::take(&mut file.metadata_props);
        let contract = contract(&metadata)?;
        let golden: Golden = read(&metadata, GOLDEN)?;
        let model = load(&file)?;
        let network = Self {
            input: input(&model, &contract)?,
            output: output(&model, &contract)?,
            contract,
            model: Box::new(model),
        };
        network.check(&golden)?;
        Ok(network)
    }

    /// What it was trained on.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The value of every action, for one input of as many numbers as there are features.
    ///
    /// # Errors
    /// [`ArtefactError`] if it cannot compute, or computes something that is not a number.
    pub fn decide(&self, input: &[f64]) -> Result<Vec<f32>, ArtefactError> {
        let input: Vec<f32> = input.iter().map(|number| *number as f32).collect();
        let values = self.compute(input)?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(index) => {
                let value = values[index];
                let cause = format!("the value of action {index} is {value}");
                Err(ArtefactError::Compute(cause))
            }
        }
    }

    fn compute(&self, input: Vec<f32>) -> Result<Vec<f32>, ArtefactError> {
        let explain = |error: &dyn std::error::Error| ArtefactError::Compute(error.to_string());
        let input = Value::from_shape([1, input.len()], input).map_err(|error| explain(&error))?;
        let options = RunOptions::default().with_thread_pool(Some(THREADS.with(Arc::clone)));
        let inputs = vec![(self.input, input.into())];
        let [output] = self
            .model
            .run_n(inputs, [self.output], Some(options))
            .map_err(|error| explain(&error))?;
        let (shape, values) = output
            .into_shape_vec::<f32, 2>()
            .map_err(|error| explain(&error))?;
        let actions = self.contract.actions.len();
        if shape == [1, actions] {
            return Ok(values);
        }
        Err(ArtefactError::Shape {
            what: "the output values",
            found: format!("{shape:?} for one observation"),
            expected: format!("[1, {actions}]"),
        })
    }

    fn check(&self, golden: &Golden) -> Result<(), ArtefactError> {
        golden.check(&self.contract)?;
        for (row, (input, recorded)) in golden.observation.iter().zip(&golden.values).enumerate() {
            let computed = self.compute(input.clone())?;
            let largest = recorded
                .iter()
                .fold(0.0_f32, |most, value| most.max(value.abs()));
            let differs = computed.iter().zip(recorded).position(|(found, expected)| {
                let gap = (found - expected).abs();
                gap.is_nan() || gap > TOLERANCE_RATIO * largest
            });
            if let Some(action) = differs {
                return Err(ArtefactError::Golden {
                    row,
                    action,
                    found: computed[action],
                    expected: recorded[action],
                });
            }
        }
        Ok(())
    }
}

/// More golden rows prove no more, and each is computed when the file is loaded.
const MOST_GOLDEN_ROWS: usize = 1024;

/// Inputs and what the network made of them where it was trained.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    observation: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Golden {
    fn check(&self, contract: &Contract) -> Result<(), ArtefactError> {
        let (features, actions) = (contract.features.len(), contract.actions.len());
        let rows = self.observation.len();
        let fits = (1..=MOST_GOLDEN_ROWS).contains(&rows)
            && self.values.len() == rows
            && self.observation.iter().all(|row| row.len() == features)
            && self.values.iter().all(|row| row.len() == actions);
        if fits {
            return Ok(());
        }
        let lengths = |rows: &[Vec<f32>]| {
            let width = rows.first().map_or(0, Vec::len);
            format!("{} rows of {width}", rows.len())
        };
        let (observation, values) = (lengths(&self.observation), lengths(&self.values));
        Err(ArtefactError::Shape {
            what: "the golden pair",
            found: format!("{observation} and {values}"),
            expected: format!(
                "1 to {MOST_GOLDEN_ROWS} rows of {features} and as many of {actions}"
            ),
        })
    }
}

/// What networks of policies are made of. Operators that repeat, allocate by a number in the file,
/// or work on images, audio and text stay out.
#[rustfmt::skip]
fn operators() -> OpRegistry {
    op_registry!(
        Abs, Add, BatchNormalization, Cast, Clip, Concat, Cos, Div, Elu, Equal, Erf, Exp, Flatten,
        Gather, Gelu, Gemm, Greater, GreaterOrEqual, HardSigmoid, HardSwish, Identity,
        LayerNormalization, LeakyRelu, Less, LessOrEqual, Log, LogSoftmax, MatMul, Max, Mean, Min,
        Mul, Neg, Pow, PRelu, Reciprocal, ReduceMax, ReduceMean, ReduceMin, ReduceSum, Relu,
        Reshape, Shape, Sigmoid, Sin, Slice, Softmax, Softplus, Softsign, Split, Sqrt, Squeeze, Sub,
        Sum, Tanh, Transpose, Unsqueeze, Where
    )
}

/// Loads what was decoded and is written anew: the parser of the runtime does not end on every
/// damaged file.
fn load(file: &onnx::Model) -> Result<Model, ArtefactError> {
    let constants = file.graph.iter().flat_map(|graph| &graph.initializer);
    if constants
        .into_iter()
        .any(|tensor| tensor.data_location == Some(1))
    {
        let cause = "its weights are in another file: export it as one";
        return Err(ArtefactError::Network(cause.to_owned()));
    }
    ModelOptions::with_ops(operators())
        .load(file.encode_to_vec())
        .map_err(unreadable)
}

fn unreadable(error: impl std::error::Error) -> ArtefactError {
    ArtefactError::Network(error.to_string())
}

fn contract(metadata: &[StringStringEntry]) -> Result<Contract, ArtefactError> {
    read::<Versioned>(metadata, CONTRACT)?.check()?;
    let contract: Contract = read(metadata, CONTRACT)?;
    contract.check().map_err(ArtefactError::Contract)?;
    Ok(contract)
}

fn read<'a, T: Deserialize<'a>>(
    metadata: &'a [StringStringEntry],
    key: &'static str,
) -> Result<T, ArtefactError> {
    let entry = metadata.iter().find(|entry| entry.key == key);
    let entry = entry.ok_or(ArtefactError::MissingMetadata(key))?;
    serde_json::from_str(&entry.value).map_err(|error| ArtefactError::Malformed {
        what: key,
        cause: error.to_string(),
    })
}

fn input(model: &Model, contract: &Contract) -> Result<NodeId, ArtefactError> {
    let refuse = |found: String| ArtefactError::Shape {
        what: "the network's input",
        found,
        expected: format!("{INPUT} alone, f32 [batch, {}]", contract.features.len()),
    };
    let [input] = model.input_ids() else {
        return Err(refuse(names(model, model.input_ids())));
    };
    fits(model, *input, INPUT, contract.features.len()).map_err(refuse)?;
    Ok(*input)
}

fn output(model: &Model, contract: &Contract) -> Result<NodeId, ArtefactError> {
    let actions = contract.actions.len();
    let refuse = |found: String| ArtefactError::Shape {
        what: "the network's output",
        found,
        expected: format!("{OUTPUT}, f32 [batch, {actions}]"),
    };
    let outputs = model.output_ids();
    let named = outputs.iter().find(|id| name(model, **id) == OUTPUT);
    let output = named.ok_or_else(|| refuse(names(model, outputs)))?;
    fits(model, *output, OUTPUT, actions).map_err(refuse)?;
    Ok(*output)
}

/// Whether a value is declared as f32 `[batch, width]` of that name, or else as what. What is not
/// declared shows when the golden pair is computed.
fn fits(model: &Model, id: NodeId, expected: &str, width: usize) -> Result<(), String> {
    let info = model.node_info(id);
    let found = info.as_ref().and_then(|info| info.dtype());
    let is_f32 = found.is_none_or(|dtype| dtype == ValueType::Tensor(DataType::Float));
    let shape = info.and_then(|info| info.shape());
    let fits = match shape.as_deref() {
        None => true,
        Some([_, Dimension::Fixed(found)]) => *found == width,
        Some([_, Dimension::Symbolic(_)]) => true,
        Some(_) => false,
    };
    let name = name(model, id);
    if name == expected && is_f32 && fits {
        return Ok(());
    }
    let dtype = found.map_or("of no type".to_owned(), |dtype| match dtype {
        ValueType::Tensor(DataType::Float) => "f32".to_owned(),
        other => other.to_string(),
    });
    Err(format!("{name}, {dtype} {}", written(shape.as_deref())))
}

fn written(shape: Option<&[Dimension]>) -> String {
    let dimensions = shape.unwrap_or_default().iter();
    let sizes: Vec<String> = dimensions
        .map(|dimension| match dimension {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Symbolic(name) => name.clone(),
        })
        .collect();
    format!("[{}]", sizes.join(", "))
}

fn name(model: &Model, id: NodeId) -> &str {
    let info = model.node_info(id);
    info.and_then(|info| info.name()).unwrap_or_default()
}

fn names(model: &Model, ids: &[NodeId]) -> String {
    let names: Vec<&str> = ids.iter().map(|id| name(model, *id)).collect();
    match names.is_empty() {
        true => "missing".to_owned(),
        false => names.join(", "),
    }
}
