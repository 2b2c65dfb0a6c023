//! A worker that is lost takes nothing with it.

use std::collections::HashSet;
use std::time::Duration;

use farm_tests::{Counts, FarmOnNats, Function, NatsServer};
use serde_json::json;

const TASKS: usize = 2_000;

#[tokio::test]
async fn every_task_has_one_result_though_workers_are_killed() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_ACK_WAIT", "1s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker").set("FARM_SLOTS", 4);
    let mut workers = worker.start_many(4).await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;

    let tasks = (0..TASKS).map(|_| json!({"seconds": 0.01}));
    let accepted = front.http.submit_lines(tasks).await;
    let limit = Duration::from_secs(60);
    front.http.done(&accepted.job, 400, limit).await;
    workers[0].kill();
    front.http.done(&accepted.job, 800, limit).await;
    workers[1].kill();
    workers.push(worker.start().await);

    let status = front.http.ended(&accepted.job, limit).await;
    let results = front.http.results(&accepted.job).await;

    assert_eq!(accepted.accepted, TASKS as u64);
    assert_eq!((status.done, status.failed), (TASKS as u64, 0));
    let distinct: HashSet<_> = results.iter().map(|result| &result.task).collect();
    assert_eq!((results.len(), distinct.len()), (TASKS, TASKS));
    assert!(
        results.iter().any(|result| result.attempt > 1),
        "no task was in the hands of a killed worker"
    );
    let counts = Counts {
        tasks: 0,
        results: TASKS as u64,
        dead: 0,
    };
    assert_eq!(on_nats.counts().await, counts);
    assert_eq!(on_nats.tasks_with_outcome().await, TASKS as u64);
}
