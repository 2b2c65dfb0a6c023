//! Messages may hold many tasks: what is counted, bounded and told is tasks all the same.

use std::time::Duration;

use farm_core::http::{Accepted, NDJSON, Problem};
use farm_core::telemetry::WorkerTelemetry;
use farm_tests::{FarmOnNats, Function, NatsServer, Replica, eventually};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// A farm whose messages hold 64 tasks.
fn chunked(nats: &NatsServer) -> Function {
    Function::sleeper(nats).set("FARM_GRANULARITY", 64)
}

/// A submit of so many tasks, cut at every 64th however its body comes.
fn submit(emitter: &Replica, key: &str, tasks: usize) -> RequestBuilder {
    let request = emitter.http.request(Method::POST, "/");
    let request = request.header("content-type", NDJSON);
    request
        .header("Idempotency-Key", key)
        .body("{}\n".repeat(tasks))
}

async fn waiting(replica: &Replica) -> (u64, u64) {
    let farm = replica.http.farm().await;
    (farm.backlog_tasks, farm.backlog_messages)
}

#[tokio::test]
async fn a_queue_of_chunks_is_told_in_tasks() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    assert_eq!(waiting(&front).await, (0, 0));
    let job = front.http.submitted(submit(&front, "a", 640)).await;
    assert_eq!(waiting(&front).await, (640, 10));
    let metrics = front.metrics().await;
    assert_eq!(metrics.sum("farm_backlog_tasks", &[]), Some(640.0));
    assert_eq!(metrics.sum("farm_in_flight_tasks", &[]), Some(0.0));

    // What workers say counts more, and a collector hears it, too.
    let collector = sleeper.clone().roles("collector").start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let mut sequence = 0;
    eventually("both hear it", SOON, async || {
        sequence += 1;
        let report = WorkerTelemetry {
            replica: "worker".to_owned(),
            sequence,
            tasks_done: 32 * sequence,
            messages: sequence,
            ..WorkerTelemetry::default()
        };
        let report = serde_json::to_vec(&report).unwrap();
        let subject = on_nats.topology.telemetry_subject();
        let told = on_nats.client.publish(subject, report.into());
        told.await.unwrap();
        let both = [waiting(&front).await, waiting(&collector).await];
        (both == [(320, 10); 2]).then_some(())
    })
    .await;

    let worker = sleeper.roles("worker").start().await;
    front.http.ended(&job.job, SOON).await;
    eventually("the queue is empty", SOON, async || {
        let farm = front.http.farm().await;
        let in_flight = (farm.in_flight_tasks, farm.in_flight_messages);
        (waiting(&front).await == (0, 0) && in_flight == (0, 0)).then_some(())
    })
    .await;
    // A worker knows what it computed.
    let more = front.http.submitted(submit(&front, "b", 128)).await;
    front.http.ended(&more.job, SOON).await;
    let done = [("role", "worker"), ("outcome", "done")];
    let metrics = worker.metrics().await;
    assert_eq!(metrics.sum("farm_tasks_total", &done), Some(768.0));
}

#[tokio::test]
async fn a_queue_is_full_when_its_messages_hold_as_many_tasks_as_it_may() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats).set("FARM_QUEUE_MAX_TASKS", 100);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    // The last message that is let in may go beyond.
    for key in ["a", "b"] {
        front.http.submitted(submit(&front, key, 64)).await;
    }
    for _ in 0..3 {
        let answer = submit(&front, "c", 64).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers().contains_key("retry-after"));
        let problem: Problem = answer.json().await.unwrap();
        assert!(
            problem.error.contains("about 128 tasks")
                && problem.error.contains("FARM_QUEUE_MAX_TASKS"),
            "{problem:?}"
        );
    }
    assert_eq!(waiting(&front).await, (128, 2));

    let _worker = sleeper.roles("worker").start().await;
    let accepted: Accepted = eventually("there is room again", SOON, async || {
        let answer = submit(&front, "c", 64).send().await.unwrap();
        let taken = answer.status() == StatusCode::ACCEPTED;
        taken.then_some(answer)?.json().await.ok()
    })
    .await;
    let status = front.http.ended(&accepted.job, SOON).await;
    assert_eq!((status.done, status.failed), (64, 0));
}

#[tokio::test]
async fn a_submit_larger_than_the_queue_goes_on_as_room_comes_free() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats).set("FARM_QUEUE_MAX_TASKS", 100);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let submitting = tokio::spawn(submit(&front, "a", 640).send());
    eventually("it waits for room", SOON, async || {
        (waiting(&front).await == (128, 2)).then_some(())
    })
    .await;
    let _worker = sleeper.roles("worker").start().await;
    let answer = submitting.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted: Accepted = answer.json().await.unwrap();
    assert_eq!(accepted.accepted, 640);
    let status = front.http.ended(&accepted.job, SOON).await;
    assert_eq!((status.done, status.failed), (640, 0));
}

#[tokio::test]
async fn a_task_that_fails_late_is_retried_and_counted_as_any_other() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats).set("FARM_BACKOFF", "10ms");
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    // The first is at work when its chunk is cut for taking too long.
    let tasks = (0..60).map(|number| match number {
        0 => json!({"seconds": 0.5, "fail": "transient", "fail_attempts": 1}),
        1 => json!({"fail": "transient", "fail_attempts": 1}),
        2 => json!({"fail": "permanent"}),
        _ => json!({}),
    });
    let job = replica.http.submit_lines(tasks).await.job;
    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (59, 1));
    // One for the chunk, one for each of three tasks alone, and those of its parts.
    assert!(on_nats.counts().await.results > 4, "it was not cut");
    let metrics = replica.metrics().await;
    let counted = |outcome| {
        let labels = [("role", "worker"), ("outcome", outcome)];
        metrics.sum("farm_tasks_total", &labels)
    };
    assert_eq!(counted("retried"), Some(2.0));
    assert_eq!(counted("duplicate"), None);
    assert_eq!(counted("failed"), Some(1.0));
}
