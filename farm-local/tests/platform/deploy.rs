//! Deploying through the gateway: what is known runs, what is unknown is refused.

use farm_local::Event;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Fixture, Running, function, stack_of, until};

fn deployment(greeting: &str) -> Value {
    json!({"service": "work", "image": "fixture:2", "envVars": {"GREETING": greeting}, "labels": {}})
}

async fn deploy(running: &Running, method: Method, body: Value) -> (u16, String) {
    let response = running.send(method, "/system/functions", body).await;
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_function_is_removed_and_brought_back() {
    let mut running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    let first = running.get("/function/work/env/HOSTNAME").await;
    let (status, _) = deploy(&running, Method::POST, deployment("x")).await;
    assert_eq!(status, 500, "it exists");
    let removal = json!({"functionName": "work"});
    assert_eq!(
        deploy(&running, Method::DELETE, removal.clone()).await,
        (202, String::new())
    );
    assert_eq!(deploy(&running, Method::DELETE, removal).await.0, 404);
    assert_eq!(running.get("/system/functions").await, "[]");
    assert_eq!(running.post("/function/work").await.0, 404);
    running
        .event(|event| matches!(event, Event::ReplicaStopped { .. }))
        .await;

    assert_eq!(
        deploy(&running, Method::PUT, deployment("again")).await.0,
        404
    );
    assert_eq!(
        deploy(&running, Method::POST, deployment("again")).await,
        (202, String::new())
    );
    running.wait_available("work", 1).await;
    assert_eq!(running.get("/function/work/env/GREETING").await, "again");
    assert_eq!(running.status("work").await.image, "fixture:2");
    assert_ne!(
        running.get("/function/work/env/HOSTNAME").await,
        first,
        "no name is used twice"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_what_can() {
    let running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    let (status, text) = deploy(
        &running,
        Method::POST,
        json!({"service": "figlet", "image": "f"}),
    )
    .await;
    assert_eq!(status, 400);
    assert!(text.contains("work") && text.contains("Docker"), "{text}");
    let mut secret = deployment("x");
    secret["secrets"] = json!(["gone"]);
    let (status, text) = deploy(&running, Method::PUT, secret).await;
    assert_eq!(status, 400);
    assert!(text.contains("gone"), "{text}");
    assert_eq!(
        deploy(&running, Method::POST, json!("nonsense")).await.0,
        400
    );
    running.stop().await;
}

#[tokio::test]
async fn an_update_takes_over_without_refusing_a_request() {
    // It serves for a while after SIGTERM, as a function of the SDK does.
    let drains = function("work", ", environment: {BEHAVIOUR: drains}");
    let mut running = Fixture::new(&stack_of(&drains)).start().await;
    let before = running.get("/function/work/env/HOSTNAME").await;
    running.scale("work", 2).await;
    running.wait_available("work", 2).await;
    let mut update = deployment("new");
    update["envVars"]["BEHAVIOUR"] = json!("starts slowly");
    assert_eq!(
        deploy(&running, Method::PUT, update).await,
        (202, String::new())
    );
    let mut greetings = Vec::new();
    while greetings.last().is_none_or(|last| last != "new") {
        greetings.push(running.get("/function/work/env/GREETING").await);
    }
    assert_eq!(
        greetings[0], "unset",
        "the old replica served while the new one started"
    );
    for _ in 0..2 {
        running
            .event(|event| matches!(event, Event::ReplicaStopped { .. }))
            .await;
    }
    assert_eq!(running.get("/function/work/env/GREETING").await, "new");
    assert_ne!(running.get("/function/work/env/HOSTNAME").await, before);
    // An update without a minimum leaves the number of replicas alone.
    running.wait_available("work", 2).await;
    running.stop().await;
}

#[tokio::test]
async fn an_update_that_does_not_start_leaves_the_old_replica_serving() {
    let mut running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    let mut update = deployment("new");
    update["envVars"]["BEHAVIOUR"] = json!("broken");
    assert_eq!(deploy(&running, Method::PUT, update).await.0, 202);
    for _ in 0..3 {
        running
            .event(|event| matches!(event, Event::ReplicaFailed { .. }))
            .await;
        assert_eq!(running.get("/function/work/env/GREETING").await, "unset");
    }
    assert_eq!(
        deploy(&running, Method::PUT, deployment("mended")).await.0,
        202
    );
    running
        .event(|event| matches!(event, Event::ReplicaReady { .. }))
        .await;
    until("the mended one alone", async || {
        running.get("/function/work/env/GREETING").await == "mended"
    })
    .await;
    running.stop().await;
}
