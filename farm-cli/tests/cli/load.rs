//! `farm load`.

use std::collections::BTreeSet;

use farm_core::quantity::parse_duration;
use serde_json::Value;

use crate::server::Server;

#[tokio::test]
async fn every_task_of_a_load_is_accounted_for() {
    let server = Server::start().await;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "100",
        "--duration",
        "500ms",
        "--service-seconds",
        "0.1",
        "--json",
    ];
    let report = server.run(&words).await.expect(0).json();
    for (name, count) in [
        ("offered", 50),
        ("accepted", 50),
        ("done", 50),
        ("refused", 0),
        ("lost", 0),
    ] {
        assert_eq!(report[name], count, "{name}");
    }
    assert!(report["sojourn_seconds"]["p50"].as_f64().unwrap() >= 0.25);
    let farm = server.farm_state();
    assert_eq!(farm.jobs.len(), 50);
    assert_eq!(farm.jobs["job-1"].bodies, [r#"{"seconds":0.1}"#]);
}

#[tokio::test]
async fn tasks_refused_by_a_full_farm_are_counted_and_not_sent_again() {
    let server = Server::start().await;
    server.farm_state().full_for = 10;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "100",
        "--duration",
        "300ms",
        "--body",
        r#"{ "x": 1 }"#,
        "--json",
    ];
    let report = server.run(&words).await.expect(0).json();
    assert_eq!(
        (&report["offered"], &report["refused"], &report["done"]),
        (&30.into(), &10.into(), &20.into())
    );
    assert_eq!(server.farm_state().submits.len(), 30);
}

#[tokio::test]
async fn a_high_rate_is_sent_in_jobs_of_one_tick() {
    let server = Server::start().await;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "2000",
        "--duration",
        "500ms",
        "--deadline",
        "1s",
        "--json",
    ];
    let report = server.run(&words).await.expect(0).json();
    assert_eq!(
        (&report["offered"], &report["done"]),
        (&1000.into(), &1000.into())
    );
    let farm = server.farm_state();
    assert!(farm.jobs.len() <= 51, "{} jobs", farm.jobs.len());
    assert!(
        farm.submits
            .iter()
            .all(|submit| submit.deadline.as_deref() == Some("1s"))
    );
}

#[tokio::test]
async fn the_papers_workload_has_its_tasks_and_their_own_deadlines() {
    let server = Server::start().await;
    let words = [
        "load",
        "sleeper",
        "--paper",
        "--time-scale",
        "0.002",
        "--seed",
        "42",
        "--json",
    ];
    let report = server.run(&words).await.expect(0).json();
    assert_eq!(
        (&report["offered"], &report["done"], &report["seed"]),
        (&1140.into(), &1140.into(), &42.into())
    );
    let farm = server.farm_state();
    assert_eq!(farm.submits.len(), 1140);
    for submit in &farm.submits {
        let task: Value = serde_json::from_str(submit.body.trim()).unwrap();
        let service_seconds = task["seconds"].as_f64().unwrap();
        let deadline = parse_duration(submit.deadline.as_deref().unwrap()).unwrap();
        assert!((deadline.as_secs_f64() - 2.0 * service_seconds).abs() < 2e-6);
    }
    let deadlines: BTreeSet<_> = farm.submits.iter().map(|submit| &submit.deadline).collect();
    assert!(deadlines.len() > 900);
}

#[tokio::test]
async fn a_simulated_scenario_is_sent_to_a_live_farm() {
    let server = Server::start().await;
    let load = ["load", "sleeper", "--json", "--time-scale", "0.002"];
    let paper = |words: &[&'static str]| [&load[..], words].concat();
    let named = paper(&["--scenario", "paper"]);
    let report = server.run(&named).await.expect(0).json();
    assert_eq!(
        (&report["offered"], &report["done"]),
        (&1140.into(), &1140.into())
    );
    let bodies = |server: &Server| -> Vec<String> {
        let farm = server.farm_state();
        let submits = farm.submits.iter();
        submits.map(|submit| submit.body.clone()).collect()
    };
    let mut by_name = bodies(&server);
    server.run(&paper(&["--paper"])).await.expect(0);
    let mut by_flag = bodies(&server).split_off(1140);
    // Requests of one moment arrive in any order.
    by_name.sort();
    by_flag.sort();
    assert_eq!(by_name, by_flag);

    let unknown = server.run(&paper(&["--scenario", "papre"])).await.expect(2);
    unknown.tells(&["papre", "paper-fast"]);
    server
        .run(&paper(&["--paper", "--scenario", "sine"]))
        .await
        .expect(2);
}

#[tokio::test]
async fn failed_and_unfinished_tasks_show_in_the_exit_code() {
    let server = Server::start().await;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "20",
        "--duration",
        "100ms",
        "--json",
        "--body",
        r#"{"becomes":"failed"}"#,
    ];
    let report = server.run(&words).await.expect(3).json();
    assert_eq!(report["failed"], 2);
    server.farm_state().hold = true;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "20",
        "--duration",
        "100ms",
        "--json",
        "--body",
        r#"{"becomes":"lost"}"#,
        "--wait-for",
        "200ms",
    ];
    let report = server.run(&words).await.expect(3).json();
    assert_eq!(
        (&report["unfinished"], &report["lost"]),
        (&2.into(), &0.into())
    );
}

#[tokio::test]
async fn without_waiting_only_the_sending_is_told() {
    let server = Server::start().await;
    server.farm_state().hold = true;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "50",
        "--duration",
        "100ms",
        "--no-wait",
        "--poisson",
        "--json",
    ];
    let report = server.run(&words).await.expect(0).json();
    assert_eq!(report["offered"], report["accepted"]);
    assert_eq!(report.get("done"), None);
}

#[tokio::test]
async fn a_load_needs_a_rate_and_a_duration_or_the_paper() {
    let server = Server::start().await;
    server
        .run(&["load", "sleeper", "--rate", "50"])
        .await
        .expect(2);
    server
        .run(&["load", "sleeper", "--paper", "--rate", "50"])
        .await
        .expect(2);
    server
        .run(&["load", "sleeper", "--rate", "0", "--duration", "1s"])
        .await
        .expect(2);
    server
        .run(&[
            "load",
            "sleeper",
            "--rate",
            "5",
            "--duration",
            "1s",
            "--time-scale",
            "2",
        ])
        .await
        .expect(2);
}

#[tokio::test]
async fn a_body_that_the_farm_refuses_ends_the_load() {
    let server = Server::start().await;
    let words = [
        "load",
        "sleeper",
        "--rate",
        "5",
        "--duration",
        "1s",
        "--body",
        r#"{"refuse":true}"#,
    ];
    server
        .run(&words)
        .await
        .expect(5)
        .tells(&["expected a photo"]);
}
