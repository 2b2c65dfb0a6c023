//! A queue without room, and messages without: what is left of a chunk is computed all the same.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use farm_core::chunk::ChunkWriter;
use farm_core::topology::key;
use farm_core::{JobId, envelope};
use farm_tests::{Counts, FarmOnNats, Function, NatsServer, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// A farm whose only message holds its place in the queue until it is worked off.
fn crowded(nats: &NatsServer) -> Function {
    Function::sleeper(nats)
        .set("FARM_QUEUE_MAX_TASKS", 1)
        .set("FARM_GRANULARITY", 4)
        .set("FARM_BACKOFF", "50ms")
}

async fn publish(farm: &FarmOnNats, message: PublishMessage) {
    let sent = farm.jetstream.send_publish("farm.sleeper.task.j", message);
    sent.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_though_the_queue_is_full() {
    let nats = NatsServer::start().await;
    let sleeper = crowded(&nats).set("FARM_MAX_ATTEMPTS", 3);
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let tasks = [
        json!({}),
        json!({"fail": "transient", "fail_attempts": 2}),
        json!({"fail": "transient"}),
        json!({"fail": "permanent"}),
    ];
    let job = replica.http.submit_lines(tasks).await.job;
    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (2, 2));
    let mut outcomes = replica.http.results(&job).await;
    outcomes.sort_by_key(|outcome| outcome.task.clone());
    let attempts: Vec<_> = outcomes.iter().map(|outcome| outcome.attempt).collect();
    assert_eq!(attempts, [1, 3, 3, 1]);
    let counts = Counts {
        tasks: 0,
        results: 4,
        dead: 2,
    };
    eventually("the chunk is off the queue", SOON, async || {
        (on_nats.counts().await == counts).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_rest_of_a_long_chunk_is_computed_though_the_queue_is_full() {
    let nats = NatsServer::start().await;
    let sleeper = crowded(&nats).set("FARM_GRANULARITY", 20);
    let replica = sleeper.set("FARM_SLOTS", 2).start().await;
    let tasks = (0..20).map(|_| json!({"seconds": 0.1}));
    let job = replica.http.submit_lines(tasks).await.job;
    let status = replica.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (20, 0));
    assert_eq!(replica.http.results(&job).await.len(), 20);
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_waits_for_no_room_in_the_queue() {
    let nats = NatsServer::start().await;
    let sleeper = crowded(&nats).set("FARM_ACK_WAIT", "60s");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let workers = sleeper.clone().roles("worker");
    let mut first = workers
        .clone()
        .set("FARM_BACKOFF", "1h")
        .set("FARM_BACKOFF_MAX", "1h")
        .start()
        .await;
    let tasks = [
        json!({}),
        json!({"fail": "transient", "fail_attempts": 1}),
        json!({}),
        json!({}),
    ];
    let job = front.http.submit_lines(tasks).await.job;
    front.http.done(&job, 3, SOON).await;

    first.terminate();
    assert!(first.exit(Duration::from_secs(10)).await.success());
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    assert_eq!(on_nats.counts().await.tasks, 1, "the rest is not lost");
}

#[tokio::test]
async fn a_task_that_only_just_fits_a_message_is_tried_again() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_BACKOFF", "10ms");
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let most_bytes = on_nats.client.server_info().max_payload;
    // With its header the chunk is exactly as large as a message may be.
    let header_bytes = "NATS/1.0\r\nfarm-chunk: 0-2\r\n\r\n".len();
    let lengths_bytes = 2 * ChunkWriter::cost_bytes(0);
    let large_bytes = most_bytes - header_bytes - lengths_bytes - "{}".len();
    let mut large = json!({"fail": "transient", "fail_attempts": 1}).to_string();
    large.push_str(&" ".repeat(large_bytes - large.len()));
    let mut writer = ChunkWriter::default();
    writer.push(b"{}");
    writer.push(large.as_bytes());
    let message = PublishMessage::build()
        .payload(writer.take().1)
        .header(envelope::CHUNK, "0-2");
    publish(&on_nats, message).await;

    let job = JobId::new("j").unwrap();
    replica.http.known(&job, SOON).await;
    replica.http.done(&job, 2, SOON).await;
    eventually("the chunk is off the queue", SOON, async || {
        (on_nats.counts().await.tasks == 0).then_some(())
    })
    .await;
    assert_eq!(replica.http.job(&job).await.failed, 0);
}

#[tokio::test]
async fn what_comes_back_into_the_queue_after_a_cancellation_is_not_computed() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let job = JobId::new("j").unwrap();
    let mark = json!({"cancelled_seconds": 1.0, "reason": "test"});
    let jobs = on_nats.jobs().await;
    let put = jobs.put(key::cancel(&job), mark.to_string().into()).await;
    put.unwrap();

    let out_of_chunk = |body: bytes::Bytes| {
        let message = PublishMessage::build().payload(body);
        message.header(envelope::FAILED, "0")
    };
    let mut writer = ChunkWriter::default();
    writer.push(b"{}");
    writer.push(b"{}");
    let chunk = out_of_chunk(writer.take().1).header(envelope::CHUNK, "0-2");
    publish(&on_nats, chunk).await;
    let alone = out_of_chunk("{}".into()).header(envelope::TASK, "2");
    publish(&on_nats, alone).await;
    eventually("both are off the queue", SOON, async || {
        (on_nats.counts().await.tasks == 0).then_some(())
    })
    .await;
    assert_eq!(on_nats.counts().await.results, 0);
    drop(replica);
}
