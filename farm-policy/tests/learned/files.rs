//! Small trained policies to test with.

use std::borrow::Cow;
use std::collections::BTreeMap;

use farm_policy::PolicySpec;
use farm_policy::learned::onnx::{
    DataType, Graph, Model, Node, OperatorSet, StringStringEntry, Tensor, ValueInfo,
};
use farm_policy::learned::{ActionSpace, Contract, Models, Sense, Table, Training};
use prost::Message;

/// Two features, three steps, every 8 s, 1 to 32 workers.
pub fn contract() -> Contract {
    Contract {
        features: Contract::features(&[Sense::TaskQueue, Sense::Workers], 32),
        training: Training {
            algorithm: "by hand".to_owned(),
            ..Training::default()
        },
        ..Contract::paper(ActionSpace::unit_steps())
    }
}

/// A worker more from ten waiting tasks on, one less if none waits for more than eight workers.
pub fn table() -> Table {
    let mut table = Table::new(contract(), vec![vec![1.0, 10.0], vec![9.0]]);
    for (input, values) in [
        ([0.0, 4.0], [0.0, 0.5, 0.0]),
        ([0.0, 9.0], [0.75, 0.5, 0.0]),
        ([10.0, 9.0], [-1.0, 0.1, 0.3]),
    ] {
        let state = table.state(&input);
        table.values_mut(state).copy_from_slice(&values);
    }
    table
}

/// What the network of [`model`] is to compute: with `x = queue / 100`, `y = workers / 32` and
/// `h = relu([x - y, y - x])`, the values `[h1, 0.1, h0]`.
pub fn expected(queue: f32, workers: f32) -> [f32; 3] {
    let gap = queue / 100.0 - workers / 32.0;
    [(-gap).max(0.0), 0.1, gap.max(0.0)]
}

pub const GOLDEN: &str =
    r#"{"observation": [[0, 16], [100, 16]], "values": [[0.5, 0.1, 0], [0, 0.1, 0.5]]}"#;

/// The graph alone, without metadata.
pub fn graph() -> Model {
    let node = vec![
        Node::new("Mul", &["observation", "scale"], "scaled"),
        Node::new("Gemm", &["scaled", "w0", "b0"], "gap"),
        Node::new("Relu", &["gap"], "hidden"),
        Node::new("Gemm", &["hidden", "w1", "b1"], "values"),
    ];
    let initializer = vec![
        Tensor::f32("scale", &[1, 2], &[1.0 / 100.0, 1.0 / 32.0]),
        Tensor::f32("w0", &[2, 2], &[1.0, -1.0, -1.0, 1.0]),
        Tensor::f32("b0", &[2], &[0.0, 0.0]),
        Tensor::f32("w1", &[2, 3], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
        Tensor::f32("b1", &[3], &[0.0, 0.1, 0.0]),
    ];
    let graph = Graph {
        node,
        name: "policy".to_owned(),
        initializer,
        input: vec![ValueInfo::batch("observation", DataType::Float, 2)],
        output: vec![ValueInfo::batch("values", DataType::Float, 3)],
        ..Graph::default()
    };
    let operators = OperatorSet {
        domain: None,
        version: Some(20),
    };
    Model {
        ir_version: Some(10),
        graph: Some(graph),
        opset_import: vec![operators],
        ..Model::default()
    }
}

pub fn with(mut model: Model, key: &str, value: &str) -> Model {
    model.metadata_props.push(StringStringEntry {
        key: key.to_owned(),
        value: value.to_owned(),
    });
    model
}

pub fn model_with(contract: &Contract, golden: &str) -> Model {
    let contract = serde_json::to_string(contract).unwrap();
    let model = with(graph(), "farm_contract", &contract);
    with(model, "farm_golden", golden)
}

pub fn model() -> Model {
    model_with(&contract(), GOLDEN)
}

fn empty() -> Table {
    Table::new(contract(), table().edges().to_vec())
}

/// One state for all, in which 20 workers are best.
fn levels() -> Table {
    let levels = Contract {
        actions: ActionSpace::every_level(1, 32),
        ..contract()
    };
    let mut table = Table::new(levels, vec![]);
    table.values_mut(0)[19] = 1.0;
    table
}

/// Some files by name.
pub struct Files;

impl Models for Files {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        match name {
            "table" => Ok(table().to_json().into_bytes().into()),
            "network" => Ok(model().encode_to_vec().into()),
            "garbage" => Ok(Cow::Borrowed(b"{}")),
            "empty" => Ok(empty().to_json().into_bytes().into()),
            "levels" => Ok(levels().to_json().into_bytes().into()),
            _ => Err(format!(
                "{name:?} is unknown; known are: table, network, garbage, empty, levels"
            )),
        }
    }
}

pub fn parse(policy: &str, given: &[(&str, &str)]) -> Result<PolicySpec, Vec<String>> {
    let parameters: BTreeMap<_, _> = given
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    PolicySpec::parse_with(policy, &parameters, &Files)
        .map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
}
