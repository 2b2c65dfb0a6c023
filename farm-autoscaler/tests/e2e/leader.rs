//! Several replicas of the autoscaler: one leads.

use std::time::{Duration, Instant};

use farm_core::decision::Outcome;
use farm_tests::holds_for;
use farm_tests::{Access, NatsOptions, Signal, eventually};

use crate::scene::{SOON, Scene};

const STATIC_THREE: [(&str, &str); 2] =
    [("farm.policy", "static"), ("farm.policy.parallelism", "3")];

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_from_one_that_is_lost() {
    let scene = Scene::open().await;
    let farm = scene.farm("f", &STATIC_THREE).await;
    let mut decisions = scene.decisions(&farm).await;
    let mut first = scene.autoscaler("first");
    first.leads().await;
    let second = scene.autoscaler("second");
    eventually("the second knows whom it follows", SOON, async || {
        (second.farms().await?["leader"] == "first").then_some(())
    })
    .await;
    decisions.until_outcome(Outcome::Unchanged).await;
    for _ in 0..10 {
        assert_eq!(decisions.next().await.decided_by, "first");
    }
    // A standby's page shows what the leader decides.
    eventually("the second shows the first's decisions", SOON, async || {
        let shown = second.function("f").await?;
        (shown["history"][0]["decided_by"] == "first").then_some(())
    })
    .await;

    first.process.kill();
    let killed = Instant::now();
    let taken_over = decisions
        .until("the second decides", |event| event.decided_by == "second")
        .await;
    let took = killed.elapsed();
    println!("taken over {:.1} s after the kill", took.as_secs_f64());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(taken_over.target_parallelism, 3);
    scene.gateway.set_replicas("f", 1);
    eventually("the second acts", SOON, async || {
        (scene.gateway.replicas("f") == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_asked_to_stop_gives_the_lease_back() {
    let scene = Scene::open().await;
    let farm = scene.farm("f", &STATIC_THREE).await;
    let mut decisions = scene.decisions(&farm).await;
    let mut first = scene.autoscaler("first");
    first.leads().await;
    let _second = scene.autoscaler("second");
    decisions.until_outcome(Outcome::Unchanged).await;
    first.process.signal(Signal::TERM);
    let asked = Instant::now();
    let status = first.process.exit(SOON).await;
    assert!(status.success(), "{status}");
    decisions
        .until("the second decides", |event| event.decided_by == "second")
        .await;
    // The lease would last for another 4 s at least.
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_suspended_does_not_act_any_more() {
    let scene = Scene::open().await;
    let farm = scene.farm("f", &STATIC_THREE).await;
    let mut decisions = scene.decisions(&farm).await;
    let mut first = scene.autoscaler("first");
    first.leads().await;
    let _second = scene.autoscaler("second");
    decisions.until_outcome(Outcome::Unchanged).await;
    first.process.signal(Signal::STOP);
    decisions
        .until("the second decides", |event| event.decided_by == "second")
        .await;
    first.process.signal(Signal::CONT);
    eventually("the first follows", SOON, async || {
        (first.farms().await?["leader"] == "second").then_some(())
    })
    .await;
    // What the first had begun before it was suspended may still be told.
    for _ in 0..3 {
        decisions.next().await;
    }
    for _ in 0..10 {
        assert_eq!(decisions.next().await.decided_by, "second");
    }
    holds_for(
        "the first leads no more",
        Duration::from_millis(300),
        async || {
            first
                .farms()
                .await
                .is_some_and(|farms| farms["leads"] == false)
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_secrets() {
    let options = NatsOptions {
        access: Access::Password("nats-user", "nats-password"),
        ..NatsOptions::default()
    };
    let scene = Scene::open_with(options).await;
    scene.gateway.platform().credentials = Some(("admin", "gateway-password"));
    let _farm = scene.farm("f", &STATIC_THREE).await;
    let scaler = scene.autoscaler("only");
    eventually("three replicas", SOON, async || {
        (scene.gateway.replicas("f") == 3).then_some(())
    })
    .await;
    assert!(scaler.client.is_ready().await);

    // Rotated: the platform changes the files in place.
    scene.gateway.platform().credentials = Some(("admin", "another-password"));
    eventually("the gateway is refused", SOON, async || {
        (!scaler.client.is_ready().await).then_some(())
    })
    .await;
    let file = scene.nats.secrets_folder().join("basic-auth-password");
    std::fs::write(file, "another-password\n").unwrap();
    eventually("the new password is read", SOON, async || {
        scaler.client.is_ready().await.then_some(())
    })
    .await;
}
