//! Chunks of which NATS has lost sight are taken up again, unless all their tasks are done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::PublishMessage;
use farm_core::chunk::{Apart, ChunkId, ChunkRange, ChunkWriter, OutcomeWriter};
use farm_core::envelope::{Ending, OutcomeLine};
use farm_core::topology::Topology;
use farm_core::{JobId, envelope};
use farm_tests::{FarmOnNats, Function, NatsServer, eventually};
use futures_util::TryStreamExt;

/// A collector looks every five seconds, and acts on what it has seen twice.
const SOON: Duration = Duration::from_secs(60);

fn chunk(first: u64) -> ChunkId {
    ChunkId {
        job: JobId::new("album").unwrap(),
        range: ChunkRange::new(first, 2).unwrap(),
    }
}

/// Queues a chunk of two tasks.
async fn queue(farm: &FarmOnNats, first: u64) {
    let mut writer = ChunkWriter::default();
    writer.push(b"{}");
    writer.push(b"{}");
    let chunk = chunk(first);
    let mut headers = HeaderMap::new();
    headers.insert(envelope::CHUNK, chunk.range.to_string());
    let message = PublishMessage::build()
        .payload(writer.take().1)
        .headers(headers)
        .message_id(chunk.to_string());
    let subject = farm.topology.task_subject(&chunk.job);
    let sent = farm.jetstream.send_publish(subject, message).await;
    sent.unwrap().await.unwrap();
}

/// Stores the outcome of a chunk, of whose last task it says `apart`.
async fn settle(farm: &FarmOnNats, first: u64, apart: Option<Apart>) {
    let mut writer = OutcomeWriter::default();
    writer.push_done(0.0, b"1");
    match apart {
        Some(apart) => writer.push_apart(&apart),
        None => writer.push_done(0.0, b"1"),
    }
    let ending = Ending::Chunk {
        done: writer.done(),
        apart: writer.apart(),
    };
    let mut headers = HeaderMap::new();
    let line = OutcomeLine::new(ending, "w-1");
    headers.insert(envelope::OUTCOME, line.to_string());
    let message = PublishMessage::build()
        .payload(writer.finish())
        .headers(headers);
    let subject = farm.topology.chunk_subject(&chunk(first));
    let sent = farm.jetstream.send_publish(subject, message).await;
    sent.unwrap().await.unwrap();
}

async fn workers(farm: &FarmOnNats) -> PullConsumer {
    let stream = farm.topology.tasks_stream();
    let workers = Topology::WORKERS_CONSUMER;
    let consumer = farm.jetstream.get_consumer_from_stream(workers, stream);
    consumer.await.unwrap()
}

/// Messages of the stream of tasks as they are on disk.
fn messages(nats: &NatsServer, farm: &FarmOnNats) -> PathBuf {
    let streams = nats.store_folder().join("jetstream/$G/streams");
    streams.join(farm.topology.tasks_stream()).join("msgs")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_chunk_out_of_sight_is_removed_if_all_is_done_and_else_queued_again() {
    let mut nats = NatsServer::start().await;
    let function = Function::sleeper(&nats).roles("emitter,collector");
    let mut replica = function.start().await;
    let farm = FarmOnNats::connect(&nats, &function).await;
    for first in [0, 2, 4] {
        queue(&farm, first).await;
    }
    settle(&farm, 0, None).await;
    settle(&farm, 2, Some(Apart::Kept)).await;
    replica.kill();

    // The server comes back with the messages of before they were acknowledged.
    nats.stop().await;
    let (stored, kept) = (messages(&nats, &farm), tempfile::tempdir().unwrap());
    copy(&stored, kept.path());
    nats.start_again().await;
    let batch = workers(&farm)
        .await
        .fetch()
        .max_messages(3)
        .messages()
        .await;
    let delivered: Vec<_> = batch.unwrap().try_collect().await.unwrap();
    for message in &delivered {
        message.double_ack().await.unwrap();
    }
    assert_eq!((delivered.len(), farm.counts().await.tasks), (3, 0));
    nats.stop().await;
    std::fs::remove_dir_all(&stored).unwrap();
    copy(kept.path(), &stored);
    nats.start_again().await;
    let mut consumer = workers(&farm).await;
    assert_eq!(farm.counts().await.tasks, 3);
    assert_eq!(consumer.info().await.unwrap().num_pending, 0);

    let _replica = function.start().await;
    eventually("two chunks are queued again", SOON, async || {
        let pending = consumer.info().await.unwrap().num_pending;
        (pending == 2 && farm.counts().await.tasks == 2).then_some(())
    })
    .await;
    let batch = consumer.fetch().max_messages(2).messages().await;
    let again: Vec<_> = batch.unwrap().try_collect().await.unwrap();
    for (message, before, first) in [(&again[0], &delivered[1], 2), (&again[1], &delivered[2], 4)] {
        assert_eq!(message.payload, before.payload);
        let headers = message.headers.as_ref().unwrap();
        let header = |name| headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(header(envelope::CHUNK), Some(format!("{first}-2")));
        assert_eq!(header(envelope::TASK), None);
        assert!(header(envelope::SUBMITTED_SECONDS).is_some());
    }
}
