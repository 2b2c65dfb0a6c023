//! Tasks that take three hundred times the ack wait, as ten minutes are to two seconds.

use std::time::{Duration, Instant};

use farm_tests::{Replica, eventually};
use serde_json::json;

use crate::report::{Report, quantile};
use crate::rig::Rig;

const ACK_WAIT: Duration = Duration::from_millis(200);
const KILLS: usize = 20;
const SOON: Duration = Duration::from_secs(30);

/// Tasks of `seconds` that live, then tasks whose worker is killed.
pub async fn run(seconds: u64) -> Report {
    let mut report = Report::new("long-task");
    let variables = [("FARM_ACK_WAIT", "200ms".to_owned())];
    let mut rig = Rig::start(&variables, 2, 4).await;
    let tasks = [
        json!({"seconds": seconds}),
        json!({"seconds": seconds, "block": true}),
        json!({"seconds": seconds, "block": true}),
        json!({"seconds": seconds / 2, "spin": true}),
    ];
    let started = Instant::now();
    let job = rig.front.http.submit(&tasks).await.job;
    let limit = Duration::from_secs(seconds) + SOON;
    let ended = rig.ended(job.as_str(), limit).await;
    report.check(ended.is_some_and(|status| status.done == 4), || {
        "the tasks are not done".to_owned()
    });
    let deliveries = rig.on_nats.deliveries().await;
    report.figure("ack wait, s", ACK_WAIT.as_secs_f64());
    report.figure(
        "longest task, ack waits",
        seconds as f64 / ACK_WAIT.as_secs_f64(),
    );
    report.figure("tasks", tasks.len() as f64);
    report.figure("deliveries", deliveries as f64);
    report.figure("all done, s", started.elapsed().as_secs_f64());
    report.check(deliveries == 4, || "a task was delivered again".to_owned());

    rig.workers.clear();
    let mut waits = Vec::new();
    for _ in 0..KILLS {
        waits.push(redelivered_seconds(&rig).await);
    }
    let promise_seconds = 2.0 * ACK_WAIT.as_secs_f64();
    let late = waits.iter().filter(|wait| **wait > promise_seconds).count();
    report.figure("workers killed", KILLS as f64);
    report.figure(
        "killed to delivered again, p50, s",
        quantile(&mut waits, 0.5),
    );
    report.figure(
        "killed to delivered again, max, s",
        quantile(&mut waits, 1.0),
    );
    report.check(late == 0, || {
        format!("{late} of {KILLS} were late: {promise_seconds} s are promised")
    });
    report
}

/// Seconds from the kill of a task's worker to its next delivery.
async fn redelivered_seconds(rig: &Rig) -> f64 {
    let worker = rig.function.clone().roles("worker");
    let mut lost = worker.start().await;
    let job = rig.front.http.submit(&json!({"seconds": 1.0})).await.job;
    in_hands(&rig.front).await;
    let _heir = worker.start().await;
    let before = rig.on_nats.deliveries().await;
    lost.kill();
    let killed = Instant::now();
    eventually("the task is delivered again", SOON, async || {
        (rig.on_nats.deliveries().await > before).then_some(())
    })
    .await;
    let seconds = killed.elapsed().as_secs_f64();
    rig.ended(job.as_str(), SOON).await;
    seconds
}

async fn in_hands(front: &Replica) {
    eventually("the task is taken up", SOON, async || {
        let farm = front.http.farm().await;
        ((farm.in_flight_tasks, farm.backlog_tasks) == (1, 0)).then_some(())
    })
    .await;
}
