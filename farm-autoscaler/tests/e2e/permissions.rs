//! The autoscaler with a NATS user that may do no more than it needs.

use std::time::Duration;

use farm_core::topology::Topology;
use farm_tests::nats_access::{permissions, secrets_of};
use farm_tests::{NatsOptions, eventually};

use crate::scene::{SOON, Scene};

const DENIED: &str = "does not let these credentials";

/// A server whose autoscaler user may scale `farms`, without the bucket of its lease.
async fn scene(farms: &[&str]) -> Scene {
    let arguments: Vec<&str> = farms.iter().flat_map(|farm| ["--farm", farm]).collect();
    let options = NatsOptions {
        access: permissions(&arguments),
        ..NatsOptions::default()
    };
    Scene::open_with(options).await
}

/// As FARM_ROLE=setup makes it.
async fn make_lease(scene: &Scene) {
    let client = scene.nats.client().await;
    let lease = farm_nats::bucket(
        Topology::AUTOSCALER_LEASE_BUCKET,
        Topology::AUTOSCALER_LEASE,
    );
    let jetstream = async_nats::jetstream::new(client);
    jetstream.create_stream(lease).await.expect("a bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_once_that_its_lease_was_not_set_up_and_leads_when_it_is() {
    let scene = scene(&["a"]).await;
    let secrets = secrets_of("farm-autoscaler");
    let folder = secrets.path().to_str().unwrap();
    let scaler = scene.autoscaler_with("only", &[("FARM_SECRETS_DIR", folder)]);
    const CANNOT: &str = "this replica cannot try to lead";
    let log = eventually("it says that it cannot lead", SOON, async || {
        let log = scaler.process.output();
        log.contains(CANNOT).then_some(log)
    })
    .await;
    let line = log.lines().find(|line| line.contains(CANNOT)).unwrap();
    for word in ["does not exist", DENIED, "STREAM.CREATE", "FARM_ROLE=setup"] {
        assert!(line.contains(word), "no {word}: {line}");
    }
    make_lease(&scene).await;
    scaler.leads().await;
    let log = scaler.process.output();
    assert_eq!(log.matches(CANNOT).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_scales_the_farms_it_was_given_and_says_what_it_lacks_for_others() {
    let scene = scene(&["a", "a-b"]).await;
    make_lease(&scene).await;
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
