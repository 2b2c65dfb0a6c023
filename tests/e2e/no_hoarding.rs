//! Tasks go to whoever is free: a busy worker keeps none that another could start.

use std::collections::HashMap;
use std::time::Duration;

use farm_core::http::TaskOutcome;
use farm_tests::{FarmOnNats, Function, NatsServer, eventually, holds_for};
use serde_json::json;

const TASKS: usize = 20;
const SOON: Duration = Duration::from_secs(40);

fn shares(results: &[TaskOutcome]) -> HashMap<&str, usize> {
    let mut shares = HashMap::new();
    for result in results {
        *shares.entry(result.worker.as_str()).or_default() += 1;
    }
    shares
}

#[tokio::test]
async fn two_workers_share_long_tasks_evenly() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let workers = sleeper.roles("worker").start_many(2).await;

    let job = front
        .http
        .submit(&vec![json!({"seconds": 0.3}); TASKS])
        .await
        .job;
    front.http.ended(&job, SOON).await;

    let results = front.http.results(&job).await;
    let shares = shares(&results);
    for worker in &workers {
        let share = shares.get(worker.name()).copied().unwrap_or(0);
        assert!((8..=12).contains(&share), "{shares:?}");
    }
}

#[tokio::test]
async fn a_slot_holds_one_long_task_and_no_second() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let _workers = sleeper.clone().roles("worker").start_many(2).await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;

    let job = front.http.submit(&vec![json!({"seconds": 2}); 3]).await.job;
    eventually("both slots are busy", SOON, async || {
        (on_nats.deliveries().await >= 2).then_some(())
    })
    .await;
    holds_for("the third task waits", Duration::from_secs(1), async || {
        on_nats.deliveries().await == 2
    })
    .await;
    front.http.ended(&job, SOON).await;
}

#[tokio::test]
async fn a_worker_used_to_short_tasks_leaves_long_ones_to_a_newcomer() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.roles("worker");
    let old = worker.start().await;
    let short = front.http.submit(&vec![json!({}); 300]).await.job;
    front.http.ended(&short, SOON).await;

    let long = front
        .http
        .submit(&vec![json!({"seconds": 0.5}); TASKS])
        .await
        .job;
    front.http.done(&long, 1, SOON).await;
    let newcomer = worker.start().await;
    front.http.ended(&long, SOON).await;

    let results = front.http.results(&long).await;
    let shares = shares(&results);
    let share = |name| shares.get(name).copied().unwrap_or(0);
    assert_eq!(share(old.name()) + share(newcomer.name()), TASKS);
    assert!(share(newcomer.name()) >= TASKS / 4, "{shares:?}");
}
