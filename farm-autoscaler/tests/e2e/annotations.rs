//! Farms that come, go, and are described wrongly.

use farm_core::decision::Outcome;
use farm_tests::eventually;

use crate::scene::{Autoscaler, SOON, Scene};

const STATIC_THREE: [(&str, &str); 2] =
    [("farm.policy", "static"), ("farm.policy.parallelism", "3")];

async fn problem(scaler: &Autoscaler, function: &str) -> String {
    eventually("a problem is shown", SOON, async || {
        let shown = scaler.function(function).await?;
        shown["problem"].as_str().map(str::to_owned)
    })
    .await
}

async fn is_scaled(scene: &Scene, function: &str, replicas: u64) {
    let what = format!("{replicas} replicas of {function}");
    eventually(&what, SOON, async || {
        (scene.gateway.replicas(function) == replicas).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_annotation_is_told_once_and_the_others_go_on() {
    let scene = Scene::open().await;
    let wrong = [
        ("farm.policy", "predictive"),
        ("farm.policy.headrom", "2"),
        ("farm.deadline", "30"),
        ("farm.min", "9"),
        ("farm.target_qos", "95"),
    ];
    let _bad = scene.farm("bad", &wrong).await;
    let good = scene.farm("good", &STATIC_THREE).await;
    let mut decisions = scene.decisions(&good).await;
    let scaler = scene.autoscaler("only");
    is_scaled(&scene, "good", 3).await;
    let told = problem(&scaler, "bad").await;
    for key in [
        "farm.policy.headrom: ",
        "farm.deadline: \"30\" is not a duration",
        "farm.min: 9 is above farm.max (8)",
        "farm.target_qos: ",
    ] {
        assert!(told.contains(key), "{key} in {told}");
    }
    for _ in 0..10 {
        decisions.next().await;
    }
    let output = scaler.process.output();
    let lines = output
        .lines()
        .filter(|line| line.contains("farm.target_qos"));
    assert_eq!(lines.count(), 1, "{output}");
    assert_eq!(scene.gateway.replicas("bad"), 1);

    // Put right, it is scaled.
    scene.gateway.deploy("bad", &STATIC_THREE);
    is_scaled(&scene, "bad", 3).await;
    eventually("no problem is shown", SOON, async || {
        let shown = scaler.function("bad").await?;
        shown["problem"].is_null().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_annotation_is_pointed_out() {
    let scene = Scene::open().await;
    let annotations = [&STATIC_THREE[..], &[("farm.slot.max", "2")]].concat();
    let _farm = scene.farm("f", &annotations).await;
    let scaler = scene.autoscaler("only");
    is_scaled(&scene, "f", 3).await;
    let shown = scaler.function("f").await.unwrap();
    let warning = "farm.slot.max is not an annotation of the autoscaler: farm.slots.max is";
    assert_eq!(shown["warnings"][0], warning);
    assert!(shown["problem"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_functions_do_not_scale_one_farm() {
    let scene = Scene::open().await;
    let annotations = [&STATIC_THREE[..], &[("farm.name", "shared")]].concat();
    scene.gateway.deploy("one", &annotations);
    scene.gateway.deploy("two", &annotations);
    let scaler = scene.autoscaler("only");
    for function in ["one", "two"] {
        let told = problem(&scaler, function).await;
        assert!(
            told.contains("one and two scale the same farm shared"),
            "{told}"
        );
    }
    assert!(scene.gateway.platform().scaled.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn farms_come_and_go_while_it_runs() {
    let scene = Scene::open().await;
    let scaler = scene.autoscaler("only");
    scaler.leads().await;
    let farm = scene.farm("late", &STATIC_THREE).await;
    let mut decisions = scene.decisions(&farm).await;
    is_scaled(&scene, "late", 3).await;
    let settled = decisions.until_outcome(Outcome::Unchanged).await;

    // The same annotations, another image: the control loop goes on as it was.
    scene
        .gateway
        .platform()
        .functions
        .get_mut("late")
        .unwrap()
        .image = "late:2".into();
    for _ in 0..5 {
        decisions.next().await;
    }
    assert!(decisions.next().await.sequence > settled.sequence);

    let four = [("farm.policy", "static"), ("farm.policy.parallelism", "4")];
    scene
        .gateway
        .deploy("late", &[&four[..], &[("farm.interval", "50ms")]].concat());
    is_scaled(&scene, "late", 4).await;

    scene.gateway.platform().functions.remove("late");
    eventually("it is forgotten", SOON, async || {
        let farms = scaler.farms().await?;
        farms["farms"].as_array()?.is_empty().then_some(())
    })
    .await;
    let series = scaler.metric("farm_autoscaler_desired_parallelism", &[]);
    assert_eq!(series.await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_a_policy_is_left_alone() {
    let scene = Scene::open().await;
    scene
        .gateway
        .deploy("plain", &[("farm.name", "plain"), ("farm.min", "5")]);
    let _other = scene.farm("other", &STATIC_THREE).await;
    let scaler = scene.autoscaler("only");
    is_scaled(&scene, "other", 3).await;
    assert_eq!(scene.gateway.replicas("plain"), 1);
    assert!(scaler.function("plain").await.is_none());
}
