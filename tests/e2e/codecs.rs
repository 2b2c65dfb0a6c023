//! The codec of a task is the word in its header: JSON, MessagePack, or bytes as they are.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use farm_core::http::{
    Accepted, DeadLetter, MESSAGE_PACK, OCTET_STREAM, Problem, Replayed, TaskOutcome,
};
use farm_core::{JobId, envelope};
use farm_tests::{FarmOnNats, Function, NatsServer, Replica, eventually};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// `{"payload_bytes": 2}` and what the sleeper makes of it, in MessagePack.
const TASK: &[u8] = b"\x81\xadpayload_bytes\x02";
const RESULT: &[u8] = b"\x82\xa7seconds\xcb\0\0\0\0\0\0\0\0\xa7payload\xa2xx";
/// The same result in a line of results.
const SHOWN: &str = r#"{"seconds":0.0,"payload":"xx"}"#;

async fn submit(replica: &Replica, kind: &str, body: &[u8]) -> Accepted {
    let request = replica.http.request(Method::POST, "/");
    let request = request.header("content-type", kind).body(body.to_vec());
    replica.http.submitted(request).await
}

async fn refusal(replica: &Replica, kind: &str, body: &[u8]) -> (StatusCode, Problem) {
    let request = replica.http.request(Method::POST, "/");
    let request = request.header("content-type", kind).body(body.to_vec());
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// Publishes a task as any client would, and waits until it is stored.
async fn publish(farm: &FarmOnNats, subject: &str, codec: &str, body: &'static [u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(envelope::TASK, "a");
    headers.insert(envelope::CODEC, codec);
    let message = PublishMessage::build()
        .payload(Bytes::from_static(body))
        .headers(headers);
    let stored = farm.jetstream.send_publish(subject.to_owned(), message);
    stored.await.unwrap().await.unwrap();
}

/// The outcomes of `job`, each as it is stored: its codec and its body.
async fn stored(farm: &FarmOnNats, function: &Function, job: &JobId) -> Vec<(String, Bytes)> {
    let topology = function.topology();
    let stream = farm.jetstream.get_stream(topology.results_stream()).await;
    let stream = stream.unwrap();
    let mut outcomes = Vec::new();
    let mut from = 1;
    loop {
        let subjects = topology.job_results_wildcard(job);
        let next = stream.direct_get_next_for_subject(subjects, Some(from));
        let Ok(message) = next.await else {
            return outcomes;
        };
        from = message.sequence + 1;
        let codec = message.headers.get(envelope::CODEC);
        let codec = codec.map_or("json", async_nats::HeaderValue::as_str);
        outcomes.push((codec.to_owned(), message.payload));
    }
}

fn output(outcome: &TaskOutcome) -> &str {
    outcome.output.as_ref().expect("an output").get()
}

fn base64_of(outcome: &TaskOutcome) -> Vec<u8> {
    assert!(outcome.output.is_none());
    let text = outcome.output_base64.as_ref().expect("raw bytes");
    BASE64_STANDARD.decode(text).unwrap()
}

async fn only_dead_letter(replica: &Replica) -> DeadLetter {
    eventually("a dead letter", SOON, async || {
        replica.http.dead_letters("").await.pop()
    })
    .await
}

#[tokio::test]
async fn a_farm_in_message_pack_is_json_to_its_clients() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_CODEC", "msgpack");
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    let job = replica.http.submit(&json!({"payload_bytes": 2})).await.job;
    replica.http.ended(&job, SOON).await;

    let lines = replica.http.results(&job).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(output(&lines[0]), SHOWN);
    let stored = stored(&farm, &sleeper, &job).await;
    assert_eq!(stored, [("msgpack".to_owned(), Bytes::from_static(RESULT))]);
}

#[tokio::test]
async fn a_fold_sees_the_same_results_in_every_codec() {
    let picture = json!({"width_pixels": 40, "height_pixels": 30, "tile_pixels": 16});
    let mut summaries = Vec::new();
    for codec in ["json", "msgpack"] {
        let nats = NatsServer::start().await;
        let mandelbrot = Function::mandelbrot(&nats).set("FARM_CODEC", codec);
        let replica = mandelbrot.start().await;
        let farm = FarmOnNats::connect(&nats, &mandelbrot).await;

        let job = replica.http.submit(&picture).await.job;
        let status = replica.http.ended(&job, SOON).await;

        assert_eq!((status.done, status.failed), (6, 0));
        let stored = stored(&farm, &mandelbrot, &job).await;
        assert_eq!(stored.len(), 6);
        assert!(stored.iter().all(|(word, _)| word == codec), "{stored:?}");
        let path = format!("/jobs/{job}/summary");
        let summary: Value = replica.http.json(Method::GET, &path).await;
        assert_eq!(summary["tiles"], 6);
        summaries.push(summary);
    }
    assert_eq!(summaries[0], summaries[1]);
}

#[tokio::test]
async fn message_pack_may_be_submitted_and_published_to_any_farm() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    let submitted = submit(&replica, MESSAGE_PACK, TASK).await;
    assert_eq!(submitted.accepted, 1);
    let published = JobId::new("by-hand").unwrap();
    publish(&farm, "farm.sleeper.task.by-hand", "msgpack", TASK).await;

    for job in [submitted.job, published] {
        replica.http.known(&job, SOON).await;
        replica.http.done(&job, 1, SOON).await;
        let outcome = replica.http.follow(&job, 0).await.next().await.unwrap();
        assert_eq!(output(&outcome), SHOWN);
        let stored = stored(&farm, &sleeper, &job).await;
        assert_eq!(stored, [("msgpack".to_owned(), Bytes::from_static(RESULT))]);
    }
    let (status, problem) = refusal(&replica, MESSAGE_PACK, b"\x81\xa7seconds\xa1x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem:?}");
    assert_eq!(problem.path.as_deref(), Some("seconds"));
    let (status, problem) = refusal(&replica, MESSAGE_PACK, &TASK[..5]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem.error.contains("cut short"), "{problem:?}");
}

#[tokio::test]
async fn raw_bytes_come_and_go_as_they_are() {
    let nats = NatsServer::start().await;
    let mirror = Function::mirror(&nats);
    let replica = mirror.start().await;
    let farm = FarmOnNats::connect(&nats, &mirror).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();

    let job = submit(&replica, OCTET_STREAM, &bytes).await.job;
    replica.http.ended(&job, SOON).await;

    let lines = replica.http.results(&job).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(base64_of(&lines[0]), reversed);
    let stored = stored(&farm, &mirror, &job).await;
    assert_eq!(stored, [("raw".to_owned(), Bytes::from(reversed))]);

    // Many at once, in base64.
    let job = replica.http.submit(&["AAH/", "/w=="]).await.job;
    replica.http.ended(&job, SOON).await;
    let mut lines = replica.http.results(&job).await;
    lines.sort_by(|a, b| a.task.cmp(&b.task));
    let outputs: Vec<_> = lines.iter().map(base64_of).collect();
    assert_eq!(outputs, [vec![0xff, 1, 0], vec![0xff]]);
}

#[tokio::test]
async fn raw_bytes_are_refused_by_a_farm_that_takes_none() {
    let nats = NatsServer::start().await;
    for function in [Function::sleeper(&nats), Function::mandelbrot(&nats)] {
        let replica = function.roles("emitter").start().await;
        let (status, problem) = refusal(&replica, OCTET_STREAM, b"{}").await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(problem.error.contains("takes no raw bytes"), "{problem:?}");
    }
}

#[tokio::test]
async fn raw_bytes_larger_than_a_task_may_be_are_refused() {
    let nats = NatsServer::start().await;
    let mirror = Function::mirror(&nats).set("FARM_MAX_TASK", "1KB");
    let replica = mirror.start().await;
    let (status, problem) = refusal(&replica, OCTET_STREAM, &[7; 1001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(problem.error.contains("FARM_MAX_TASK"), "{problem:?}");
}

#[tokio::test]
async fn a_task_in_a_codec_that_nobody_knows_is_a_dead_letter_that_says_so() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;

    publish(&farm, "farm.sleeper.task.j", "cbor", b"\xa0").await;

    let letter = only_dead_letter(&replica).await;
    assert!(letter.cause.contains("\"cbor\""), "{letter:?}");
    assert!(letter.cause.contains("msgpack"), "{letter:?}");
    assert_eq!(letter.codec.as_deref(), Some("cbor"));
    assert_eq!((letter.body.as_str(), letter.body_is_hex), ("a0", true));
}

#[tokio::test]
async fn a_replay_keeps_the_codec() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;
    let failing = b"\x81\xa4fail\xa9permanent";
    publish(&farm, "farm.sleeper.task.j", "msgpack", failing).await;
    let first = only_dead_letter(&replica).await;
    assert_eq!(first.codec.as_deref(), Some("msgpack"));

    let replayed: Replayed = replica.http.json(Method::POST, "/dead/j.a/replay").await;

    assert_eq!(replayed.replayed, 1);
    let second = eventually("it fails again", SOON, async || {
        let letter = replica.http.dead_letters("").await.pop()?;
        (letter.replays == 1).then_some(letter)
    })
    .await;
    assert_eq!(second.codec, first.codec);
    // As JSON it would not even have fitted the worker.
    assert_eq!(second.cause, first.cause);
    assert!(!second.cause.contains("does not fit"), "{second:?}");
}

#[tokio::test]
async fn an_empty_body_is_a_raw_task_and_stays_one_in_a_replay() {
    let nats = NatsServer::start().await;
    let mirror = Function::mirror(&nats);
    let replica = mirror.start().await;
    let job = submit(&replica, OCTET_STREAM, b"").await.job;
    let first = only_dead_letter(&replica).await;
    assert_eq!(first.cause, "there is nothing to mirror");
    assert_eq!(
        (first.codec.as_deref(), first.body.as_str()),
        (Some("raw"), "")
    );

    let all = format!("/dead/replay?job={job}");
    let replayed: Replayed = replica.http.json(Method::POST, &all).await;

    assert_eq!(replayed.replayed, 1);
    let second = eventually("it fails again", SOON, async || {
        let letter = replica.http.dead_letters("").await.pop()?;
        (letter.replays == 1).then_some(letter)
    })
    .await;
    assert_eq!((second.codec, second.cause), (first.codec, first.cause));
}
