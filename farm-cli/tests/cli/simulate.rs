//! `farm simulate` and `farm evaluate`: neither needs a server.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Run, farm, finish};

async fn run(folder: &Path, words: &[&str]) -> Run {
    finish(&mut farm(folder, words)).await
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn policies(report: &Value) -> Vec<&str> {
    let policies = report["scenarios"][0]["policies"].as_array().unwrap();
    policies
        .iter()
        .map(|policy| policy["policy"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_episode_is_told_step_by_step_and_drawn() {
    let folder = folder();
    let words = [
        "simulate",
        "--policy",
        "static",
        "-p",
        "parallelism=14",
        "--actions",
        "step",
        "--seed",
        "7",
        "--plot",
        "new/episode.svg",
        "--json",
    ];
    let account = run(folder.path(), &words).await.expect(0).json();
    assert_eq!(account["policy"], "static parallelism=14");
    assert_eq!(account["submitted"], 1140);
    assert_eq!(account["scaling_actions"], 2);
    let steps = account["steps_taken"].as_array().unwrap();
    assert_eq!(steps.len() as u64, account["steps"].as_u64().unwrap());
    assert_eq!(steps[0]["parallelism"], 13);
    assert_eq!(account["parallelism_max"], 14);
    let svg = std::fs::read_to_string(folder.path().join("new/episode.svg")).unwrap();
    assert!(svg.contains("<title>static parallelism=14 on paper, seed 7</title>"));
}

#[tokio::test]
async fn equal_seeds_give_equal_output() {
    let folder = folder();
    for words in [
        vec!["simulate", "--scenario", "sine", "--seed", "3", "--json"],
        vec!["evaluate", "--seeds", "4", "--json"],
    ] {
        let once = run(folder.path(), &words).await.expect(0);
        let again = run(folder.path(), &words).await.expect(0);
        assert_eq!(once.stdout, again.stdout);
    }
    let threads = |count| ["evaluate", "--seeds", "5", "--json", "--threads", count];
    let one = run(folder.path(), &threads("1")).await.expect(0);
    let three = run(folder.path(), &threads("3")).await.expect(0);
    assert_eq!(one.stdout, three.stdout);
}

#[tokio::test]
async fn a_guard_changes_what_a_policy_may() {
    let folder = folder();
    let words = ["simulate", "--policy", "reactive-average", "--json"];
    let alone = run(folder.path(), &words).await.expect(0).json();
    let guarded = [&words[..], &["--guard"]].concat();
    let guarded = run(folder.path(), &guarded).await.expect(0).json();
    assert_eq!(guarded["policy"], "reactive-average, guarded");
    let actions = |account: &Value| account["scaling_actions"].as_u64().unwrap();
    assert!(actions(&guarded) < actions(&alone));
}

#[tokio::test]
async fn an_evaluation_has_the_best_constant_and_differences_to_it() {
    let folder = folder();
    let words = [
        "evaluate",
        "--policy",
        "predictive",
        "--policy",
        "static:parallelism=32",
        "--seeds",
        "6",
        "--target",
        "0.99",
        "--csv",
        "episodes.csv",
        "--pareto",
        "pareto.svg",
        "--json",
    ];
    let report = run(folder.path(), &words).await.expect(0).json();
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["scenario"], "paper");
    assert_eq!(scenario["target_qos_ratio"], 0.99);
    assert_eq!(scenario["first_seed"], 2_000_000_000_u64);
    let names = policies(&report);
    assert_eq!(names[0], scenario["baseline"].as_str().unwrap());
    assert!(names[0].starts_with("static ") && names[0].ends_with(" (best constant)"));
    assert_eq!(names[1..], ["predictive", "static parallelism=32"]);
    for policy in scenario["policies"].as_array().unwrap() {
        assert_eq!(policy["episodes"], 6);
        for value in [
            "qos_ratio",
            "parallelism_mean",
            "parallelism_max",
            "worker_seconds",
            "scaling_actions",
            "no_ops",
            "unfinished_tasks",
        ] {
            assert!(policy[value]["mean"].is_number(), "{value}: {policy}");
            assert!(
                policy[value]["half_width_95"].is_number(),
                "{value}: {policy}"
            );
        }
    }
    let most = &scenario["policies"][2];
    let workers = most["parallelism_mean"]["mean"].as_f64().unwrap();
    assert_eq!(workers, 32.0);
    assert!(
        most["difference"]["parallelism_mean"]["mean"]
            .as_f64()
            .unwrap()
            > 10.0
    );
    let csv = std::fs::read_to_string(folder.path().join("episodes.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * 6);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns));
    let svg = std::fs::read_to_string(folder.path().join("pareto.svg")).unwrap();
    assert!(svg.contains("predictive"));
}

#[tokio::test]
async fn several_scenarios_make_several_tables_and_pictures() {
    let folder = folder();
    let words = [
        "evaluate",
        "--scenario",
        "poisson",
        "--scenario",
        "ramp",
        "--policy",
        "predictive",
        "--seeds",
        "2",
        "--pareto",
        "p.svg",
    ];
    let tables = run(folder.path(), &words).await.expect(0).stdout;
    assert!(tables.contains("scenario poisson:") && tables.contains("scenario ramp:"));
    assert!(tables.contains("± "), "{tables}");
    for file in ["p-poisson.svg", "p-ramp.svg"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
}

#[tokio::test]
async fn an_unknown_scenario_is_told_the_known_ones() {
    let folder = folder();
    for command in ["simulate", "evaluate"] {
        let ended = run(folder.path(), &[command, "--scenario", "papre"]).await;
        ended
            .expect(2)
            .tells(&["papre", "paper-shuffled", "departures"]);
    }
}

#[tokio::test]
async fn a_scenario_can_be_shown_changed_and_run_from_a_file() {
    let folder = folder();
    let show = ["simulate", "--scenario", "bursts", "--show-scenario"];
    let mut scenario = run(folder.path(), &show).await.expect(0).json();
    scenario["name"] = "mine".into();
    scenario["control"]["max_parallelism"] = 13.into();
    let file = folder.path().join("mine.json");
    std::fs::write(&file, scenario.to_string()).unwrap();
    let words = [
        "simulate",
        "--scenario",
        "mine.json",
        "--policy",
        "static:parallelism=30",
        "--json",
    ];
    let account = run(folder.path(), &words).await.expect(0).json();
    assert_eq!(account["scenario"], "mine");
    assert_eq!(account["parallelism_max"], 13);

    scenario["platform"]["poll_seconds"] = "often".into();
    std::fs::write(&file, scenario.to_string()).unwrap();
    let refused = run(folder.path(), &words).await.expect(5);
    refused.tells(&["mine.json", "platform.poll_seconds"]);
    std::fs::remove_file(&file).unwrap();
    let missing = run(folder.path(), &words).await.expect(5);
    missing.tells(&["cannot read mine.json"]);
}

#[tokio::test]
async fn a_wrong_policy_is_a_wrong_command_line() {
    let folder = folder();
    for (policy, told) in [
        ("sarsaparilla", "predictive"),
        ("queue:speed=9", "speed"),
        ("queue:target", "target=0.9"),
        ("dqn:model=nowhere.onnx", "nowhere.onnx"),
    ] {
        for command in ["simulate", "evaluate"] {
            let ended = run(folder.path(), &[command, "--policy", policy]).await;
            let ended = ended.expect(2);
            assert!(ended.stderr.contains(told), "{ended}");
        }
    }
    let ended = run(folder.path(), &["evaluate", "--seeds", "0"]).await;
    ended.expect(2);
    let ended = run(folder.path(), &["evaluate", "--target", "95"]).await;
    ended.expect(2);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_costs_no_evaluation() {
    let folder = folder();
    let words = ["evaluate", "--csv", "no/such/folder.csv"];
    run(folder.path(), &words)
        .await
        .expect(1)
        .tells(&["no/such/folder.csv"]);
}
