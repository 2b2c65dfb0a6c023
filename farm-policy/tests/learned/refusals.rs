//! What is told of a trained policy before it decides anything.

use farm_policy::learned::{ActionSpace, Artefact, BuiltInModels, Contract, Models, Table};
use farm_policy::{Limits, PolicySpec};

use crate::files::{contract, parse, table};

fn refused(policy: &str, given: &[(&str, &str)]) -> Vec<String> {
    parse(policy, given).unwrap_err()
}

#[test]
fn a_model_has_to_be_given_found_and_of_the_right_kind() {
    assert_eq!(
        refused("sarsa", &[]),
        ["model: missing: give the name of a trained policy's file"]
    );
    assert_eq!(
        refused("dqn", &[("model", "x"), ("step", "two"), ("pace", "1")]),
        [
            "model: \"x\" is unknown; known are: table, network, garbage, empty, levels",
            "step: \"two\" is not one of: one, free",
            "pace: unknown parameter; known are: time_scale, model, step",
        ]
    );
    assert_eq!(
        refused("sarsa", &[("model", "network")]),
        ["model: \"network\" is a network; the policy sarsa needs a table"]
    );
    for policy in ["dqn", "onnx"] {
        let told = format!("model: \"table\" is a table; the policy {policy} needs a network");
        assert_eq!(refused(policy, &[("model", "table")]), [told]);
    }
    assert_eq!(
        refused("sarsa", &[("model", "garbage")]),
        ["model: \"garbage\": the table is malformed: missing field `format` at line 1 column 2"]
    );
    assert_eq!(
        refused("dqn", &[("model", "network"), ("time_scale", "0")]),
        ["time_scale: \"0\" is not a number from 0.001 to 1000"]
    );
}

#[test]
fn every_built_in_model_can_be_used() {
    for name in BuiltInModels::names() {
        let artefact = BuiltInModels.load(name).unwrap();
        let policy = match artefact.kind() {
            "table" => "sarsa",
            _ => "dqn",
        };
        let parameters = [("model".to_owned(), name.to_owned())].into();
        assert!(PolicySpec::parse(policy, &parameters).is_ok(), "{name}");
    }
    let parameters = [("model".to_owned(), "mine".to_owned())].into();
    let wrong = PolicySpec::parse("sarsa", &parameters).unwrap_err();
    let told = wrong[0].to_string();
    assert!(
        told.starts_with("model: \"mine\" is unknown; built in are: "),
        "{told}"
    );
}

#[test]
fn a_table_tells_what_is_wrong_with_it() {
    let json = table().to_json();
    let told = |from: &str, to: &str| {
        let changed = json.replacen(from, to, 1);
        assert_ne!(changed, json, "{from}");
        Table::from_json(changed.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        told("rust-farm policy table", "other"),
        "format \"other\" is not \"rust-farm policy table\""
    );
    assert_eq!(
        told("\"version\":1", "\"version\":2"),
        "the table has version 2; this build reads version 1"
    );
    assert_eq!(
        told("\"contract\":{\"version\":1", "\"contract\":{\"version\":3"),
        "the contract has version 3; this build reads version 1"
    );
    assert_eq!(
        told("\"edges\":[[1.0,10.0],", "\"edges\":["),
        "edges: 1 lists for 2 features"
    );
    assert_eq!(
        told("[1.0,10.0]", "[10.0,1.0]"),
        "edges: those of task_queue are not ascending finite numbers, or make too many states"
    );
    assert_eq!(
        told("[5,", "[6,"),
        "states: 6 is not below the 6 that the edges make"
    );
    assert_eq!(told("[1,[", "[0,["), "states: 0 is out of order");
    assert_eq!(
        told("[0.0,0.5,0.0]", "[0.0,0.5]"),
        "states: 0 has 2 values for 3 actions"
    );
    assert!(told("0.75", "null").starts_with("the table is malformed: invalid type: null"));
    assert!(told("\"edges\"", "\"ledges\"").contains("unknown field `ledges`"));
    let large = vec![b'{'; (16 << 20) + 1];
    let error = Artefact::read(&large).unwrap_err().to_string();
    assert_eq!(
        error,
        "16777217 bytes are more than the 16777216 of the largest artefact"
    );
}

#[test]
fn a_contract_tells_everything_that_is_wrong_with_it() {
    let mut wrong = Contract {
        version: 7,
        interval_seconds: f64::NAN,
        min_parallelism: 9,
        max_parallelism: 8,
        actions: ActionSpace::Steps(vec![]),
        ..contract()
    };
    wrong.features[1].low = 99.0;
    let told: Vec<String> = wrong
        .check()
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "contract.version: 7 is not 1, which this build reads",
            "contract.features: the bounds of workers, 99 to 32, leave no number",
            "contract.actions: 0 are not 1 to 4096",
            "contract.interval_seconds: NaN is not a time above 0 s",
            "contract.max_parallelism: 8 is not in 9 to 1000000",
        ]
    );
    assert!(contract().check().is_ok());
}

#[test]
fn a_misfit_is_told_before_it_happens() {
    let fit = |spec: &PolicySpec, interval_seconds: f64, max: u32| -> Vec<String> {
        let limits = Limits {
            max,
            ..Limits::default()
        };
        let misfits = spec.check_fit(interval_seconds, &limits);
        misfits.iter().map(ToString::to_string).collect()
    };
    let spec = parse("sarsa", &[("model", "table")]).unwrap();
    assert!(fit(&spec, 8.0, 32).is_empty());
    assert!(fit(&spec, 7.0, 10).is_empty());
    assert_eq!(
        fit(&spec, 2.0, 40),
        [
            "interval: the control interval is 2 s, where the model was trained with 8 s (table)",
            "max: 40 is not in 1 to 32, with which table was trained",
        ]
    );
    let fast = parse("sarsa", &[("model", "table"), ("time_scale", "0.25")]).unwrap();
    assert!(fit(&fast, 2.0, 32).is_empty());
    let other = PolicySpec::parse("queue", &[].into()).unwrap();
    assert!(fit(&other, 2.0, 4000).is_empty());
}
