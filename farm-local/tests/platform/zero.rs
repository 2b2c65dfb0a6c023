//! No replicas: a request wakes a function, and waits only where there is hope.

use std::net::TcpListener;

use farm_local::{Event, Platform};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{Fixture, Running, function, stack_of};

const FUNCTION: &str = "work";

async fn at_zero() -> Running {
    let running = Fixture::new(&stack_of(&function(FUNCTION, "")))
        .start()
        .await;
    assert_eq!(running.scale(FUNCTION, 0).await, 202);
    running.wait_available(FUNCTION, 0).await;
    running
}

#[tokio::test]
async fn requests_wake_a_function_once_and_are_answered() {
    let mut running = at_zero().await;
    let path = format!("/function/{FUNCTION}/env/HOSTNAME");
    let requests = (0..5).map(|_| running.get(&path));
    let mut instances = join_all(requests).await;
    instances.dedup();
    assert_eq!(instances.len(), 1, "{instances:?}");
    assert_eq!(running.status(FUNCTION).await.replicas, 1);
    let woken = |event: &Event| matches!(event, Event::Scaled { from: 0, to: 1, .. });
    running.event(woken).await;
    running.stop().await;
}

#[tokio::test]
async fn a_function_that_cannot_start_is_given_up() {
    let running = at_zero().await;
    let broken = json!({
        "service": FUNCTION,
        "image": "fixture:1",
        "envVars": {"BEHAVIOUR": "broken"},
    });
    let updated = running.send(Method::PUT, "/system/functions", broken).await;
    assert_eq!(updated.status(), 202);
    let refused = running
        .request(Method::GET, "/function/work")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["x-openfaas-internal"], "proxy");
    assert_eq!(
        refused.text().await.unwrap().trim(),
        "No endpoints available for: work."
    );
    running.stop().await;
}

#[tokio::test]
async fn an_autoscaler_may_take_replicas_away_while_the_platform_starts() {
    let keys = ", environment: {BEHAVIOUR: starts slowly}";
    let fixture = Fixture::new(&stack_of(&function(FUNCTION, keys)));
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (events, mut told) = mpsc::channel(100);
    let mut options = fixture.options();
    (options.port, options.events) = (Some(address.port()), Some(events));
    let scaling = async {
        while !matches!(told.recv().await.unwrap(), Event::Deployed { .. }) {}
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{address}/system/scale-function/work");
        let none = client.post(url).json(&json!({"replicas": 0})).send();
        assert_eq!(none.await.unwrap().status(), 202);
    };
    let (started, ()) = tokio::join!(Platform::start(options), scaling);
    let platform = started.expect("it starts");
    assert_eq!(platform.functions(), [(FUNCTION.to_owned(), 0)]);
    platform.stop().await;
}
