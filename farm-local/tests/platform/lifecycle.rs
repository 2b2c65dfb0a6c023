//! Processes: built, started, scaled, restarted, drained, and gone at the end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use farm_local::Event;

use crate::harness::{Fixture, function, is_running, stack_of, until};

#[tokio::test]
async fn functions_run_from_one_build_in_an_environment_of_their_own() {
    let env = ", environment: {FARM_NATS_URL: 'nats://elsewhere:1', GREETING: hello}";
    let stack = stack_of(&[function("one", env), function("two", ", skip_build: true")].join("\n"));
    let mut running = Fixture::new(&stack).start().await;
    let built = running
        .event(|event| matches!(event, Event::Built { .. }))
        .await;
    assert!(matches!(built, Event::Built { functions, .. } if functions == ["one", "two"]));

    for (name, expected) in [
        ("GREETING", "hello"),
        ("OPENFAAS_NAME", "one"),
        ("OPENFAAS_NAMESPACE", "openfaas-fn"),
        ("FARM_NATS_URL", running.platform.nats_url()),
        ("CARGO_MANIFEST_DIR", "unset"),
        ("USER", "unset"),
    ] {
        assert_eq!(
            running.get(&format!("/function/one/env/{name}")).await,
            expected,
            "{name}"
        );
    }
    assert!(
        running
            .get("/function/two/env/HOSTNAME")
            .await
            .starts_with("two-")
    );
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_left_when_the_platform_stops() {
    let running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    running.scale("work", 2).await;
    running.wait_available("work", 2).await;
    let mut left = Vec::new();
    for _ in 0..2 {
        left.push((
            running.get("/function/work/pid").await,
            running.get("/function/work/env/TMPDIR").await,
        ));
    }
    let nats = running
        .platform
        .nats_url()
        .trim_start_matches("nats://")
        .to_owned();
    assert!(std::net::TcpStream::connect(&nats).is_ok());
    running.stop().await;
    for (pid, folder) in left {
        assert!(!is_running(&pid), "process {pid} still runs");
        assert!(
            !std::path::Path::new(&folder).exists(),
            "{folder} is still there"
        );
    }
    assert!(std::net::TcpStream::connect(&nats).is_err());
}

#[tokio::test]
async fn replicas_take_turns_and_the_newest_leave_first() {
    let labels = ", labels: {com.openfaas.scale.min: 2}";
    let running = Fixture::new(&stack_of(&function("work", labels)))
        .start()
        .await;
    assert_eq!(running.status("work").await.replicas, 2);
    let first = instances(&running, 2).await;
    assert_eq!(running.scale("work", 4).await, 202);
    running.wait_available("work", 4).await;
    assert_eq!(instances(&running, 4).await.len(), 4);
    assert_eq!(running.scale("work", 2).await, 202);
    running.wait_available("work", 2).await;
    assert_eq!(instances(&running, 4).await, first);

    running.stop().await;
}

async fn instances(running: &crate::harness::Running, calls: usize) -> BTreeSet<String> {
    let mut instances = BTreeSet::new();
    for _ in 0..calls {
        instances.insert(running.get("/function/work/env/HOSTNAME").await);
    }
    instances
}

#[tokio::test]
async fn a_replica_that_crashes_is_started_again_under_its_name() {
    let mut running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    let (name, pid) = (
        running.get("/function/work/env/HOSTNAME").await,
        running.get("/function/work/pid").await,
    );
    running.post("/function/work/crash").await;
    let failed = running
        .event(|event| matches!(event, Event::ReplicaFailed { .. }))
        .await;
    assert!(
        failed
            .to_string()
            .starts_with(&format!("{name} exited with status 3")),
        "{failed}"
    );
    running.wait_available("work", 1).await;
    let log = running.logs("name=work").await;
    assert!(
        log.iter()
            .any(|line| line.contains("exited with status 3; starting it again")),
        "{log:?}"
    );
    assert_eq!(running.get("/function/work/env/HOSTNAME").await, name);
    assert_ne!(running.get("/function/work/pid").await, pid);
    running.stop().await;
}

#[tokio::test]
async fn a_replica_that_fails_its_probes_is_killed_and_started_again() {
    let mut running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    running.post("/function/work/sick").await;
    let failed = running
        .event(|event| matches!(event, Event::ReplicaFailed { .. }))
        .await;
    assert!(failed.to_string().contains("3 health probes"), "{failed}");
    running.wait_available("work", 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_replica_drains_before_it_goes_and_is_killed_if_it_does_not() {
    let environment = |behaviour: &str| {
        format!(", environment: {{BEHAVIOUR: {behaviour}, FARM_GRACE_PERIOD: 1s}}")
    };
    let functions = [
        function("polite", &environment("drains")),
        function("stubborn", &environment("ignores SIGTERM")),
    ];
    let mut running = Fixture::new(&stack_of(&functions.join("\n"))).start().await;
    for name in ["polite", "stubborn"] {
        running.scale(name, 0).await;
    }
    let mut stopped = BTreeSet::new();
    while stopped.len() < 2 {
        let event = running
            .event(|event| matches!(event, Event::ReplicaStopped { .. }))
            .await;
        let Event::ReplicaStopped { instance, killed } = event else {
            unreachable!()
        };
        stopped.insert((instance.split('-').next().unwrap().to_owned(), killed));
    }
    assert_eq!(
        stopped,
        BTreeSet::from([("polite".into(), false), ("stubborn".into(), true)])
    );
    until("the last words of the replica", async || {
        running.logs("name=polite&tail=2").await == ["draining", "drained"]
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_function_that_never_becomes_healthy_is_named_with_its_last_words() {
    let broken = function("work", ", environment: {BEHAVIOUR: broken}");
    let started = Instant::now();
    let (error, _fixture) = Fixture::new(&stack_of(&broken)).refusal().await;
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "it is given up early"
    );
    let message = error.to_string();
    assert!(message.contains("function work"), "{message}");
    assert!(
        message.contains("cannot read the configuration"),
        "{message}"
    );
}

#[tokio::test]
async fn a_platform_that_is_dropped_leaves_no_process() {
    let running = Fixture::new(&stack_of(&function("work", ""))).start().await;
    let pid = running.get("/function/work/pid").await;
    let nats = running
        .platform
        .nats_url()
        .trim_start_matches("nats://")
        .to_owned();
    drop(running.platform);
    until("the end of the replica", async || !is_running(&pid)).await;
    until("the end of the NATS server", async || {
        std::net::TcpStream::connect(&nats).is_err()
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_named_before_anything_is_built() {
    let stack = stack_of(&function("work", ", secrets: [db]"));
    let (error, fixture) = Fixture::new(&stack).refusal().await;
    let message = error.to_string();
    assert!(
        message.contains("function work: there is no secret db") && message.contains(".secrets/db"),
        "{message}"
    );
    assert!(!fixture.path("build").exists());
}
