//! The autoscaler with a NATS user that may do no more than it needs.

use std::time::Duration;

use async_nats::jetstream::kv;
use farm_core::topology::Topology;
use farm_tests::nats_access::{permissions, secrets_of};
use farm_tests::{NatsOptions, eventually};

use crate::scene::{SOON, Scene};

const DENIED: &str = "does not let these credentials";

/// A server whose autoscaler user may scale `farms`.
async fn scene(farms: &[&str]) -> Scene {
    let arguments: Vec<&str> = farms.iter().flat_map(|farm| ["--farm", farm]).collect();
    let options = NatsOptions {
        access: permissions(&arguments),
        ..NatsOptions::default()
    };
    let scene = Scene::open_with(options).await;
    // As FARM_ROLE=setup makes it.
    let client = scene.nats.client().await;
    let lease = kv::Config {
        bucket: Topology::AUTOSCALER_LEASE_BUCKET.to_owned(),
        max_age: Topology::AUTOSCALER_LEASE,
        ..Default::default()
    };
    let made = async_nats::jetstream::new(client)
        .create_key_value(lease)
        .await;
    made.expect("a bucket");
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn it_scales_the_farms_it_was_given_and_says_what_it_lacks_for_others() {
    let scene = scene(&["a", "a-b"]).await;
    let two = [
        ("farm.policy", "static"),
        ("farm.policy.parallelism", "6"),
        ("farm.max", "6"),
        ("farm.slots.max", "2"),
    ];
    let farms = [scene.farm("a", &two).await, scene.farm("a-b", &two).await];
    let _other = scene.farm("other", &two).await;
    let secrets = secrets_of("farm-autoscaler");
    let folder = secrets.path().to_str().unwrap();
    let scaler = scene.autoscaler_with("only", &[("FARM_SECRETS_DIR", folder)]);
    scaler.leads().await;
    for (farm, name) in farms.iter().zip(["a", "a-b"]) {
        eventually("two slots are ordered", SOON, async || {
            (farm.slots_ordered().await == Some(2)).then_some(())
        })
        .await;
        eventually("three replicas", SOON, async || {
            (scene.gateway.replicas(name) == 3).then_some(())
        })
        .await;
    }
    let log = eventually("it says what it lacks", SOON, async || {
        let log = scaler.process.output();
        log.contains(DENIED).then_some(log)
    })
    .await;
    // Only what concerns the third farm.
    for line in log.lines().filter(|line| line.contains(DENIED)) {
        assert!(
            line.contains("farm-other-") || line.contains("farm.other."),
            "{line}"
        );
    }
    farm_tests::holds_for(
        "the other farm is held",
        Duration::from_millis(500),
        async || scene.gateway.replicas("other") == 1,
    )
    .await;
}
