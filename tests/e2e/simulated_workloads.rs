//! What is simulated can be run live: one generator of workloads for both.

use farm_tests::Workplace;
use serde_json::Value;

const SLEEPER: &str = "
version: 1.0
provider: {name: openfaas, gateway: http://127.0.0.1:8080}
functions:
  sleeper:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {FARM_NAME: sleeper, FARM_SLOTS: '64'}
";

#[tokio::test]
async fn a_live_farm_is_sent_the_tasks_that_the_simulator_has() {
    let workplace = Workplace::new();
    workplace.copy("template", "template");
    workplace.copy("examples/sleeper", "sleeper");
    workplace.write("stack.yml", SLEEPER);
    let farm = |words: &[&str]| -> Value {
        let words = [
            words,
            &["--scenario", "paper-shuffled", "--seed", "3", "--json"],
        ]
        .concat();
        serde_json::from_str(&workplace.farm(&words)).unwrap()
    };
    let simulated = farm(&["simulate", "--policy", "static:parallelism=32"]);
    assert_eq!(simulated["submitted"], 1140);

    let _up = workplace.up(&[]).await;
    let sent = farm(&["load", "sleeper", "--time-scale", "0.02"]);
    assert_eq!(sent["offered"], simulated["submitted"]);
    assert_eq!((&sent["done"], &sent["lost"]), (&1140.into(), &0.into()));
}
