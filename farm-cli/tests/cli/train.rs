//! `farm train`: small trainings, to see that they are trainings.

use std::path::Path;

use crate::program::{Run, farm, finish};

const SARSA: &str = r#"{"steps": 400, "checkpoints": 2, "checkpoint_episodes": 2, "finalists": 1}"#;
const DQN: &str = r#"{"steps": 400, "hidden": [8], "warm_up_steps": 100, "checkpoints": 2,
    "checkpoint_episodes": 2, "finalists": 1}"#;

async fn train(folder: &Path, algorithm: &str, words: &[&str]) -> Run {
    let usual = [
        "train",
        algorithm,
        "--settings",
        "small.json",
        "--seeds",
        "2",
    ];
    finish(&mut farm(folder, &[&usual[..], words].concat())).await
}

/// Trains twice with one seed and once with another.
async fn a_training_is_kept_and_can_be_repeated(algorithm: &str, settings: &str, file: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small.json"), settings).unwrap();
    let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
    let words = ["--actions", "step", "--curve", "curve.svg", "--json"];
    let told = train(folder.path(), algorithm, &words).await;
    let told = told.expect(0).json();
    assert_eq!(told["out"], file);
    assert_eq!(told["curve"].as_array().unwrap().len(), 2);
    let policies = told["evaluation"]["policies"].as_array().unwrap();
    assert_eq!(policies[1]["policy"], format!("{algorithm} model={file}"));
    let curve = String::from_utf8(read("curve.svg")).unwrap();
    assert!(curve.contains("control steps trained"));

    // The file tells how it was made, and making it again makes the same.
    let made = read(file);
    let command = format!(
        "farm train {algorithm} --scenario paper --actions step --seed 1 --settings small.json"
    );
    let text = String::from_utf8_lossy(&made);
    assert!(text.contains(&command), "{command}");
    let again = ["--actions", "step", "--out", "again"];
    let table = train(folder.path(), algorithm, &again).await;
    let table = table.expect(0).stdout;
    for words in [
        "(best constant)",
        &format!("farm.policy: {algorithm}"),
        "farm.policy.model: again",
        "farm.interval: 8s",
        "farm.max: \"32\"",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    assert!(made == read("again"));
    let other = ["--actions", "step", "--out", "other", "--seed", "2"];
    train(folder.path(), algorithm, &other).await.expect(0);
    assert!(made != read("other"));
}

#[tokio::test]
async fn a_table_is_trained() {
    a_training_is_kept_and_can_be_repeated("sarsa", SARSA, "sarsa-paper-step.json").await;
}

#[tokio::test]
async fn a_network_is_trained() {
    a_training_is_kept_and_can_be_repeated("dqn", DQN, "dqn-paper-step.onnx").await;
}

#[tokio::test]
async fn what_cannot_be_trained_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = train(folder.path(), "dqn", &[]).await.expect(5);
    missing.tells(&["small.json"]);
    std::fs::write(folder.path().join("small.json"), r#"{"steps": "many"}"#).unwrap();
    for algorithm in ["sarsa", "dqn"] {
        let bad = train(folder.path(), algorithm, &[]).await.expect(5);
        bad.tells(&["small.json", "steps"]);
    }
    let usual = ["train", "dqn", "--scenario", "papre"];
    let unknown = finish(&mut farm(folder.path(), &usual)).await.expect(2);
    unknown.tells(&["papre", "paper-fast"]);
}
