//! Any NATS client can submit: the body is the task, and every header may be missing or mad.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use farm_core::http::{DeadLetter, JobState, Replayed, TaskOutcome};
use farm_core::{JobId, envelope};
use farm_tests::{FarmOnNats, Function, NatsServer, Replica, eventually};
use reqwest::Method;

const SOON: Duration = Duration::from_secs(20);

fn job(name: &str) -> JobId {
    JobId::new(name).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

/// Publishes a task as any client would, and waits until it is stored.
async fn publish(farm: &FarmOnNats, job: &str, pairs: &[(&str, &str)], body: &[u8]) {
    let message = PublishMessage::build()
        .payload(body.to_vec().into())
        .headers(headers(pairs));
    let subject = format!("farm.sleeper.task.{job}");
    let stored = farm.jetstream.send_publish(subject, message).await;
    stored.unwrap().await.unwrap();
}

/// The first outcomes of a job that nobody ever closes.
async fn outcomes(replica: &Replica, name: &str, count: u64) -> Vec<TaskOutcome> {
    replica.http.known(&job(name), SOON).await;
    replica.http.done(&job(name), count, SOON).await;
    let mut lines = replica.http.follow(&job(name), 0).await;
    let mut outcomes = Vec::new();
    while (outcomes.len() as u64) < count {
        outcomes.extend(lines.next().await);
    }
    outcomes
}

#[tokio::test]
async fn a_bare_body_on_the_right_subject_is_a_task() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    farm.client
        .publish("farm.sleeper.task.album-7", r#"{"payload_bytes":2}"#.into())
        .await
        .unwrap();

    let outcomes = outcomes(&replica, "album-7", 1).await;
    assert_eq!(
        outcomes[0].task, "s1",
        "it is named by its place in the stream"
    );
    let output = outcomes[0].output.as_ref().unwrap();
    assert_eq!(output.get(), r#"{"seconds":0.0,"payload":"xx"}"#);
    let status = replica.http.job(&job("album-7")).await;
    assert_eq!((status.state, status.accepted), (JobState::Open, None));
    assert_eq!((status.done, status.failed, status.in_flight), (1, 0, 0));
}

#[tokio::test]
async fn a_task_published_twice_has_one_result() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.clone().start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    // The server drops the second of two with one message id …
    let named = [("Nats-Msg-Id", "j.a"), (envelope::TASK, "a")];
    publish(&farm, "j", &named, b"{}").await;
    publish(&farm, "j", &named, b"{}").await;
    // … and the farm the second result of a task that came without.
    publish(&farm, "j", &[(envelope::TASK, "b")], b"{}").await;
    publish(&farm, "j", &[(envelope::TASK, "b")], b"{}").await;

    let worked_off = [("role", "worker")];
    eventually("all three are worked off", SOON, async || {
        let metrics = replica.metrics().await;
        (metrics.sum("farm_tasks_total", &worked_off) == Some(3.0)).then_some(())
    })
    .await;
    let mut tasks: Vec<_> = outcomes(&replica, "j", 2).await;
    tasks.sort_by(|a, b| a.task.cmp(&b.task));
    assert_eq!((tasks[0].task.as_str(), tasks[1].task.as_str()), ("a", "b"));
    let counts = farm.counts().await;
    assert_eq!((counts.tasks, counts.results, counts.dead), (0, 2, 0));
    assert_eq!(replica.http.job(&job("j")).await.done, 2);
}

#[tokio::test]
async fn headers_of_the_envelope_are_understood_and_nonsense_in_them_is_not_minded() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    let late = [
        (envelope::SUBMITTED_SECONDS, "1000000000"),
        (envelope::DEADLINE_SECONDS, "2"),
    ];
    publish(&farm, "late", &late, b"{}").await;
    let nonsense = [
        (envelope::SUBMITTED_SECONDS, "-1e999"),
        (envelope::DEADLINE_SECONDS, "NaN"),
        (envelope::REPLAY, "many"),
        (envelope::TRACEPARENT, "00-zz"),
        (envelope::OUTCOME, "failed"),
        ("unheard-of", "\u{1f980}"),
    ];
    publish(&farm, "nonsense", &nonsense, b"{}").await;

    let late = &outcomes(&replica, "late", 1).await[0];
    assert_eq!(late.in_deadline, Some(false));
    assert!(late.sojourn_seconds > 1e8, "{}", late.sojourn_seconds);
    let nonsense = &outcomes(&replica, "nonsense", 1).await[0];
    assert_eq!(nonsense.in_deadline, None);
    assert!(
        nonsense.sojourn_seconds < 60.0,
        "{}",
        nonsense.sojourn_seconds
    );
}

#[tokio::test]
async fn what_is_no_task_becomes_a_dead_letter_and_not_a_crash() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let mut replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    let long = "j".repeat(65);
    publish(&farm, "n\u{f6}-j\u{f6}b", &[], b"{}").await;
    publish(&farm, &long, &[], b"{}").await;
    publish(&farm, "j", &[(envelope::TASK, "not a key.*")], b"{}").await;
    publish(&farm, "j", &[], b"").await;
    publish(&farm, "j", &[], b"{\"seconds\":").await;
    publish(&farm, "j", &[], &[0xff, 0x00, 0xfe]).await;
    publish(&farm, "fine", &[], b"{}").await;

    outcomes(&replica, "fine", 1).await;
    let letters = eventually("six dead letters", SOON, async || {
        let letters = replica.http.dead_letters("").await;
        (letters.len() == 6).then_some(letters)
    })
    .await;
    let about = |words: &str| -> Vec<&DeadLetter> {
        let says = |letter: &&DeadLetter| letter.cause.contains(words);
        letters.iter().filter(says).collect()
    };
    let unnamed = about("names no job");
    assert_eq!(unnamed.len(), 2, "{letters:#?}");
    assert!(
        unnamed
            .iter()
            .all(|letter| letter.task.job.as_str() == "unnamed")
    );
    assert_eq!(about("not a key.*").len(), 1, "{letters:#?}");
    assert_eq!(about("does not fit the worker").len(), 3, "{letters:#?}");
    let binary: Vec<_> = letters.iter().filter(|letter| letter.body_is_hex).collect();
    assert_eq!((binary.len(), binary[0].body.as_str()), (1, "ff00fe"));
    assert!(replica.process.ended().is_none());
    assert!(replica.http.is_ready().await);
}

#[tokio::test]
async fn a_replay_count_beyond_belief_is_not_believed() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let mut replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;
    let most = u64::MAX.to_string();
    let pairs = [(envelope::TASK, "a"), (envelope::REPLAY, most.as_str())];
    publish(&farm, "j", &pairs, br#"{"fail":"permanent"}"#).await;
    let letter = eventually("a dead letter", SOON, async || {
        replica.http.dead_letters("").await.pop()
    })
    .await;
    assert_eq!(letter.replays, 0);

    let replayed: Replayed = replica.http.json(Method::POST, "/dead/j.a/replay").await;

    assert_eq!(replayed.replayed, 1);
    eventually("it fails again", SOON, async || {
        let letter = replica.http.dead_letters("").await.pop()?;
        (letter.replays == 1).then_some(())
    })
    .await;
    assert!(replica.process.ended().is_none());
}

#[tokio::test]
async fn a_cause_that_quotes_a_large_task_is_cut_short_and_ends_it() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    // Quoted, and written as JSON, each of these is four backslashes: more than a message may hold.
    let body = format!(r#"{{"seconds": "{}"}}"#, r"\\".repeat(300_000));
    publish(&farm, "j", &[], body.as_bytes()).await;

    let letter = eventually("a dead letter", SOON, async || {
        replica.http.dead_letters("").await.pop()
    })
    .await;
    assert!(letter.cause.contains("does not fit"), "{}", letter.cause);
    assert_eq!((letter.body, letter.attempts), (body, 1));
    replica.http.known(&job("j"), SOON).await;
    let failed = &replica
        .http
        .follow(&job("j"), 0)
        .await
        .next()
        .await
        .unwrap();
    let told = failed.error.as_ref().unwrap();
    assert!((100..=2000).contains(&told.chars().count()), "{told}");
}
