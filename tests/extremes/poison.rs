//! Tasks that kill their worker every time, among tasks that do not.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use farm_tests::{FarmOnNats, Function, NatsServer, Restarted, eventually};
use serde_json::{Value, json};

use crate::report::Report;
use crate::tally;

const WORKERS: usize = 2;
const DELIVERIES: u64 = 5;
const BEFORE: Duration = Duration::from_secs(8);
const AFTER: Duration = Duration::from_secs(8);
/// Tasks of the load, one job each time.
const BATCH: usize = 10;
const BATCH_EVERY: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(300);

/// With one slot and with eight, one poison task; then twenty of them at once.
pub async fn run() -> Vec<Report> {
    vec![
        one("poison, 1 task, 2 workers of 1 slot", 1).await,
        one("poison, 1 task, 2 workers of 8 slots", 8).await,
        many("poison, 20 tasks in 1,000, 2 workers of 1 slot", 1).await,
        many("poison, 20 tasks in 1,000, 2 workers of 8 slots", 8).await,
    ]
}

struct Farm {
    _nats: NatsServer,
    front: farm_tests::Replica,
    workers: Restarted,
    on_nats: FarmOnNats,
}

async fn start(slots: u32) -> Farm {
    let nats = NatsServer::start().await;
    let function = Function::sleeper(&nats)
        .set("FARM_LOG", "warn")
        .set("FARM_ACK_WAIT", "1s")
        .set("FARM_MAX_ATTEMPTS", 3)
        .set("FARM_MAX_DELIVERIES", DELIVERIES);
    let front = function.clone().roles("emitter,collector").start().await;
    let worker = function.clone().roles("worker").set("FARM_SLOTS", slots);
    let workers = Restarted::start(&worker, WORKERS).await;
    let on_nats = FarmOnNats::connect(&nats, &function).await;
    Farm {
        _nats: nats,
        front,
        workers,
        on_nats,
    }
}

fn now_seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// A steady load of about a third of what one slot of each worker can do; one poison in it.
async fn one(name: &'static str, slots: u32) -> Report {
    let mut report = Report::new(name);
    let farm = start(slots).await;
    let ordinary = json!({"seconds": 0.01});
    let mut jobs = 0;
    let started = (Instant::now(), now_seconds());
    let mut poison = None;
    let mut dead = None;
    let mut tick = tokio::time::interval(BATCH_EVERY);
    while dead.is_none_or(|(at, _): (Instant, f64)| at.elapsed() < AFTER) {
        tick.tick().await;
        farm.front.http.submit(&vec![&ordinary; BATCH]).await;
        jobs += 1;
        if poison.is_none() && started.0.elapsed() > BEFORE {
            let task = json!({"seconds": 0.05, "fail": "exit"});
            poison = Some((farm.front.http.submit(&task).await.job, now_seconds()));
        }
        if dead.is_none() && farm.on_nats.counts().await.dead > 0 {
            dead = Some((Instant::now(), now_seconds()));
        }
        if started.0.elapsed() > LIMIT {
            report.breaks(format!("no dead letter within {LIMIT:?}"));
            return report;
        }
    }
    let end_seconds = now_seconds();
    eventually("the queue is empty", LIMIT, async || {
        (farm.on_nats.counts().await.tasks == 0).then_some(())
    })
    .await;
    let (Some((poison, poisoned_seconds)), Some((_, dead_seconds))) = (poison, dead) else {
        return report;
    };
    let all = tally::outcomes(&farm.on_nats).await;
    let throughput = |from: f64, to: f64| {
        let inside = |stored: &&tally::Stored| (from..to).contains(&stored.stored_seconds);
        all.iter().filter(inside).count() as f64 / (to - from)
    };
    report.figure("offered, tasks/s", BATCH as f64 / BATCH_EVERY.as_secs_f64());
    report.figure(
        "done before, tasks/s",
        throughput(started.1, poisoned_seconds),
    );
    report.figure(
        "done meanwhile, tasks/s",
        throughput(poisoned_seconds, dead_seconds),
    );
    // What was held up is done in addition.
    report.figure("done after, tasks/s", throughput(dead_seconds, end_seconds));
    report.figure("poison to dead letter, s", dead_seconds - poisoned_seconds);
    report.figure("deliveries allowed", DELIVERIES as f64);
    report.figure("workers restarted", farm.workers.restarts() as f64);
    let failed: HashSet<_> = all
        .iter()
        .filter(|stored| stored.failed)
        .map(|stored| stored.job.as_str())
        .collect();
    report.check(failed == HashSet::from([poison.as_str()]), || {
        format!("{} jobs have dead letters, one is poison", failed.len())
    });
    let expected = jobs * BATCH + 1;
    report.check(all.len() == expected, || {
        format!("{} outcomes of {expected} tasks", all.len())
    });
    report
}

/// A thousand tasks, every fiftieth of them poison.
async fn many(name: &'static str, slots: u32) -> Report {
    const TASKS: usize = 1000;
    const EVERY: usize = 50;
    let mut report = Report::new(name);
    let farm = start(slots).await;
    let task = |number: usize| -> Value {
        match number % EVERY {
            0 => json!({"seconds": 0.05, "fail": "exit"}),
            _ => json!({"seconds": 0.01}),
        }
    };
    let started = Instant::now();
    let tasks = (0..TASKS).map(task);
    let job = farm.front.http.submit_lines(tasks).await.job;
    let ordinary = (TASKS - TASKS / EVERY) as u64;
    let look = async || (farm.front.http.job(&job).await.done >= ordinary).then_some(());
    eventually("the ordinary tasks are done", LIMIT, look).await;
    report.figure(
        "all ordinary tasks done, s",
        started.elapsed().as_secs_f64(),
    );
    let status = farm.front.http.ended(&job, LIMIT).await;
    report.figure(
        "all poison in the dead letters, s",
        started.elapsed().as_secs_f64(),
    );
    report.figure("workers restarted", farm.workers.restarts() as f64);
    let poison = (TASKS / EVERY) as u64;
    report.figure("dead letters", status.failed as f64);
    report.check((status.done, status.failed) == (ordinary, poison), || {
        format!("{} done, {} failed", status.done, status.failed)
    });
    report
}
