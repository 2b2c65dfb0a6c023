//! Farms that grow and shrink.

use std::time::Duration;

use farm_core::decision::{Allocation, Outcome};
use farm_tests::{eventually, holds_for};

use crate::scene::{SOON, Scene};

const ONE_TASK_A_WORKER: [(&str, &str); 2] =
    [("farm.policy", "queue"), ("farm.policy.window", "0s")];

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_grows_with_its_queue_and_shrinks_again() {
    let scene = Scene::open().await;
    let farm = scene
        .farm(
            "f",
            &[&ONE_TASK_A_WORKER[..], &[("farm.slots.max", "2")]].concat(),
        )
        .await;
    let mut decisions = scene.decisions(&farm).await;
    let scaler = scene.autoscaler("only");
    scaler.leads().await;
    farm.submit(40, Duration::from_millis(300)).await;

    // It may look while the tasks come in: seven or eight of them need the same.
    let split = Allocation {
        replicas: 4,
        slots: 2,
    };
    let grown = decisions
        .until("four replicas", |event| {
            event.outcome == Outcome::Applied && event.allocation == Some(split)
        })
        .await;
    assert!(grown.reasons[0].contains("tasks"), "{:?}", grown.reasons);
    decisions
        .until("all eight at work", |event| {
            let seen = event.observed.as_ref();
            seen.is_some_and(|seen| (seen.busy_parallelism, seen.available_replicas) == (8, 4))
        })
        .await;
    assert_eq!(farm.slots_ordered().await, Some(2));

    let done = decisions
        .until("back to one", |event| {
            event.target_parallelism == 1 && event.outcome == Outcome::Unchanged
        })
        .await;
    assert_eq!(
        done.observed
            .map(|seen| (seen.replicas, seen.backlog_tasks)),
        Some((1, 0))
    );
    assert_eq!(farm.slots_ordered().await, Some(1));
    let platform = scene.gateway.platform();
    assert_eq!(platform.violations, Vec::<String>::new());
    assert!(platform.scaled.iter().all(|(_, n)| (1..=4).contains(n)));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_replicas_do_the_work_of_thirty_two() {
    let scene = Scene::open().await;
    {
        let mut platform = scene.gateway.platform();
        platform.provider = "faas-netes-ce";
        platform.replicas = (1, 5);
    }
    let annotations = [
        ("farm.policy", "static"),
        ("farm.policy.parallelism", "32"),
        ("farm.max", "32"),
        ("farm.slots.max", "7"),
    ];
    let farm = scene.farm("f", &annotations).await;
    let mut decisions = scene.decisions(&farm).await;
    let _scaler = scene.autoscaler("only");
    decisions
        .until("32 or more slots", |event| {
            let seen = event.observed.as_ref();
            event.outcome == Outcome::Unchanged
                && seen.is_some_and(|seen| seen.available_parallelism >= 32)
        })
        .await;
    assert_eq!(scene.gateway.replicas("f"), 5);
    assert_eq!(farm.slots_ordered().await, Some(7));
    assert!(scene.gateway.platform().scaled.iter().all(|(_, n)| *n <= 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clamp_nobody_told_of_is_learnt() {
    let scene = Scene::open().await;
    scene.gateway.platform().replicas = (1, 3);
    let annotations = [("farm.policy", "static"), ("farm.policy.parallelism", "8")];
    let farm = scene.farm("f", &annotations).await;
    let mut decisions = scene.decisions(&farm).await;
    let _scaler = scene.autoscaler("only");
    let learnt = decisions
        .until("the clamp is told", |event| {
            event
                .reasons
                .iter()
                .any(|why| why.contains("8 replicas were asked for and 3 given"))
        })
        .await;
    assert_eq!(learnt.allocation.map(|split| split.replicas), Some(3));
    decisions.until_outcome(Outcome::Unchanged).await;
    let asked = scene.gateway.platform().scaled.len();
    for _ in 0..5 {
        assert_eq!(decisions.next().await.outcome, Outcome::Unchanged);
    }
    assert_eq!(scene.gateway.platform().scaled.len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_scale_request_is_repeated() {
    let scene = Scene::open().await;
    scene.gateway.platform().lost_requests = 2;
    let annotations = [
        ("farm.policy", "static"),
        ("farm.policy.parallelism", "4"),
        ("farm.cooldown", "1h"),
    ];
    let farm = scene.farm("f", &annotations).await;
    let mut decisions = scene.decisions(&farm).await;
    let _scaler = scene.autoscaler("only");
    decisions
        .until("four replicas", |event| {
            event
                .observed
                .as_ref()
                .is_some_and(|seen| seen.available_replicas == 4)
        })
        .await;
    assert_eq!(scene.gateway.platform().scaled.len(), 3);

    // A gateway that forgot: its truth is not what was asked for.
    scene.gateway.set_replicas("f", 1);
    eventually("four replicas again", SOON, async || {
        (scene.gateway.replicas("f") == 4).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_farm_sleeps_and_its_first_task_wakes_it() {
    let scene = Scene::open().await;
    let annotations = [
        &ONE_TASK_A_WORKER[..],
        &[
            ("farm.min", "0"),
            ("farm.idle", "300ms"),
            ("farm.slots.max", "2"),
        ],
    ];
    let farm = scene.farm("f", &annotations.concat()).await;
    let mut decisions = scene.decisions(&farm).await;
    let _scaler = scene.autoscaler("only");
    decisions
        .until("asleep", |event| {
            event.outcome == Outcome::Unchanged
                && event
                    .observed
                    .as_ref()
                    .is_some_and(|seen| seen.replicas == 0)
        })
        .await;
    assert_eq!(scene.gateway.replicas("f"), 0);
    farm.submit(1, Duration::from_millis(100)).await;
    decisions
        .until("awake", |event| {
            event
                .observed
                .as_ref()
                .is_some_and(|seen| seen.busy_parallelism > 0)
        })
        .await;
    decisions
        .until("asleep again", |event| {
            event
                .observed
                .as_ref()
                .is_some_and(|seen| seen.replicas == 0)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_without_zero_is_not_asked_for_it_for_ever() {
    let scene = Scene::open().await;
    scene.gateway.platform().replicas = (1, 5);
    let annotations = [
        &ONE_TASK_A_WORKER[..],
        &[("farm.min", "0"), ("farm.idle", "200ms")],
    ];
    let farm = scene.farm("f", &annotations.concat()).await;
    let mut decisions = scene.decisions(&farm).await;
    let _scaler = scene.autoscaler("only");
    decisions
        .until("it learns that there is no zero", |event| {
            event
                .reasons
                .iter()
                .any(|why| why.contains("least the platform allows"))
        })
        .await;
    decisions.until_outcome(Outcome::Unchanged).await;
    let asked = scene.gateway.platform().scaled.len();
    for _ in 0..5 {
        decisions.next().await;
    }
    assert_eq!(scene.gateway.platform().scaled.len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_nobody_may_change_are_left_alone() {
    let scene = Scene::open().await;
    let annotations = [("farm.policy", "static"), ("farm.policy.parallelism", "3")];
    let farm = scene.farm("f", &annotations).await;
    let _scaler = scene.autoscaler("only");
    eventually("three replicas", SOON, async || {
        (scene.gateway.replicas("f") == 3).then_some(())
    })
    .await;
    holds_for("no order", Duration::from_millis(300), async || {
        farm.slots_ordered().await.is_none()
    })
    .await;
}
