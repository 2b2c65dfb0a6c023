//! A task may take long: it stays with its worker as long as that lives, and no longer.

use std::time::Duration;

use farm_tests::{FarmOnNats, Function, NatsServer, Replica, Signal, eventually, holds_for};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

async fn in_hands(face: &Replica, tasks: u64) {
    eventually("the tasks are taken up", SOON, async || {
        let farm = face.http.farm().await;
        ((farm.in_flight_tasks, farm.backlog_tasks) == (tasks, 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_task_six_times_the_ack_wait_is_delivered_once_even_if_it_blocks_its_thread() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_ACK_WAIT", "1s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker").set("FARM_SLOTS", 4);
    let busy = worker.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    // The blocking ones hold up every thread the worker's runtime has on a small machine.
    let tasks = [
        json!({"seconds": 6}),
        json!({"seconds": 3, "block": true}),
        json!({"seconds": 3, "block": true}),
        json!({"seconds": 3, "block": true}),
    ];
    let job = front.http.submit(&tasks).await.job;
    in_hands(&front, 4).await;
    // Somebody who would take what is delivered again.
    let _idle = worker.start().await;

    let status = front.http.ended(&job, SOON).await;

    assert_eq!((status.done, status.failed), (4, 0));
    assert_eq!(on_nats.deliveries().await, 4);
    for result in front.http.results(&job).await {
        assert_eq!((result.attempt, result.worker.as_str()), (1, busy.name()));
    }
}

#[tokio::test]
async fn a_killed_workers_task_is_delivered_again_within_two_ack_waits() {
    const ACK_WAIT: Duration = Duration::from_secs(2);
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_ACK_WAIT", "2s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker");
    let mut lost = worker.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let job = front.http.submit(&json!({"seconds": 3})).await.job;
    in_hands(&front, 1).await;
    let heir = worker.start().await;

    lost.kill();
    eventually("the task is delivered again", 2 * ACK_WAIT, async || {
        (on_nats.deliveries().await == 2).then_some(())
    })
    .await;

    let status = front.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (1, 0));
    let results = front.http.results(&job).await;
    assert_eq!(
        (results[0].attempt, results[0].worker.as_str()),
        (2, heir.name())
    );
}

#[tokio::test]
async fn a_worker_that_wakes_up_late_adds_no_second_result() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_ACK_WAIT", "1s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker");
    let mut suspended = worker.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let job = front.http.submit(&json!({"seconds": 2})).await.job;
    in_hands(&front, 1).await;

    suspended.process.signal(Signal::STOP);
    let heir = worker.start().await;
    front.http.ended(&job, SOON).await;
    suspended.process.signal(Signal::CONT);

    eventually("the late result is refused", SOON, async || {
        let metrics = suspended.metrics().await;
        let late = [("role", "worker"), ("outcome", "duplicate")];
        (metrics.sum("farm_tasks_total", &late) == Some(1.0)).then_some(())
    })
    .await;
    holds_for("one result", Duration::from_millis(500), async || {
        on_nats.counts().await.results == 1
    })
    .await;
    let status = front.http.job(&job).await;
    assert_eq!(
        (status.done, status.failed, status.accepted),
        (1, 0, Some(1))
    );
    let results = front.http.results(&job).await;
    assert_eq!(
        (results.len(), results[0].worker.as_str()),
        (1, heir.name())
    );
}
