//! The part of the ONNX format that networks of policies need.
//!
//! Names and numbers are those of `onnx.proto` (IR version 10). What a file has beyond these fields
//! is not read: subgraphs, functions, weights in other files.
//!
//! ```
//! use farm_policy::learned::onnx::{DataType, Graph, Model, Node, OperatorSet, Tensor, ValueInfo};
//! use prost::Message;
//!
//! let graph = Graph {
//!     node: vec![Node::new("Gemm", &["observation", "weights"], "values")],
//!     name: "policy".to_owned(),
//!     initializer: vec![Tensor::f32("weights", &[2, 1], &[1.0, 0.5])],
//!     input: vec![ValueInfo::batch("observation", DataType::Float, 2)],
//!     output: vec![ValueInfo::batch("values", DataType::Float, 1)],
//!     ..Graph::default()
//! };
//! let model = Model {
//!     ir_version: Some(10),
//!     graph: Some(graph),
//!     opset_import: vec![OperatorSet { domain: None, version: Some(20) }],
//!     ..Model::default()
//! };
//! let bytes = model.encode_to_vec();
//! assert_eq!(Model::decode(&*bytes)?, model);
//! # Ok::<(), prost::DecodeError>(())
//! ```

use prost::Message;

/// `ModelProto`: a file.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the format.
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// What wrote it.
    #[prost(string, optional, tag = "2")]
    pub producer_name: Option<String>,
    /// Which version of that.
    #[prost(string, optional, tag = "3")]
    pub producer_version: Option<String>,
    /// What is computed.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// The operators' definitions.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    /// Texts by key.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntry>,
}

/// `OperatorSetIdProto`: a version of the operators of a domain.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    /// The domain; absent or empty: ONNX's own.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// Its version.
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// `StringStringEntryProto`: a text with its key.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntry {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `GraphProto`: operators from inputs and constants to outputs.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    /// The operators, each after those it needs.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    /// Its name, which has to be there.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    /// What it is given.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    /// What it computes.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
    /// What lies between.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfo>,
}

/// `NodeProto`: an operator with the names of its values.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Names of its inputs; an empty one is left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of its outputs.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Its own name.
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    /// The operator, such as `Gemm`.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Its settings.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    /// The operator's domain; absent or empty: ONNX's own.
    #[prost(string, optional, tag = "7")]
    pub domain: Option<String>,
}

/// `AttributeProto`: a setting of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A number.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// A whole number.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// A text.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    /// Numbers.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Whole numbers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Texts.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    /// Which of them it is, as a number of ONNX's.
    #[prost(int32, optional, tag = "20")]
    pub r#type: Option<i32>,
}

/// `TensorProto`: a constant.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Its size along each dimension.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// What its elements are, see [`DataType`].
    #[prost(int32, optional, tag = "2")]
    pub data_type: Option<i32>,
    /// Elements, if they are f32.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Elements, if they are i32 or smaller.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Elements, if they are i64.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Its name.
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// Elements of any kind, little-endian, in place of the lists.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw_data: Option<Vec<u8>>,
    /// Elements, if they are f64.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// 1 if the elements are in another file.
    #[prost(int32, optional, tag = "14")]
    pub data_location: Option<i32>,
}

/// `ValueInfoProto`: what is known of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its elements and sizes.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

/// `TypeProto`: what a value is.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    /// A tensor of this kind.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

/// `TypeProto.Tensor`: elements and sizes of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// What its elements are, see [`DataType`].
    #[prost(int32, optional, tag = "1")]
    pub elem_type: Option<i32>,
    /// Its sizes.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// `TensorShapeProto`: sizes of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// The size along each dimension.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// `TensorShapeProto.Dimension`: one size, as a number or as a name.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// The number.
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    /// The name.
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

/// `TensorProto.DataType`: the elements that networks of policies have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum DataType {
    /// f32
    Float = 1,
    /// i64
    Int64 = 7,
}

impl Node {
    /// An operator without settings, with one output.
    pub fn new(op_type: &str, input: &[&str], output: &str) -> Self {
        Self {
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            op_type: op_type.to_owned(),
            ..Self::default()
        }
    }
}

impl Tensor {
    /// A constant of f32, the last dimension changing fastest.
    pub fn f32(name: &str, dims: &[i64], elements: &[f32]) -> Self {
        Self {
            dims: dims.to_vec(),
            data_type: Some(DataType::Float as i32),
            float_data: elements.to_vec(),
            name: Some(name.to_owned()),
            ..Self::default()
        }
    }
}

impl ValueInfo {
    /// A value of `[batch, width]` elements.
    pub fn batch(name: &str, elements: DataType, width: usize) -> Self {
        let batch = Dimension {
            dim_value: None,
            dim_param: Some("batch".to_owned()),
        };
        let width = Dimension {
            dim_value: i64::try_from(width).ok(),
            dim_param: None,
        };
        let tensor_type = TensorType {
            elem_type: Some(elements as i32),
            shape: Some(Shape {
                dim: vec![batch, width],
            }),
        };
        Self {
            name: name.to_owned(),
            r#type: Some(Type {
                tensor_type: Some(tensor_type),
            }),
        }
    }
}
