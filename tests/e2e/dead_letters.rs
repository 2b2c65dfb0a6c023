//! Tasks that fail for good are kept with their cause, block nobody, and can come back.

use std::time::Duration;

use farm_core::http::{DeadLetter, Purged, Replayed};
use farm_tests::{Function, NatsServer, Replica, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// `count` tasks that end well, and after every tenth one of `bad`.
fn with_good_tasks(count: usize, bad: &[Value]) -> Vec<Value> {
    let mut tasks = vec![json!({"seconds": 0.01}); count];
    for (position, task) in bad.iter().enumerate() {
        tasks.insert((position * 10).min(tasks.len()), task.clone());
    }
    tasks
}

async fn letters(replica: &Replica, query: &str, count: usize) -> Vec<DeadLetter> {
    eventually(&format!("{count} dead letters"), SOON, async || {
        let letters = replica.http.dead_letters(query).await;
        (letters.len() == count).then_some(letters)
    })
    .await
}

fn caused<'a>(letters: &'a [DeadLetter], cause: &str) -> &'a DeadLetter {
    let mut found = letters.iter().filter(|letter| letter.cause.contains(cause));
    match (found.next(), found.next()) {
        (Some(letter), None) => letter,
        _ => panic!("not one letter with {cause:?}: {letters:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_kept_with_its_cause_and_comes_back_on_replay() {
    let nats = NatsServer::start().await;
    let strict = Function::sleeper(&nats)
        .set("FARM_SLOTS", 2)
        .set("FARM_BACKOFF", "20ms")
        .set("FARM_MAX_ATTEMPTS", 3);
    let mut replica = strict.start().await;
    let bad = [
        json!({"seconds": 0.01, "fail": "transient", "fail_attempts": 3}),
        json!({"seconds": 0.01, "fail": "transient"}),
        json!({"seconds": 0.01, "fail": "permanent"}),
        json!({"seconds": 0.01, "fail": "panic"}),
    ];
    let job = replica.http.submit(&with_good_tasks(100, &bad)).await.job;
    let client = nats.client().await;
    let body = r#"{"seconds": "long"}"#;
    client
        .publish("farm.sleeper.task.raw", body.into())
        .await
        .unwrap();
    client.flush().await.unwrap();

    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (100, 4));
    let kept = letters(&replica, "", 5).await;
    assert_eq!(caused(&kept, "told to fail for good").attempts, 1);
    assert_eq!(caused(&kept, "panicked: told to panic").attempts, 1);
    let transient: Vec<_> = kept.iter().filter(|l| l.attempts == 3).collect();
    assert_eq!(transient.len(), 2);
    for letter in &transient {
        assert!(letter.cause.contains("may pass (gave up after 3 attempts)"));
    }
    let raw = &replica.http.dead_letters("?job=raw").await[0];
    assert!(raw.cause.contains("seconds"), "{}", raw.cause);
    assert_eq!(raw.body, body);

    // One of them, looked at.
    let permanent = caused(&kept, "for good").clone();
    let shown: DeadLetter = replica
        .http
        .json(Method::GET, &format!("/dead/{}", permanent.task))
        .await;
    assert_eq!(shown, permanent);
    let body: Value = serde_json::from_str(&shown.body).unwrap();
    assert_eq!(body["fail"], "permanent");
    assert_eq!((shown.replays, shown.task.job.clone()), (0, job.clone()));
    assert_eq!(replica.http.dead_letters("?limit=2").await.len(), 2);

    // Replayed as it was, it fails again.
    let path = format!("/dead/{}/replay", permanent.task);
    assert_eq!(
        replica
            .http
            .json::<Replayed>(Method::POST, &path)
            .await
            .replayed,
        1
    );
    eventually("the task fails again", SOON, async || {
        let letters = replica.http.dead_letters(&format!("?job={job}")).await;
        letters
            .iter()
            .any(|letter| letter.task == permanent.task && letter.replays == 1)
            .then_some(())
    })
    .await;
    let status = replica.http.job(&job).await;
    assert_eq!((status.done, status.failed), (100, 4));

    // Replayed with more patience, the one that can be cured is.
    replica.terminate();
    replica.exit(SOON).await;
    let replica = strict.clone().set("FARM_MAX_ATTEMPTS", 5).start().await;
    let replayed: Replayed = replica
        .http
        .json(Method::POST, &format!("/dead/replay?job={job}"))
        .await;
    assert_eq!(replayed.replayed, 4);
    eventually("one task is cured", SOON, async || {
        let status = replica.http.job(&job).await;
        ((status.done, status.failed) == (101, 3)).then_some(())
    })
    .await;
    let left = letters(&replica, &format!("?job={job}"), 3).await;
    assert!(
        left.iter()
            .all(|letter| !letter.body.contains("fail_attempts"))
    );
    assert_eq!(replica.http.results(&job).await.len(), 104);

    // Purged, one and then all.
    let one: Purged = replica
        .http
        .json(Method::DELETE, &format!("/dead/{}", permanent.task))
        .await;
    assert_eq!(one.purged, 1);
    let path = format!("/dead/{}", permanent.task);
    let gone = replica.http.status_of(&path).await;
    assert_eq!(gone, Some(StatusCode::NOT_FOUND));
    let of_job: Purged = replica
        .http
        .json(Method::DELETE, &format!("/dead?job={job}"))
        .await;
    assert_eq!(of_job.purged, 2);
    assert_eq!(
        replica.http.dead_letters("").await.len(),
        1,
        "the raw one is left"
    );
    assert_eq!(
        replica
            .http
            .json::<Purged>(Method::DELETE, "/dead")
            .await
            .purged,
        1
    );
    assert_eq!(replica.http.farm().await.dead_tasks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kills_its_replica_each_time_is_given_up() {
    const CRASHES: usize = 3;
    let nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats)
        .set("FARM_ACK_WAIT", "1s")
        .set("FARM_MAX_ATTEMPTS", 2)
        .set("FARM_MAX_DELIVERIES", CRASHES);
    let face = settings.clone().roles("emitter,collector").start().await;
    let worker = settings.roles("worker");
    let tasks = with_good_tasks(100, &[json!({"fail": "exit"})]);
    let job = face.http.submit(&tasks).await.job;

    let mut crashes = 0;
    let mut running = worker.spawn();
    while eventually("a crash or the end", SOON, async || {
        let ended = face.http.job(&job).await.ended_seconds.is_some();
        let crashed = running.process.ended().is_some();
        (ended || crashed).then_some(crashed)
    })
    .await
    {
        crashes += 1;
        assert_eq!(running.exit(SOON).await.code(), Some(70));
        running = worker.spawn();
    }

    assert_eq!(crashes, CRASHES);
    let status = face.http.job(&job).await;
    assert_eq!((status.done, status.failed), (100, 1));
    let letters = letters(&face, "", 1).await;
    let cause = &letters[0].cause;
    assert!(cause.contains("kills the replicas"), "{cause}");
    assert_eq!(letters[0].attempts, CRASHES as u64 + 1);
    assert!(letters[0].body.contains("exit"), "{}", letters[0].body);
}
