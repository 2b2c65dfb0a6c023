//! The autoscaler on a live farm: real worker processes, started and drained through the gateway.

use std::time::{Duration, Instant};

use farm_core::decision::Outcome;
use farm_tests::{Effort, Scaling, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_pool_grows_with_the_load_and_shrinks_after_it() {
    let scaling = Scaling::by("queue")
        .with("policy.window", "500ms")
        .with("max", 6)
        .with("slots.max", 1)
        .with("interval", "200ms")
        .with("stabilisation", "1s")
        .with("deadline", "2s");
    let mut farm = scaling.start().await;
    let function = farm.up.function("sleeper");

    let job = function
        .submit(&vec![json!({"seconds": 0.1}); 300])
        .await
        .job;

    eventually("six replicas", SOON, async || {
        (farm.up.available("sleeper-worker").await == 6).then_some(())
    })
    .await;
    let status = function.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (300, 0));
    eventually("one replica again", SOON, async || {
        (farm.up.available("sleeper-worker").await == 1).then_some(())
    })
    .await;
    let decisions = farm.decisions.all();
    let changes = decisions
        .iter()
        .filter(|event| event.outcome == Outcome::Applied);
    for event in changes {
        assert!(!event.reasons.is_empty(), "{event:?}");
        assert!(event.observed.is_some() && event.allocation.is_some());
    }
    assert_eq!(Effort::of(&decisions).max_parallelism, 6);
    farm.up.stop().await;
}

#[tokio::test]
async fn slots_reach_32_workers_where_five_replicas_are_the_limit() {
    let mut scaling = Scaling::by("static")
        .with("policy.parallelism", 32)
        .with("max", 32)
        .with("slots.max", 8)
        .with("interval", "200ms");
    scaling.arguments = vec!["--ce"];
    let mut farm = scaling.start().await;
    let function = farm.up.function("sleeper");
    // Enough that all slots are busy for a while, however slowly the replicas start.
    let job = function
        .submit(&vec![json!({"seconds": 1.0}); 400])
        .await
        .job;

    eventually("32 busy slots", SOON, async || {
        let last = farm.decisions.all().pop()?.observed?;
        (last.busy_parallelism >= 32 && last.replicas <= 5).then_some(())
    })
    .await;

    assert_eq!(function.ended(&job, SOON).await.done, 400);
    farm.up.stop().await;
}

#[tokio::test]
async fn an_idle_farm_goes_to_zero_and_its_first_task_brings_it_back() {
    let scaling = Scaling::by("queue")
        .with("policy.window", "500ms")
        .with("min", 0)
        .with("max", 4)
        .with("slots.max", 1)
        .with("interval", "200ms")
        .with("stabilisation", "500ms")
        .with("idle", "1s");
    let mut farm = scaling.start().await;
    let function = farm.up.function("sleeper");
    eventually("no replica", SOON, async || {
        (farm.up.available("sleeper-worker").await == 0).then_some(())
    })
    .await;

    let asked = Instant::now();
    let job = function.submit(&json!({"seconds": 0.0})).await.job;
    let status = function.ended(&job, SOON).await;

    println!("first result from zero after {:?}", asked.elapsed());
    assert_eq!(status.done, 1);
    farm.up.stop().await;
}
