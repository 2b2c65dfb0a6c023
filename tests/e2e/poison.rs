//! A task that kills its worker every time takes no other task with it.

use std::time::Duration;

use farm_tests::{Counts, FarmOnNats, Function, NatsServer, Restarted};
use serde_json::json;

const SOON: Duration = Duration::from_secs(120);
const TASKS: usize = 60;
const DELIVERIES: u64 = 4;

/// Ordinary tasks, a poison among them, and two workers that are started again when they die.
async fn poisoned(slots: u32) {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_ACK_WAIT", "1s")
        .set("FARM_MAX_ATTEMPTS", 2)
        .set("FARM_MAX_DELIVERIES", DELIVERIES);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker").set("FARM_SLOTS", slots);
    // Ready before there is anything to die of.
    let workers = Restarted::start(&worker, 2).await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let tasks = (0..TASKS).map(|number| match number {
        3 => json!({"seconds": 0.1, "fail": "exit"}),
        // Some are as slow as the poison: they are in the hands of the worker it kills.
        _ if number % 10 == 0 => json!({"seconds": 0.2}),
        _ => json!({"seconds": 0.01}),
    });
    let job = front.http.submit_lines(tasks).await.job;

    let status = front.http.ended(&job, SOON).await;
    let dead = front.http.dead(&job).await;

    assert_eq!((status.done, status.failed), (TASKS as u64 - 1, 1));
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].body.contains("exit"), "{dead:?}");
    assert!(workers.restarts() >= 1);
    let counts = Counts {
        tasks: 0,
        results: TASKS as u64,
        dead: 1,
    };
    assert_eq!(on_nats.counts().await, counts);
    // The farm is well: nobody dies of what comes now.
    let restarts = workers.restarts();
    let job = front.http.submit(&vec![json!({}); TASKS]).await.job;
    let status = front.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (TASKS as u64, 0));
    assert_eq!(workers.restarts(), restarts);
}

#[tokio::test]
async fn a_poison_task_ends_in_the_dead_letters_and_its_successors_do_not() {
    poisoned(1).await;
}

#[tokio::test]
async fn a_poison_task_takes_none_of_those_beside_it_into_the_dead_letters() {
    poisoned(8).await;
}
