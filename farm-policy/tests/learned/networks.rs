//! Networks: computing, and every reason to refuse one.

use farm_policy::learned::onnx::{DataType, Graph, Model, Node, Tensor, ValueInfo};
use farm_policy::learned::{ActionSpace, ArtefactError, Contract, Network};
use prost::Message;

use crate::files::{GOLDEN, contract, expected, graph, model, model_with, with};

fn load(model: &Model) -> Result<Network, ArtefactError> {
    Network::from_onnx(&model.encode_to_vec())
}

fn graph_of(model: &mut Model) -> &mut Graph {
    model.graph.as_mut().unwrap()
}

fn refusal(model: &Model) -> String {
    load(model).unwrap_err().to_string()
}

#[test]
fn a_network_computes_what_it_is_made_of() {
    let network = load(&model()).unwrap();
    assert_eq!(network.contract(), &contract());
    for queue in [0.0, 3.0, 50.0, 799.0] {
        for workers in [1.0, 16.0, 32.0] {
            let values = network.decide(&[queue, workers]).unwrap();
            let expected = expected(queue as f32, workers as f32);
            for (found, expected) in values.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{values:?} {expected:?}");
            }
        }
    }
}

/// Made by `sb3.py` with stable-baselines3 2.9 and torch 2.15.
const SB3: &[u8] = include_bytes!("sb3.onnx");

#[test]
fn an_export_of_stable_baselines3_loads() {
    let network = Network::from_onnx(SB3).unwrap();
    assert_eq!(network.contract().training.scenario, "noise");
    assert_eq!(network.decide(&[400.0, 16.0]).unwrap().len(), 3);
}

#[test]
fn every_export_that_keeps_the_conventions_loads() {
    // A batch of exactly one, no declared shapes, another opset, further outputs and metadata.
    let mut one = model();
    let dimension = &mut graph_of(&mut one).input[0].r#type.as_mut().unwrap();
    let shape = dimension
        .tensor_type
        .as_mut()
        .unwrap()
        .shape
        .as_mut()
        .unwrap();
    (shape.dim[0].dim_value, shape.dim[0].dim_param) = (Some(1), None);
    let mut undeclared = model();
    graph_of(&mut undeclared).output[0].r#type = None;
    let mut old = model();
    old.opset_import[0].version = Some(13);
    let mut more = with(model(), "author", "somebody");
    graph_of(&mut more)
        .output
        .insert(0, ValueInfo::batch("hidden", DataType::Float, 2));
    for model in [one, undeclared, old, more] {
        let values = load(&model).unwrap().decide(&[100.0, 16.0]).unwrap();
        assert!((values[2] - 0.5).abs() < 1e-6, "{values:?}");
    }
}

#[test]
fn what_is_no_network_is_refused() {
    for bytes in [&b""[..], b"weights", b"\x08\x0a"] {
        assert!(Network::from_onnx(bytes).is_err(), "{bytes:?}");
    }
    let error = Network::from_onnx(&vec![0; (16 << 20) + 1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "16777217 bytes are more than the 16777216 of the largest artefact"
    );
    let mut looping = model();
    graph_of(&mut looping)
        .node
        .push(Node::new("Loop", &["hidden"], "more"));
    let told = refusal(&looping);
    assert!(
        told.contains("cannot be read") && told.contains("Loop"),
        "{told}"
    );
}

#[test]
fn missing_metadata_is_named() {
    let contract = serde_json::to_string(&contract()).unwrap();
    assert!(refusal(&graph()).contains("no \"farm_contract\" in its metadata_props"));
    let without_pair = with(graph(), "farm_contract", &contract);
    assert!(refusal(&without_pair).contains("no \"farm_golden\" in its metadata_props"));
    let misspelt = contract.replace("interval", "period");
    let bad = with(graph(), "farm_contract", &misspelt);
    assert!(
        refusal(&bad).starts_with("farm_contract is malformed: unknown field `period_seconds`")
    );
    let bad = with(without_pair, "farm_golden", "[]");
    assert!(refusal(&bad).starts_with("farm_golden is malformed: "));
}

#[test]
fn a_contract_of_another_version_is_refused_before_it_is_read() {
    let newer = r#"{"version": 2, "senses": []}"#;
    assert_eq!(
        refusal(&with(graph(), "farm_contract", newer)),
        "the contract has version 2; this build reads version 1"
    );
    let impossible = Contract {
        interval_seconds: -8.0,
        ..contract()
    };
    assert_eq!(
        refusal(&model_with(&impossible, GOLDEN)),
        "contract.interval_seconds: -8 is not a time above 0 s"
    );
}

#[test]
fn an_input_or_output_that_does_not_fit_is_told_with_both_shapes() {
    let nine = Contract::paper(ActionSpace::unit_steps());
    assert_eq!(
        refusal(&model_with(&nine, GOLDEN)),
        "the network's input is observation, f32 [batch, 2], where the contract needs observation \
         alone, f32 [batch, 9]"
    );
    let five = Contract {
        actions: ActionSpace::Steps(vec![-2, -1, 0, 1, 2]),
        ..contract()
    };
    assert_eq!(
        refusal(&model_with(&five, GOLDEN)),
        "the network's output is values, f32 [batch, 3], where the contract needs values, f32 \
         [batch, 5]"
    );
    let mut wider = model();
    let weights = &mut graph_of(&mut wider).initializer;
    weights[3] = Tensor::f32("w1", &[2, 5], &[0.0; 10]);
    weights[4] = Tensor::f32("b1", &[5], &[0.0; 5]);
    assert_eq!(
        refusal(&wider),
        "the network's output is values, f32 [batch, 5], where the contract needs values, f32 \
         [batch, 3]"
    );
    let mut renamed = model();
    graph_of(&mut renamed).input[0].name = "obs".to_owned();
    graph_of(&mut renamed).node[0].input[0] = "obs".to_owned();
    assert!(refusal(&renamed).starts_with("the network's input is obs, f32 [batch, 2], where"));
    let mut stateful = model();
    graph_of(&mut stateful)
        .input
        .push(ValueInfo::batch("memory", DataType::Float, 4));
    assert!(refusal(&stateful).starts_with("the network's input is observation, memory, where"));
    let mut renamed = model();
    graph_of(&mut renamed).output[0].name = "q".to_owned();
    graph_of(&mut renamed).node[3].output[0] = "q".to_owned();
    assert!(refusal(&renamed).starts_with("the network's output is q, where"));
}

#[test]
fn a_network_that_computes_something_else_is_refused() {
    let told = refusal(&model_with(
        &contract(),
        &GOLDEN.replace("0.5, 0.1", "0.501, 0.1"),
    ));
    assert_eq!(
        told,
        "golden pair: row 0, action 0 is 0.5, where 0.501 was recorded"
    );
    assert!(
        load(&model_with(
            &contract(),
            &GOLDEN.replace("0.5, 0.1", "0.5004, 0.1")
        ))
        .is_ok()
    );

    let mut broken = model();
    graph_of(&mut broken).initializer[3].float_data[2] = f32::NAN;
    assert!(refusal(&broken).starts_with("golden pair: row 0, action 2 is NaN"));

    for golden in [
        r#"{"observation": [], "values": []}"#,
        r#"{"observation": [[0, 16]], "values": []}"#,
        r#"{"observation": [[0]], "values": [[0.5, 0.1, 0]]}"#,
        r#"{"observation": [[0, 16]], "values": [[0.5, 0.1]]}"#,
    ] {
        let told = refusal(&model_with(&contract(), golden));
        assert!(told.starts_with("the golden pair is "), "{told}");
        assert!(
            told.ends_with("1 to 1024 rows of 2 and as many of 3"),
            "{told}"
        );
    }
}

#[test]
fn what_is_not_a_number_is_no_decision() {
    let golden = r#"{"observation": [[0, 16]], "values": [[2, 0.1, -2]]}"#;
    let mut inverse = model_with(&contract(), golden);
    graph_of(&mut inverse).node[2].op_type = "Reciprocal".to_owned();
    let network = load(&inverse).unwrap();
    assert!(network.decide(&[0.0, 16.0]).is_ok());
    let error = network.decide(&[0.0, 0.0]).unwrap_err().to_string();
    assert!(
        error.starts_with("the network cannot compute: the value of action 0 is "),
        "{error}"
    );
    for input in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
        assert!(network.decide(input).is_err(), "{input:?}");
    }
}

#[test]
fn weights_in_another_file_are_missed() {
    let mut split = model();
    graph_of(&mut split).initializer[1].data_location = Some(1);
    assert_eq!(
        refusal(&split),
        "the network cannot be read: its weights are in another file: export it as one"
    );
}
