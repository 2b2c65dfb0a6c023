//! A network as an ONNX file.

use farm_policy::learned::Contract;
use prost::Message;
use serde::Serialize;

use super::network::{Network, Pass};

/// Writes the file of a trained network: its graph from plain numbers to values, what it promises,
/// and what it makes of `observations`, by which a reader can tell that it computes the same.
///
/// # Errors
/// A number that JSON cannot hold.
pub fn write(
    network: &Network,
    contract: &Contract,
    observations: &[Vec<f32>],
) -> Result<Vec<u8>, serde_json::Error> {
    let mut pass = Pass::default();
    let golden = Golden {
        observation: observations,
        values: (observations.iter())
            .map(|row| network.compute(row, &mut pass).to_vec())
            .collect(),
    };
    let model = proto::Model {
        ir_version: 8,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph(network, contract)),
        opset_import: vec![proto::OperatorSet { version: 13 }],
        metadata_props: vec![
            entry("farm_contract", serde_json::to_string(contract)?),
            entry("farm_golden", serde_json::to_string(&golden)?),
        ],
    };
    Ok(model.encode_to_vec())
}

#[derive(Serialize)]
struct Golden<'a> {
    observation: &'a [Vec<f32>],
    values: Vec<Vec<f32>>,
}

fn entry(key: &str, value: String) -> proto::Entry {
    proto::Entry {
        key: key.to_owned(),
        value,
    }
}

fn graph(network: &Network, contract: &Contract) -> proto::Graph {
    let features = contract.features.len();
    let (middles, scales) = network.normalisation();
    let mut initializer = vec![
        tensor("middles", &[features], middles),
        tensor("scales", &[features], scales),
    ];
    let mut node = vec![
        operation("Sub", &["observation", "middles"], "centred"),
        operation("Mul", &["centred", "scales"], "normal"),
    ];
    let (last, mut input) = (network.layers().len() - 1, "normal".to_owned());
    for (index, layer) in network.layers().enumerate() {
        let (weights, biases) = (format!("weights{index}"), format!("biases{index}"));
        let rows = layer.weights.len() / layer.width;
        initializer.push(tensor(&weights, &[rows, layer.width], layer.weights));
        initializer.push(tensor(&biases, &[layer.width], layer.biases));
        let operands = [input.as_str(), &weights, &biases];
        if index == last {
            node.push(operation("Gemm", &operands, "values"));
            break;
        }
        let (sum, output) = (format!("sum{index}"), format!("hidden{index}"));
        node.push(operation("Gemm", &operands, &sum));
        node.push(operation("Relu", &[&sum], &output));
        input = output;
    }
    proto::Graph {
        name: "values of actions".to_owned(),
        node,
        initializer,
        input: vec![value("observation", features)],
        output: vec![value("values", contract.actions.len())],
    }
}

fn operation(kind: &str, inputs: &[&str], output: &str) -> proto::Node {
    proto::Node {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("{kind} {output}"),
        op_type: kind.to_owned(),
    }
}

fn tensor(name: &str, dims: &[usize], numbers: &[f32]) -> proto::Tensor {
    proto::Tensor {
        dims: dims.iter().map(|&size| size as i64).collect(),
        data_type: proto::FLOAT,
        name: name.to_owned(),
        raw_data: numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect(),
    }
}

fn value(name: &str, width: usize) -> proto::ValueInfo {
    let batch = proto::Dimension {
        dim_param: Some("batch".to_owned()),
        ..Default::default()
    };
    let width = proto::Dimension {
        dim_value: Some(width as i64),
        ..Default::default()
    };
    let tensor_type = proto::TensorType {
        elem_type: proto::FLOAT,
        shape: Some(proto::Shape {
            dim: vec![batch, width],
        }),
    };
    proto::ValueInfo {
        name: name.to_owned(),
        r#type: Some(proto::Type {
            tensor_type: Some(tensor_type),
        }),
    }
}

/// The part of the ONNX format (onnx.proto, IR version 8) that such a network needs.
mod proto {
    use prost::Message;

    /// `TensorProto.DataType.FLOAT`.
    pub const FLOAT: i32 = 1;

    #[derive(Clone, PartialEq, Message)]
    pub struct Model {
        #[prost(int64, tag = "1")]
        pub ir_version: i64,
        #[prost(string, tag = "2")]
        pub producer_name: String,
        #[prost(string, tag = "3")]
        pub producer_version: String,
        #[prost(message, optional, tag = "7")]
        pub graph: Option<Graph>,
        #[prost(message, repeated, tag = "8")]
        pub opset_import: Vec<OperatorSet>,
        #[prost(message, repeated, tag = "14")]
        pub metadata_props: Vec<Entry>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct OperatorSet {
        #[prost(int64, tag = "2")]
        pub version: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Entry {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Graph {
        #[prost(message, repeated, tag = "1")]
        pub node: Vec<Node>,
        #[prost(string, tag = "2")]
        pub name: String,
        #[prost(message, repeated, tag = "5")]
        pub initializer: Vec<Tensor>,
        #[prost(message, repeated, tag = "11")]
        pub input: Vec<ValueInfo>,
        #[prost(message, repeated, tag = "12")]
        pub output: Vec<ValueInfo>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Node {
        #[prost(string, repeated, tag = "1")]
        pub input: Vec<String>,
        #[prost(string, repeated, tag = "2")]
        pub output: Vec<String>,
        #[prost(string, tag = "3")]
        pub name: String,
        #[prost(string, tag = "4")]
        pub op_type: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Tensor {
        // Not packed: the format is one of proto2, and not every reader takes both.
        #[prost(int64, repeated, packed = "false", tag = "1")]
        pub dims: Vec<i64>,
        #[prost(int32, tag = "2")]
        pub data_type: i32,
        #[prost(string, tag = "8")]
        pub name: String,
        #[prost(bytes = "vec", tag = "9")]
        pub raw_data: Vec<u8>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct ValueInfo {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub r#type: Option<Type>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Type {
        #[prost(message, optional, tag = "1")]
        pub tensor_type: Option<TensorType>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct TensorType {
        #[prost(int32, tag = "1")]
        pub elem_type: i32,
        #[prost(message, optional, tag = "2")]
        pub shape: Option<Shape>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct Shape {
        #[prost(message, repeated, tag = "1")]
        pub dim: Vec<Dimension>,
    }

    /// Of `dim_value` and `dim_param` one is set.
    #[derive(Clone, PartialEq, Message)]
    pub struct Dimension {
        #[prost(int64, optional, tag = "1")]
        pub dim_value: Option<i64>,
        #[prost(string, optional, tag = "2")]
        pub dim_param: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use farm_policy::learned::{self, Actions};
    use farm_sim::scenario::Scenario;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn another_runtime_computes_the_same_from_the_file() {
        for hidden in [&[][..], &[9], &[32, 16]] {
            let mut random = Pcg64Mcg::seed_from_u64(11);
            let contract = crate::dqn::contract(&Scenario::paper(), Actions::Free);
            let (features, actions) = (&contract.features, contract.actions.len());
            let network = Network::new(features, hidden, actions, &mut random);
            let mut row = || -> Vec<f32> {
                let mut within =
                    |f: &learned::Feature| f.low + (f.high - f.low) * random.random::<f64>();
                features
                    .iter()
                    .map(|feature| within(feature) as f32)
                    .collect()
            };
            let file = write(&network, &contract, &[row(), row()]).unwrap();
            let read = learned::Network::from_onnx(&file).unwrap();
            assert_eq!(read.contract(), &contract);
            for _ in 0..20 {
                let observation = row();
                let numbers: Vec<f64> = observation.iter().map(|x| f64::from(*x)).collect();
                let found = read.decide(&numbers).unwrap();
                let mut pass = Pass::default();
                let expected = network.compute(&observation, &mut pass);
                for (found, expected) in found.iter().zip(expected) {
                    let gap = (found - expected).abs();
                    assert!(
                        gap < 1e-5 * expected.abs().max(1.0),
                        "{found} for {expected}"
                    );
                }
            }
        }
    }
}
