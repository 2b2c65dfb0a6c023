//! What goes wrong: it holds, says so, and recovers by itself.

use std::time::Duration;

use farm_core::decision::Outcome;
use farm_tests::{eventually, holds_for};

use crate::gateway::Fault;
use crate::scene::{Decisions, SOON, Scene};
use crate::workers::Farm;

/// A farm that always has work for five, and would have one worker if it were thought to be idle.
const LOADED: [(&str, &str); 3] = [
    ("farm.policy", "queue"),
    ("farm.policy.window", "0s"),
    ("farm.max", "5"),
];
/// Longer than any test takes.
const ENDLESS: Duration = Duration::from_secs(3_600);

async fn loaded(scene: &Scene) -> (Farm, Decisions) {
    let farm = scene.farm("f", &LOADED).await;
    farm.submit(20, ENDLESS).await;
    let mut decisions = scene.decisions(&farm).await;
    decisions
        .until("five at work, and nothing to do", |event| {
            let seen = event.observed.as_ref();
            let busy = seen.is_some_and(|seen| seen.busy_parallelism == 5);
            busy && event.outcome == Outcome::Unchanged
        })
        .await;
    (farm, decisions)
}

fn scaled_down(scene: &Scene) -> bool {
    scene.gateway.replicas("f") < 5
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_fails_is_waited_for() {
    let scene = Scene::open().await;
    let _scaler = scene.autoscaler("only");
    let (_farm, mut decisions) = loaded(&scene).await;
    for fault in [Fault::Status(500), Fault::Garbage, Fault::Hang] {
        scene.gateway.platform().fault = Some(fault);
        let held = decisions.until_outcome(Outcome::Held).await;
        assert_eq!(held.target_parallelism, 5, "{fault:?}");
        let error = held.error.expect("what went wrong");
        assert!(error.contains("gateway"), "{error}");
        scene.gateway.platform().fault = None;
        decisions.until_outcome(Outcome::Unchanged).await;
        assert!(!scaled_down(&scene), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_gone_is_waited_for() {
    let mut scene = Scene::open().await;
    let scaler = scene.autoscaler("only");
    let (_farm, mut decisions) = loaded(&scene).await;
    scene.gateway.go().await;
    let held = decisions.until_outcome(Outcome::Held).await;
    let error = held.error.expect("what went wrong");
    assert!(
        error.contains("cannot be reached") && error.contains("since"),
        "{error}"
    );
    assert!(!scaler.client.is_ready().await);
    for _ in 0..5 {
        assert_eq!(decisions.next().await.outcome, Outcome::Held);
    }
    let output = scaler.process.output();
    let told = output
        .lines()
        .filter(|line| line.contains("holds the farm"));
    assert_eq!(told.count(), 1, "{output}");
    scene.gateway.come_back().await;
    decisions.until_outcome(Outcome::Unchanged).await;
    assert!(scaler.client.is_ready().await);
    assert!(!scaled_down(&scene));
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_gone_is_waited_for() {
    let mut scene = Scene::open().await;
    let scaler = scene.autoscaler("only");
    let (farm, _decisions) = loaded(&scene).await;
    let asked = scene.gateway.platform().scaled.len();
    scene.nats.kill();
    eventually("the page says that it is held", SOON, async || {
        let shown = scaler.function("f").await?;
        let last = shown["history"].as_array()?.last()?.clone();
        let is_held = last["outcome"] == "held" && last["target_parallelism"] == 5;
        (is_held && last["error"].as_str()?.contains("NATS")).then_some(())
    })
    .await;
    assert!(!scaler.client.is_ready().await);
    // Longer than the lease: nobody leads, nothing is changed, all is still shown.
    eventually("nobody leads", SOON, async || {
        (scaler.farms().await?["leads"] == false).then_some(())
    })
    .await;
    holds_for("nothing is scaled", Duration::from_secs(1), async || {
        scene.gateway.platform().scaled.len() == asked
    })
    .await;
    scene.nats.start_again().await;
    let mut decisions = scene.decisions(&farm).await;
    decisions.until_outcome(Outcome::Unchanged).await;
    assert!(!scaled_down(&scene));
    // It can act again.
    scene.gateway.set_replicas("f", 2);
    eventually("five replicas again", SOON, async || {
        (scene.gateway.replicas("f") == 5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_farm_that_does_not_report_is_held() {
    let scene = Scene::open().await;
    let _scaler = scene.autoscaler("only");
    let (farm, mut decisions) = loaded(&scene).await;
    farm.mute(true);
    let held = decisions.until_outcome(Outcome::Held).await;
    assert_eq!(held.target_parallelism, 5);
    assert!(
        held.reasons[0].contains("none of them reports"),
        "{:?}",
        held.reasons
    );
    farm.mute(false);
    decisions.until_outcome(Outcome::Unchanged).await;
    assert!(!scaled_down(&scene));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_workers_nonsense_does_not_count() {
    let scene = Scene::open().await;
    let scaler = scene.autoscaler("only");
    let (farm, mut decisions) = loaded(&scene).await;
    let client = scene.nats.client().await;
    let future = r#"{"replica":"f-9","slots":9,"sent_seconds":1e11}"#;
    for nonsense in [
        "{",
        r#"{"replica":"f-9","slots":4000000000}"#,
        r#"{"replica":"f-9","slots":9,"service":{"count":1,"sum_seconds":-5}}"#,
        r#"{"replica":"f-9","slots":9,"service":{"count":1,"sum_seconds":1e999}}"#,
        future,
    ] {
        let subject = farm.topology.telemetry_subject();
        client.publish(subject, nonsense.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let refused = "farm_autoscaler_telemetry_refused_total";
    eventually("five refusals", SOON, async || {
        (scaler.metric(refused, &[]).await? == 5.0).then_some(())
    })
    .await;
    let reason = [("reason", "from_the_future")];
    assert_eq!(scaler.metric(refused, &reason).await, Some(1.0));
    let seen = decisions.next().await.observed.expect("the farm is seen");
    assert_eq!(seen.available_parallelism, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_is_tried_again() {
    let scene = Scene::open().await;
    scene.gateway.platform().scale_fault = Some(("f".into(), Fault::Status(500)));
    let annotations = [("farm.policy", "static"), ("farm.policy.parallelism", "3")];
    let farm = scene.farm("f", &annotations).await;
    let mut decisions = scene.decisions(&farm).await;
    let scaler = scene.autoscaler("only");
    let failed = decisions.until_outcome(Outcome::Failed).await;
    let error = failed.error.expect("what went wrong");
    assert!(
        error.contains("answered 500: something went wrong"),
        "{error}"
    );
    for _ in 0..4 {
        assert_eq!(decisions.next().await.outcome, Outcome::Failed);
    }
    scene.gateway.platform().scale_fault = None;
    decisions.until_outcome(Outcome::Applied).await;
    decisions.until_outcome(Outcome::Unchanged).await;
    assert_eq!(scene.gateway.replicas("f"), 3);
    let output = scaler.process.output();
    let told = output
        .lines()
        .filter(|line| line.contains("could not change"));
    assert_eq!(told.count(), 1, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_whose_gateway_call_hangs_does_not_delay_the_others() {
    let scene = Scene::open().await;
    scene.gateway.platform().scale_fault = Some(("slow".into(), Fault::Hang));
    let annotations = [("farm.policy", "static"), ("farm.policy.parallelism", "3")];
    let slow = scene.farm("slow", &annotations).await;
    let quick = scene.farm("quick", &annotations).await;
    let mut slow_decisions = scene.decisions(&slow).await;
    let mut decisions = scene.decisions(&quick).await;
    let _scaler = scene.autoscaler("only");
    // One call of the slow farm takes the whole time limit of 5 s: time for many decisions.
    let failed = slow_decisions.until_outcome(Outcome::Failed);
    let mut others = 0;
    tokio::pin!(failed);
    let failed = loop {
        tokio::select! {
            failed = &mut failed => break failed,
            _ = decisions.next() => others += 1,
        }
    };
    assert!(
        failed
            .error
            .is_some_and(|error| error.contains("did not answer"))
    );
    assert!(others >= 10, "{others} decisions in 5 s");
    assert_eq!(scene.gateway.replicas("quick"), 3);
}
