//! How long the farm takes to answer a step of the load, and its first task after none.

use std::time::{Duration, Instant};

use farm_core::decision::{DecisionEvent, Outcome};
use farm_tests::{ScaledFarm, Scaling, eventually};
use serde_json::json;

const REPEATS: usize = 10;
const SOON: Duration = Duration::from_secs(60);
/// The control interval people get who set none.
const INTERVAL: Duration = Duration::from_secs(2);
/// A replica that leaves still takes tasks for a moment.
const DRAINS_WITHIN: Duration = Duration::from_secs(1);

/// Prints both tables.
pub async fn run() {
    println!("| reaction, interval {INTERVAL:?}, {REPEATS} times | median s | max s |");
    println!("|---|---|---|");
    steps().await;
    wakes().await;
}

/// A burst of tasks for one replica: until more are asked for, and until they take tasks.
async fn steps() {
    let mut farm = idle_farm("1").start().await;
    let (mut applied, mut available) = (Vec::new(), Vec::new());
    for repeat in 0..REPEATS {
        at_rest(&farm, 1, repeat).await;
        farm.decisions.forget();
        let asked = Instant::now();
        farm.up
            .function("sleeper")
            .submit(&vec![json!({"seconds": 0.2}); 200])
            .await;
        decided(&farm, |event| {
            event.outcome == Outcome::Applied && event.target_parallelism > 1
        })
        .await;
        applied.push(asked.elapsed());
        eventually("eight replicas", SOON, async || {
            (farm.up.available("sleeper-worker").await == 8).then_some(())
        })
        .await;
        available.push(asked.elapsed());
    }
    report("a burst: until the change is applied", applied);
    report("a burst: until eight replicas answer", available);
    farm.up.stop().await;
}

/// One task for a farm at zero: until its result.
async fn wakes() {
    let mut farm = idle_farm("0").with("idle", "1s").start().await;
    let function = farm.up.function("sleeper");
    let mut results = Vec::new();
    for repeat in 0..REPEATS {
        at_rest(&farm, 0, repeat).await;
        let asked = Instant::now();
        let job = function.submit(&json!({"seconds": 0.0})).await.job;
        function.ended(&job, SOON).await;
        results.push(asked.elapsed());
    }
    report("from zero: until the first result", results);
    farm.up.stop().await;
}

fn idle_farm(min: &str) -> Scaling {
    Scaling::by("queue")
        .with("policy.window", "1s")
        .with("min", min)
        .with("max", 8)
        .with("slots.max", 1)
        .with("interval", format!("{INTERVAL:?}"))
        .with("stabilisation", "0s")
}

/// Waits until the farm has come to rest, then for another part of an interval each time.
async fn at_rest(farm: &ScaledFarm, replicas: u64, repeat: usize) {
    eventually("a farm at rest", SOON, async || {
        (farm.up.available("sleeper-worker").await == replicas).then_some(())
    })
    .await;
    let phase = INTERVAL.mul_f64(repeat as f64 / REPEATS as f64);
    tokio::time::sleep(DRAINS_WITHIN + phase).await;
}

async fn decided(farm: &ScaledFarm, is_it: impl Fn(&DecisionEvent) -> bool) {
    eventually("a decision", SOON, async || {
        farm.decisions.all().iter().any(&is_it).then_some(())
    })
    .await;
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let seconds = |time: Duration| time.as_secs_f64();
    println!(
        "| {what} | {:.2} | {:.2} |",
        seconds(times[times.len() / 2]),
        seconds(times[times.len() - 1])
    );
}
