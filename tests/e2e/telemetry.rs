//! What a replica measures, under the names dashboards and the autoscaler know.

use std::time::Duration;

use farm_tests::{Function, Metrics, NatsServer, Replica, eventually};
use reqwest::{Method, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

async fn when(replica: &Replica, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    eventually(what, SOON, async || {
        Some(replica.metrics().await).filter(|metrics| holds(metrics))
    })
    .await
}

fn tasks(metrics: &Metrics, role: &str, outcome: &str) -> Option<f64> {
    let labels = [("farm", "sleeper"), ("role", role), ("outcome", outcome)];
    metrics.sum("farm_tasks_total", &labels)
}

#[tokio::test]
async fn tasks_are_counted_and_timed_by_role_and_outcome() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_SLOTS", 3)
        .set("FARM_BACKOFF", "10ms");
    let replica = sleeper.start().await;
    let body = json!([
        {"seconds": 0.1}, {"seconds": 1.5}, {"fail": "permanent"},
        {"fail": "transient", "fail_attempts": 1},
    ]);
    let request = replica.http.request(Method::POST, "/");
    let request = request.header("farm-deadline", "1s").json(&body);
    let job = replica.http.submitted(request).await.job;
    replica.http.ended(&job, SOON).await;

    let metrics = when(&replica, "everything is counted", |metrics| {
        tasks(metrics, "collector", "done") == Some(3.0)
            && tasks(metrics, "worker", "done") == Some(3.0)
    })
    .await;

    assert_eq!(tasks(&metrics, "emitter", "accepted"), Some(4.0));
    assert_eq!(tasks(&metrics, "worker", "failed"), Some(1.0));
    assert_eq!(tasks(&metrics, "worker", "retried"), Some(1.0));
    assert_eq!(tasks(&metrics, "collector", "failed"), Some(1.0));
    let farm = [("farm", "sleeper")];
    let value = |name| {
        let value = metrics.sum(name, &farm);
        value.unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(value("farm_task_service_seconds_count"), 4.0);
    assert_eq!(value("farm_task_sojourn_seconds_count"), 4.0);
    let served = value("farm_task_service_seconds_sum");
    assert!((1.6..10.0).contains(&served), "{served}");
    assert!(value("farm_task_sojourn_seconds_sum") >= served);
    assert_eq!(value("farm_tasks_with_deadline_total"), 4.0);
    assert_eq!(value("farm_slots"), 3.0);
    assert_eq!(value("farm_slots_busy"), 0.0);
    assert_eq!(value("farm_dead_tasks"), 1.0);
    let cold_start = value("farm_cold_start_seconds");
    assert!((0.001..30.0).contains(&cold_start), "{cold_start}");
    assert_eq!(
        metrics.sum("farm_jobs_total", &[("event", "accepted")]),
        Some(1.0)
    );
    assert_eq!(
        metrics.sum("farm_jobs_total", &[("event", "ended")]),
        Some(1.0)
    );
    // A failure and a task of 1.5 s missed their second.
    assert_eq!(value("farm_qos_ratio"), 0.5);
    assert_eq!(replica.http.job(&job).await.qos_ratio, Some(0.5));
}

#[tokio::test]
async fn the_queue_is_read_for_the_scrape() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    front.http.submit(&vec![json!({"seconds": 30}); 7]).await;
    let metrics = front.metrics().await;
    assert_eq!(metrics.sum("farm_backlog_tasks", &[]), Some(7.0));
    assert_eq!(metrics.sum("farm_in_flight_tasks", &[]), Some(0.0));

    let worker = sleeper.roles("worker").set("FARM_SLOTS", 2).start().await;
    // A scrape reads the queue before it reads the slots: the two may be a task apart in one scrape.
    when(&worker, "two tasks are under way, five wait", |metrics| {
        metrics.sum("farm_slots_busy", &[]) == Some(2.0)
            && metrics.sum("farm_backlog_tasks", &[]) == Some(5.0)
            && metrics.sum("farm_in_flight_tasks", &[]) == Some(2.0)
    })
    .await;
}

#[tokio::test]
async fn a_scrape_is_answered_though_nats_is_away() {
    let mut nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    nats.kill();
    let metrics = replica.metrics().await;
    assert_eq!(metrics.sum("farm_slots", &[]), Some(1.0));
}

#[tokio::test]
async fn requests_are_counted_as_the_watchdog_counts_them() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    replica.http.submit(&json!({})).await;
    for unknown in ["/jobs/a", "/jobs/b", "/jobs/c"] {
        let status = replica.http.status_of(unknown).await;
        assert_eq!(status, Some(StatusCode::NOT_FOUND));
    }
    for _ in 0..5 {
        replica.http.status_of("/_/health").await;
        replica.http.status_of("/_/ready").await;
    }

    let metrics = replica.metrics().await;

    let of = |name, code, method| metrics.sum(name, &[("code", code), ("method", method)]);
    assert_eq!(of("http_requests_total", "202", "post"), Some(1.0));
    assert_eq!(of("http_requests_total", "404", "get"), Some(3.0));
    // Health is not counted, and neither paths nor jobs become labels.
    assert_eq!(metrics.sum("http_requests_total", &[]), Some(4.0));
    assert_eq!(
        metrics
            .names()
            .filter(|name| *name == "http_requests_total")
            .count(),
        2
    );
    let timed = of("http_request_duration_seconds_count", "202", "post");
    assert_eq!(timed, Some(1.0));
    let buckets = metrics.sum("http_request_duration_seconds_bucket", &[("le", "+Inf")]);
    assert_eq!(buckets, Some(4.0));
    assert_eq!(metrics.sum("http_requests_in_flight", &[]), Some(0.0));
}
