//! Many tasks in one message: each is still a task of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use farm_core::envelope::{self, Outcome};
use farm_core::http::TaskOutcome;
use farm_core::{JobId, chunk::ChunkWriter};
use farm_tests::{Counts, FarmOnNats, Function, NatsServer, Restarted, eventually};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// A farm whose emitter puts `tasks` into a message.
fn chunked(nats: &NatsServer, tasks: usize) -> Function {
    Function::sleeper(nats).set("FARM_GRANULARITY", tasks)
}

fn job(name: &str) -> JobId {
    JobId::new(name).unwrap()
}

/// Queues `tasks` of a job as one message, from its task `first` on.
async fn publish_chunk(farm: &FarmOnNats, job: &str, first: u64, tasks: &[Value]) {
    let mut writer = ChunkWriter::default();
    for task in tasks {
        writer.push(task.to_string().as_bytes());
    }
    let (count, body) = writer.take();
    let message = PublishMessage::build()
        .payload(body)
        .header(envelope::CHUNK, format!("{first}-{count}").as_str());
    let subject = format!("farm.sleeper.task.{job}");
    let stored = farm.jetstream.send_publish(subject, message).await;
    stored.unwrap().await.unwrap();
}

/// The outcomes of a job by task; each task has one.
fn by_task(outcomes: Vec<TaskOutcome>) -> BTreeMap<u64, TaskOutcome> {
    let count = outcomes.len();
    let by_task: BTreeMap<u64, _> = outcomes
        .into_iter()
        .map(|outcome| (outcome.task.parse().unwrap(), outcome))
        .collect();
    assert_eq!(by_task.len(), count, "a task has two outcomes");
    by_task
}

fn tag(outcome: &TaskOutcome) -> String {
    let output: Value = serde_json::from_str(outcome.output.as_ref().unwrap().get()).unwrap();
    output["tag"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn each_task_of_a_chunk_has_its_own_verdict() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 100).set("FARM_BACKOFF", "10ms");
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let tasks = (0..60).map(|number| match number {
        7 => json!({"fail": "permanent", "tag": "7"}),
        8 => json!({"fail": "transient", "fail_attempts": 1, "tag": "8"}),
        9 => json!({"fail": "panic", "tag": "9"}),
        _ => json!({"tag": number.to_string()}),
    });

    let job = replica.http.submit_lines(tasks).await.job;
    let status = replica.http.ended(&job, SOON).await;
    let outcomes = by_task(replica.http.results(&job).await);
    let dead = replica.http.dead(&job).await;

    assert_eq!((status.done, status.failed), (58, 2));
    assert_eq!(outcomes.len(), 60);
    for (number, outcome) in &outcomes {
        match number {
            7 | 9 => assert_eq!(outcome.outcome, Outcome::Failed),
            _ => assert_eq!(tag(outcome), number.to_string()),
        }
        assert_eq!(
            outcome.attempt,
            if *number == 8 { 2 } else { 1 },
            "{number}"
        );
    }
    let letters: Vec<_> = dead.iter().map(|letter| letter.task.key.as_str()).collect();
    assert_eq!(letters, ["7", "9"]);
    assert!(dead[0].body.contains(r#""tag":"7""#), "{:?}", dead[0]);
    // One for the chunk, one for each task that did not end in it.
    let counts = Counts {
        tasks: 0,
        results: 4,
        dead: 2,
    };
    assert_eq!(on_nats.counts().await, counts);
}

#[tokio::test]
async fn a_dead_letter_of_a_chunk_is_replayed_alone() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 100).set("FARM_MAX_ATTEMPTS", 1);
    let replica = sleeper.start().await;
    let tasks = (0..10).map(|number| match number {
        3 => json!({"fail": "transient", "fail_attempts": 1, "tag": "3"}),
        _ => json!({}),
    });
    let job = replica.http.submit_lines(tasks).await.job;
    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (9, 1));

    // It fails again: a replay counts its attempts from the first.
    let path = format!("/dead/{job}.3/replay");
    let _: Value = replica.http.json(reqwest::Method::POST, &path).await;
    eventually("it is a dead letter again", SOON, async || {
        let dead = replica.http.dead(&job).await;
        dead.iter().any(|letter| letter.replays == 1).then_some(())
    })
    .await;
    let outcomes = by_task(replica.http.results(&job).await);
    assert_eq!(outcomes.len(), 10);
    let status = replica.http.job(&job).await;
    assert_eq!((status.done, status.failed), (9, 1));
}

#[tokio::test]
async fn a_chunk_whose_worker_is_killed_is_computed_by_another() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 8).set("FARM_ACK_WAIT", "1s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let workers = sleeper.clone().roles("worker").set("FARM_SLOTS", 2);
    let mut first = workers.start().await;
    let tasks = (0..64).map(|number| json!({"seconds": 0.02, "tag": number.to_string()}));
    let job = front.http.submit_lines(tasks).await.job;
    front.http.done(&job, 1, SOON).await;

    first.kill();
    let _second = workers.start().await;

    let status = front.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (64, 0));
    for (number, outcome) in by_task(front.http.results(&job).await) {
        assert_eq!(tag(&outcome), number.to_string());
    }
}

#[tokio::test]
async fn a_long_task_keeps_the_others_of_its_chunk_from_nobody() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 100).set("FARM_SLOTS", 2);
    let replica = sleeper.start().await;
    let tasks = (0..100).map(|number| match number {
        2 => json!({"seconds": 4.0}),
        _ => json!({}),
    });
    let job = replica.http.submit_lines(tasks).await.job;

    replica.http.done(&job, 99, Duration::from_secs(3)).await;
    assert_eq!(replica.http.job(&job).await.done, 99, "one still computes");
    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (100, 0));
    assert_eq!(by_task(replica.http.results(&job).await).len(), 100);
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_gives_the_rest_of_its_chunk_back() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 50).set("FARM_ACK_WAIT", "60s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let workers = sleeper.clone().roles("worker");
    let mut first = workers.start().await;
    let tasks = (0..50).map(|_| json!({"seconds": 0.4}));
    let job = front.http.submit_lines(tasks).await.job;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    eventually("the chunk is cut", SOON, async || {
        (on_nats.deliveries().await > 0).then_some(())
    })
    .await;

    first.terminate();
    assert!(first.exit(Duration::from_secs(5)).await.success());
    let _others = workers.set("FARM_SLOTS", 10).start_many(2).await;

    let status = front.http.ended(&job, Duration::from_secs(20)).await;
    assert_eq!((status.done, status.failed), (50, 0));
    assert_eq!(by_task(front.http.results(&job).await).len(), 50);
}

#[tokio::test]
async fn a_poison_task_takes_no_other_of_its_chunk_with_it() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 20)
        .set("FARM_ACK_WAIT", "1s")
        .set("FARM_MAX_DELIVERIES", 4);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker").set("FARM_SLOTS", 2);
    let _workers = Restarted::start(&worker, 2).await;
    let tasks = (0..40).map(|number| match number {
        13 => json!({"fail": "exit"}),
        _ => json!({"seconds": 0.001}),
    });
    let job = front.http.submit_lines(tasks).await.job;

    let status = front.http.ended(&job, Duration::from_secs(120)).await;
    let dead = front.http.dead(&job).await;
    assert_eq!((status.done, status.failed), (39, 1), "{dead:?}");
    assert_eq!(dead[0].task.key.as_str(), "13");
    assert_eq!(by_task(front.http.results(&job).await).len(), 40);
}

#[tokio::test]
async fn results_that_do_not_fit_one_message_become_several() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 64);
    let replica = sleeper.start().await;
    let tasks = (0..64).map(|number| match number {
        // Larger than any message may be.
        40 => json!({"payload_bytes": 2_000_000}),
        _ => json!({"payload_bytes": 60_000, "tag": number.to_string()}),
    });
    let job = replica.http.submit_lines(tasks).await.job;
    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (63, 1));
    let outcomes = by_task(replica.http.results(&job).await);
    assert_eq!(outcomes.len(), 64);
    let too_large = outcomes[&40].error.as_ref().unwrap();
    assert!(too_large.contains("too large"), "{too_large}");
}

#[tokio::test]
async fn a_chunk_that_is_published_twice_has_one_result_a_task() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let tasks = [json!({}), json!({"fail": "permanent"}), json!({})];
    publish_chunk(&on_nats, "j", 5, &tasks).await;
    publish_chunk(&on_nats, "j", 5, &tasks).await;
    replica.http.known(&job("j"), SOON).await;
    replica.http.done(&job("j"), 2, SOON).await;
    eventually("both are worked off", SOON, async || {
        (on_nats.counts().await.tasks == 0).then_some(())
    })
    .await;
    let counts = Counts {
        tasks: 0,
        results: 2,
        dead: 1,
    };
    assert_eq!(on_nats.counts().await, counts);
    let status = replica.http.job(&job("j")).await;
    assert_eq!((status.done, status.failed), (2, 1));
    let duplicate = [("role", "worker"), ("outcome", "duplicate")];
    eventually("each duplicate is counted", SOON, async || {
        let metrics = replica.metrics().await;
        (metrics.sum("farm_tasks_total", &duplicate) == Some(3.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_chunk_is_a_dead_letter() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    for header in ["0-2", "0-0", "many"] {
        let message = PublishMessage::build()
            .payload("not two tasks".into())
            .header(envelope::CHUNK, header);
        let sent = on_nats
            .jetstream
            .send_publish("farm.sleeper.task.j", message)
            .await;
        sent.unwrap().await.unwrap();
    }
    let dead = eventually("all are dead letters", SOON, async || {
        let dead = replica.http.dead_letters("").await;
        (dead.len() == 3).then_some(dead)
    })
    .await;
    assert!(
        dead.iter()
            .all(|letter| letter.cause.contains("broken chunk")),
        "{dead:?}"
    );
    assert_eq!(on_nats.counts().await.tasks, 0);
}

#[tokio::test]
async fn what_is_left_of_a_lost_workers_chunk_is_completed_by_the_next() {
    let nats = NatsServer::start().await;
    let sleeper = chunked(&nats, 10)
        .set("FARM_ACK_WAIT", "1s")
        .set("FARM_SLOTS", 4);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker");
    // The worker settles the nine, and dies of the tenth.
    let _workers = Restarted::start(&worker.clone().set("FARM_MAX_DELIVERIES", 2), 1).await;
    let tasks = (0..10).map(|number| match number {
        4 => json!({"seconds": 1.0, "fail": "exit", "fail_attempts": 1}),
        _ => json!({}),
    });
    let job = front.http.submit_lines(tasks).await.job;
    front.http.done(&job, 9, SOON).await;
    let outcomes = front.http.job(&job).await;
    assert_eq!(outcomes.failed, 0);
    let status = front.http.ended(&job, SOON).await;
    assert_eq!(status.done + status.failed, 10);
    assert_eq!(by_task(front.http.results(&job).await).len(), 10);
}

#[tokio::test]
async fn a_chunk_in_an_unknown_codec_is_a_dead_letter_for_each_task() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let mut writer = ChunkWriter::default();
    for task in [b"{}", b"[]"] {
        writer.push(task);
    }
    let message = PublishMessage::build()
        .payload(writer.take().1)
        .header(envelope::CHUNK, "4-2")
        .header(envelope::CODEC, "morse");
    let subject = "farm.sleeper.task.j";
    let sent = on_nats.jetstream.send_publish(subject, message).await;
    sent.unwrap().await.unwrap();

    let mut dead = eventually("both are dead letters", SOON, async || {
        let dead = replica.http.dead_letters("").await;
        (dead.len() == 2).then_some(dead)
    })
    .await;
    dead.sort_by_key(|letter| letter.task.key.to_string());
    let read = |number: usize| (dead[number].task.to_string(), dead[number].body.clone());
    assert_eq!(read(0), ("j.4".to_owned(), "{}".to_owned()));
    assert_eq!(read(1), ("j.5".to_owned(), "[]".to_owned()));
    assert!(dead[0].cause.contains("morse"), "{dead:?}");
    assert_eq!(dead[0].codec.as_deref(), Some("morse"));
    eventually("the chunk is worked off", SOON, async || {
        (on_nats.counts().await.tasks == 0).then_some(())
    })
    .await;
}
