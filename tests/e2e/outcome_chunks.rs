//! The outcomes of many tasks may be one message: readers see tasks all the same.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use farm_core::chunk::{Apart, ChunkId, ChunkRange, OutcomeWriter};
use farm_core::envelope::{self, Ending, Outcome, OutcomeLine};
use farm_core::http::{Cursor, Ended, JobState, TaskOutcome};
use farm_core::{JobId, TaskId};
use farm_tests::{
    FarmOnNats, Function, NatsServer, Receiver, Replica, peak_resident_bytes, within,
};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

fn job() -> JobId {
    JobId::new("album").unwrap()
}

fn now_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

/// A farm whose worker is the test: it stores outcomes as a worker would.
struct Scene {
    nats: NatsServer,
    function: Function,
    replica: Replica,
    farm: FarmOnNats,
}

impl Scene {
    async fn start(function: fn(&NatsServer) -> Function) -> Self {
        let nats = NatsServer::start().await;
        let function = function(&nats).roles("emitter,collector");
        let replica = function.start().await;
        let farm = FarmOnNats::connect(&nats, &function).await;
        Self {
            nats,
            function,
            replica,
            farm,
        }
    }

    /// Announces a job of `accepted` tasks, as an emitter would.
    async fn announce(&self, accepted: u64, callback_url: Option<&str>) {
        let spec = json!({
            "created_seconds": now_seconds(),
            "accepted": accepted,
            "callback_url": callback_url,
        });
        let jobs = self.farm.jobs().await;
        let spec = Bytes::from(spec.to_string());
        jobs.put(format!("{}.spec", job()), spec).await.unwrap();
    }

    async fn store(&self, subject: String, headers: HeaderMap, body: Bytes) -> u64 {
        let message = PublishMessage::build()
            .payload(body)
            .headers(headers)
            .expected_last_subject_sequence(0);
        let sent = self.farm.jetstream.send_publish(subject, message).await;
        sent.unwrap().await.unwrap().sequence
    }

    /// Stores the outcome of the chunk that begins at task `first`; gives back its sequence.
    async fn chunk(&self, first: u64, sojourn_seconds: f64, writer: OutcomeWriter) -> u64 {
        let (done, apart) = (writer.done(), writer.apart());
        self.chunk_of(first, sojourn_seconds, (done, apart), writer.finish())
            .await
    }

    async fn chunk_of(
        &self,
        first: u64,
        sojourn_seconds: f64,
        (done, apart): (u32, u32),
        body: Bytes,
    ) -> u64 {
        let range = ChunkRange::new(first, done + apart).unwrap();
        let headers = envelope(Ending::Chunk { done, apart }, sojourn_seconds);
        let chunk = ChunkId { job: job(), range };
        let subject = self.farm.topology.chunk_subject(&chunk);
        self.store(subject, headers, body).await
    }

    /// Stores the outcome of a task alone.
    async fn single(&self, key: &str, outcome: Outcome, body: &str) -> u64 {
        let headers = envelope(Ending::Task(outcome), 1.0);
        let task = TaskId::new(job(), key.parse().unwrap());
        let subject = self.farm.topology.result_subject(&task);
        self.store(subject, headers, body.to_owned().into()).await
    }
}

fn envelope(ending: Ending, sojourn_seconds: f64) -> HeaderMap {
    let alone = matches!(ending, Ending::Task(_));
    let line = OutcomeLine {
        submitted_seconds: Some(now_seconds() - sojourn_seconds),
        service_seconds: alone.then_some(0.25),
        deadline_seconds: Some(30.0),
        attempt: 2,
        ..OutcomeLine::new(ending, "w-1")
    };
    let mut headers = HeaderMap::new();
    headers.insert(envelope::OUTCOME, line.to_string());
    headers
}

/// A chunk whose tasks from `first` to before `end` are done.
fn all_done(first: u64, end: u64) -> OutcomeWriter {
    let mut writer = OutcomeWriter::default();
    for number in first..end {
        writer.push_done(0.001, number.to_string().as_bytes());
    }
    writer
}

/// What a line says of its task: key, outcome, output.
fn said(line: &TaskOutcome) -> (String, Outcome, Option<String>) {
    let output = line.output.as_ref().map(|output| output.get().to_owned());
    (line.task.clone(), line.outcome, output)
}

fn done(number: u64) -> (String, Outcome, Option<String>) {
    (number.to_string(), Outcome::Done, Some(number.to_string()))
}

#[tokio::test]
async fn each_task_of_a_chunk_counts_and_has_its_line() {
    let scene = Scene::start(Function::sleeper).await;
    let http = &scene.replica.http;
    scene.announce(10, None).await;
    http.known(&job(), SOON).await;
    let mut live = http.follow(&job(), 0).await;

    // Task 1 fails, 2 is tried again, 4 and 5 are queued again.
    let mut writer = OutcomeWriter::default();
    writer.push_done(0.5, b"0");
    let cause = || "broken".to_owned();
    writer.push_apart(&Apart::Failed { cause: cause() });
    writer.push_apart(&Apart::Retry {
        delay: SOON,
        cause: cause(),
    });
    writer.push_done(1.2e-5, b"3");
    writer.push_apart(&Apart::Requeued { count: 2 });
    let first_sequence = scene.chunk(0, 1.0, writer).await;
    let early = [live.next().await.unwrap(), live.next().await.unwrap()];
    assert_eq!(early.each_ref().map(said), [done(0), done(3)]);
    http.done(&job(), 2, SOON).await;
    let status = http.job(&job()).await;
    assert_eq!((status.state, status.in_flight), (JobState::Running, 8));

    scene.single("1", Outcome::Failed, r#""broken""#).await;
    scene.chunk(4, 1.0, all_done(4, 6)).await;
    scene.single("2", Outcome::Done, "2").await;
    // These are late.
    scene.chunk(6, 1_000.0, all_done(6, 10)).await;
    let status = http.ended(&job(), SOON).await;
    assert_eq!((status.done, status.failed), (9, 1));
    assert_eq!(
        (status.state, status.qos_ratio),
        (JobState::Done, Some(0.5))
    );

    let late = within("the live results end", SOON, live.rest()).await;
    let lines: Vec<_> = early.into_iter().chain(late).collect();
    let failed = ("1".to_owned(), Outcome::Failed, None);
    let wanted = [done(0), done(3), failed, done(4), done(5), done(2)];
    let wanted: Vec<_> = wanted.into_iter().chain((6..10).map(done)).collect();
    assert_eq!(lines.iter().map(said).collect::<Vec<_>>(), wanted);
    let seconds: Vec<f64> = lines.iter().map(|line| line.service_seconds).collect();
    assert_eq!(seconds[..3], [0.5, 0.000012, 0.25]);
    let met: Vec<_> = lines.iter().map(|line| line.in_deadline).collect();
    assert_eq!(met[1..4], [Some(true), Some(false), Some(true)]);
    assert_eq!(met[9], Some(false));
    assert!(lines[9].sojourn_seconds >= 1_000.0);
    assert_eq!((lines[0].attempt, lines[0].worker.as_str()), (2, "w-1"));

    let place = |line: &TaskOutcome| Cursor::from_number(line.cursor);
    let (sequence, index) = (first_sequence, 3);
    assert_eq!(place(&lines[1]), Cursor { sequence, index });
    for (position, line) in lines.iter().enumerate() {
        let mut rest = http.follow(&job(), line.cursor).await;
        let rest = within("the rest ends", SOON, rest.rest()).await;
        let rest: Vec<_> = rest.iter().map(said).collect();
        assert_eq!(rest, wanted[position + 1..], "after line {position}");
    }
    let collected = [("role", "collector"), ("outcome", "done")];
    let metrics = scene.replica.metrics().await;
    assert_eq!(metrics.sum("farm_tasks_total", &collected), Some(9.0));
}

#[tokio::test]
async fn a_large_chunk_comes_whole_and_resumes_anywhere() {
    let scene = Scene::start(Function::sleeper).await;
    let http = &scene.replica.http;
    scene.announce(12_288, None).await;
    for first in [0, 4096, 8192] {
        scene.chunk(first, 1.0, all_done(first, first + 4096)).await;
    }
    http.ended(&job(), SOON).await;
    let lines = http.results(&job()).await;
    let keys = |lines: &[TaskOutcome]| -> Vec<u64> {
        lines
            .iter()
            .map(|line| line.task.parse().unwrap())
            .collect()
    };
    assert_eq!(keys(&lines), (0..12_288).collect::<Vec<_>>());
    assert!(lines.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
    for position in [4094, 4095, 4096, 9_000] {
        let mut rest = http.follow(&job(), lines[position].cursor).await;
        let rest = within("the rest ends", SOON, rest.rest()).await;
        let wanted: Vec<u64> = (position as u64 + 1..12_288).collect();
        assert_eq!(keys(&rest), wanted);
    }
}

#[tokio::test]
async fn large_chunks_behind_small_outcomes_take_little_memory() {
    const READERS: usize = 4;
    let scene = Scene::start(Function::sleeper).await;
    let http = &scene.replica.http;
    for number in 0..3_000 {
        scene.single(&number.to_string(), Outcome::Done, "1").await;
    }
    // 32 MB, which any of the readers would take in at a go.
    let output = format!("\"{}\"", "x".repeat(8_000));
    for first in (3_000..7_000).step_by(100) {
        let mut writer = OutcomeWriter::default();
        for _ in 0..100 {
            writer.push_done(0.001, output.as_bytes());
        }
        scene.chunk(first, 1.0, writer).await;
    }
    http.done(&job(), 7_000, SOON).await;
    let before_bytes = peak_resident_bytes(scene.replica.process.id());
    let mut waiting = Vec::new();
    for _ in 0..READERS {
        let mut reader = http.follow(&job(), 0).await;
        while reader.next().await.unwrap().task != "3000" {}
        waiting.push(reader);
    }
    let mut lines = http.follow(&job(), 0).await;
    for _ in 0..7_000 {
        within("a line", SOON, lines.next()).await.unwrap();
    }
    let grown_bytes = peak_resident_bytes(scene.replica.process.id()) - before_bytes;
    assert!(grown_bytes < 48 << 20, "{grown_bytes} bytes more");
}

#[tokio::test]
async fn an_outcome_that_cannot_be_read_hurts_nobody_else() {
    let mut scene = Scene::start(Function::sleeper).await;
    scene.announce(9, None).await;
    scene.chunk(0, 1.0, all_done(0, 3)).await;
    let body = all_done(3, 6).finish();
    let cut = body.slice(..body.len() - 1);
    scene.chunk_of(3, 1.0, (3, 0), cut).await;
    scene.chunk(6, 1.0, all_done(6, 9)).await;

    let http = &scene.replica.http;
    let status = http.ended(&job(), SOON).await;
    assert_eq!((status.done, status.failed), (9, 0));
    let lines = within("results end", SOON, http.results(&job())).await;
    let lines: Vec<_> = lines.iter().map(said).collect();
    let wanted: Vec<_> = [0, 1, 2, 6, 7, 8].map(done).into();
    assert_eq!(lines, wanted);
    assert!(scene.replica.process.ended().is_none());
}

#[tokio::test]
async fn the_next_collector_counts_each_chunk_once() {
    let mut scene = Scene::start(Function::sleeper).await;
    scene.announce(1_536, None).await;
    for first in [0, 512] {
        scene.chunk(first, 1.0, all_done(first, first + 512)).await;
    }
    scene.replica.http.done(&job(), 1_024, SOON).await;
    // What it has counted it may have stored or not.
    scene.replica.kill();
    scene.chunk(1_024, 1.0, all_done(1_024, 1_536)).await;
    scene.replica = scene.function.start().await;
    let status = scene.replica.http.ended(&job(), SOON).await;
    assert_eq!((status.done, status.failed), (1_536, 0));
}

#[tokio::test]
async fn a_callback_brings_every_task_of_a_chunk() {
    let scene = Scene::start(Function::sleeper).await;
    let receiver = Receiver::start().await;
    scene.announce(6, Some(receiver.url())).await;
    scene.chunk(0, 1.0, all_done(0, 5)).await;
    scene.single("5", Outcome::Failed, r#""broken""#).await;
    receiver.wait_for(1, SOON).await;
    let ended: Ended = serde_json::from_slice(&receiver.received()[0].body).unwrap();
    assert_eq!((ended.status.done, ended.status.failed), (5, 1));
    let results = ended.results.unwrap();
    let wanted = (0..5).map(done);
    let failed = ("5".to_owned(), Outcome::Failed, None);
    let wanted: Vec<_> = wanted.chain([failed]).collect();
    assert_eq!(results.iter().map(said).collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn a_summary_is_folded_from_chunks_as_from_single_outcomes() {
    let scene = Scene::start(Function::mandelbrot).await;
    let http = &scene.replica.http;
    let worker = Function::mandelbrot(&scene.nats).roles("worker");
    let _worker = worker.start().await;
    let picture = json!({
        "centre": {"re": -0.5, "im": 0.0}, "width": 3.0,
        "width_pixels": 64, "height_pixels": 64, "tile_pixels": 16,
        "max_iterations": 100, "samples_per_side": 1,
    });
    let original = http.submit(&picture).await;
    http.ended(&original.job, SOON).await;
    let lines = http.results(&original.job).await.into_iter();
    let tiles: BTreeMap<u64, Box<serde_json::value::RawValue>> = lines
        .map(|line| (line.task.parse().unwrap(), line.output.unwrap()))
        .collect();
    assert_eq!(tiles.len() as u64, original.accepted);

    scene.announce(original.accepted, None).await;
    let tiles: Vec<_> = tiles.values().collect();
    for (number, part) in tiles.chunks(5).enumerate() {
        let mut writer = OutcomeWriter::default();
        for tile in part {
            writer.push_done(0.001, tile.get().as_bytes());
        }
        scene.chunk(number as u64 * 5, 1.0, writer).await;
    }
    http.ended(&job(), SOON).await;
    let summary = async |job: &JobId| -> Value {
        http.json(Method::GET, &format!("/jobs/{job}/summary"))
            .await
    };
    assert_eq!(summary(&job()).await, summary(&original.job).await);
}
