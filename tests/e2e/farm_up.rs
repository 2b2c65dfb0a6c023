//! `farm up`: stack, gateway, replicas and NATS on this machine, under the tools people use.

use std::time::Duration;

use farm_tests::{FarmUp, Workplace, eventually, process_runs};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

const SLEEPER: &str = "
version: 1.0
provider: {name: openfaas, gateway: http://127.0.0.1:8080}
functions:
  sleeper:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {FARM_NAME: sleeper, FARM_SLOTS: '2', FARM_MAX_ATTEMPTS: '1'}
";

fn sleeper() -> Workplace {
    let workplace = Workplace::new();
    workplace.copy("template", "template");
    workplace.copy("examples/sleeper", "sleeper");
    workplace.write("stack.yml", SLEEPER);
    workplace
}

async fn scaled(up: &FarmUp, replicas: u64) {
    up.scale("sleeper", replicas).await;
    eventually(&format!("{replicas} replicas"), SOON, async || {
        (up.available("sleeper").await == replicas).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_farm_runs_under_the_tools_people_use_and_leaves_nothing_behind() {
    let workplace = sleeper();
    let mut up = workplace.up(&[]).await;
    let farm = up.function("sleeper");

    // The real faas-cli.
    workplace.faas_cli(&["login", "--password", &up.password]);
    let list = workplace.faas_cli(&["list"]);
    assert!(list.contains("sleeper"), "{list}");
    let described = workplace.faas_cli(&["describe", "sleeper"]);
    assert!(described.contains("test/sleeper:1"), "{described}");
    let logs = workplace.faas_cli(&["logs", "sleeper", "--tail=false"]);
    assert!(logs.contains("ready farm=sleeper"), "{logs}");

    // The farm command, beside the record that `farm up` keeps.
    let submit = ["submit", "sleeper", "--wait", "--json", "--value"];
    let done = workplace.farm(&[&submit[..], &[r#"[{}, {"payload_bytes": 2}]"#]].concat());
    assert!(done.contains(r#""done":2"#), "{done}");
    let dies = ["submit", "sleeper", "--value", r#"{"fail": "permanent"}"#];
    workplace.farm(&dies);
    let letter = eventually("a dead letter", SOON, async || {
        let listed = workplace.farm(&["dead", "list", "sleeper", "--json"]);
        let letter: Value = serde_json::from_str(listed.lines().next()?).ok()?;
        Some(letter)
    })
    .await;
    assert_eq!(letter["cause"], "told to fail for good");
    let task = letter["task"].as_str().unwrap();
    let shown = workplace.farm(&["dead", "show", "sleeper", task]);
    assert!(shown.contains("permanent"), "{shown}");
    workplace.farm(&["dead", "purge", "sleeper", "--all", "--yes"]);
    assert_eq!(farm.farm().await.dead_tasks, 0);

    // Replicas come and go under load, and every task has one result.
    let job = farm.submit(&vec![json!({"seconds": 0.2}); 100]).await.job;
    scaled(&up, 3).await;
    farm.done(&job, 20, SOON).await;
    scaled(&up, 1).await;
    let status = farm.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (100, 0));
    let results = farm.results(&job).await;
    assert_eq!(results.len(), 100);
    let mut workers: Vec<_> = results.iter().map(|result| &result.worker).collect();
    workers.sort();
    workers.dedup();
    assert_eq!(workers.len(), 3, "all three replicas worked");
    let late = results
        .iter()
        .filter(|result| result.sojourn_seconds > 25.0);
    assert_eq!(
        late.count(),
        0,
        "a drained replica's tasks waited for the ack wait"
    );

    // Ctrl-C leaves nothing.
    let started = up.descendants();
    assert!(started.len() >= 2, "NATS and a replica: {started:?}");
    up.stop().await;
    let left: Vec<_> = started.into_iter().filter(|id| process_runs(*id)).collect();
    assert_eq!(left, Vec::<u32>::new(), "processes are left");
    let left: Vec<_> = std::fs::read_dir(workplace.temporary()).unwrap().collect();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
    let gone = up.gateway.request(Method::GET, "/healthz").send().await;
    assert!(gone.is_err(), "the gateway still answers");
}
