//! What OpenFaaS asks of a function, in good times and bad.

use std::time::Duration;

use farm_tests::{Function, NatsServer, Replica, eventually};
use reqwest::{Method, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const OK: Option<StatusCode> = Some(StatusCode::OK);
const UNAVAILABLE: Option<StatusCode> = Some(StatusCode::SERVICE_UNAVAILABLE);

/// A liveness probe never fails; a readiness probe is to become `ready`.
async fn probes(replica: &Replica, ready: Option<StatusCode>) {
    eventually(&format!("readiness {ready:?}"), SOON, async || {
        assert_eq!(replica.http.status_of("/_/health").await, OK);
        (replica.http.status_of("/_/ready").await == ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_lives_though_nats_is_away_and_is_ready_only_when_it_is_there() {
    let mut nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    nats.kill();
    let mut replica = sleeper.spawn();
    eventually("the ports are open", SOON, async || {
        assert!(replica.process.ended().is_none());
        replica.http.status_of("/_/health").await
    })
    .await;
    probes(&replica, UNAVAILABLE).await;
    let submit = replica.http.request(Method::POST, "/").body("{}");
    let answer = submit.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));

    nats.start_again().await;
    probes(&replica, OK).await;
    nats.kill();
    probes(&replica, UNAVAILABLE).await;
    nats.start_again().await;
    probes(&replica, OK).await;
    let job = replica.http.submit(&json!({})).await.job;
    assert_eq!(replica.http.ended(&job, SOON).await.done, 1);
}

#[tokio::test]
async fn a_full_queue_makes_nobody_sick() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_QUEUE_MAX_TASKS", 1);
    let front = sleeper.roles("emitter,collector").start().await;
    front.http.submit(&json!({})).await;
    let submit = front.http.request(Method::POST, "/").body("{}");
    let answer = submit.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    probes(&front, OK).await;
}

#[tokio::test]
async fn a_draining_replica_lives_is_not_ready_and_takes_nothing_new() {
    let nats = NatsServer::start().await;
    let mut replica = Function::sleeper(&nats).start().await;
    let job = replica.http.submit(&json!({"seconds": 3})).await.job;
    eventually("the task is taken up", SOON, async || {
        (replica.http.farm().await.in_flight_tasks == 1).then_some(())
    })
    .await;

    replica.terminate();
    probes(&replica, UNAVAILABLE).await;
    let submit = replica.http.request(Method::POST, "/").body("{}");
    let answer = submit.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.http.job(&job).await.done, 0, "it still drains");

    assert_eq!(replica.exit(SOON).await.code(), Some(0));
    let next = Function::sleeper(&nats).start().await;
    let status = next.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (1, 0));
    assert_eq!(
        next.http.results(&job).await[0].attempt,
        1,
        "it was finished in time"
    );
}

#[tokio::test]
async fn an_interrupt_is_a_polite_end_too() {
    let nats = NatsServer::start().await;
    let mut replica = Function::sleeper(&nats).start().await;
    replica.process.signal(farm_tests::Signal::INT);
    assert_eq!(replica.exit(SOON).await.code(), Some(0));
}
