//! Many tasks in one message: how many, and that every task is in exactly one.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use bytes::Bytes;
use farm_core::chunk::{ChunkRange, read_tasks};
use farm_core::envelope;
use farm_core::http::{Accepted, NDJSON, Problem};
use farm_core::job::{ChunkPlan, JobSpec};
use farm_core::telemetry::{Moments, WorkerTelemetry};
use farm_core::topology::key;
use farm_core::{JobId, TaskKey};
use farm_tests::{FarmOnNats, Function, NatsOptions, NatsServer, Replica, eventually, streamed};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A message in the tasks stream.
struct Message {
    first: u64,
    tasks: Vec<Bytes>,
    headers: HeaderMap,
}

impl Message {
    fn read(message: async_nats::jetstream::message::StreamMessage) -> Self {
        let headers = message.headers;
        let Some(chunk) = headers.get(envelope::CHUNK) else {
            let id = headers.get("Nats-Msg-Id").unwrap().as_str();
            let (_, key) = id.rsplit_once('.').unwrap();
            return Self {
                first: key.parse().unwrap(),
                tasks: vec![message.payload],
                headers,
            };
        };
        assert!(headers.get(envelope::TASK).is_none());
        let range = ChunkRange::parse(chunk.as_str()).unwrap();
        Self {
            first: range.first(),
            tasks: read_tasks(range.count(), message.payload).unwrap(),
            headers,
        }
    }

    fn is_single(&self) -> bool {
        self.headers.get(envelope::CHUNK).is_none()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

/// A farm whose tasks nobody takes.
struct Queue {
    nats: NatsServer,
    function: Function,
    on_nats: FarmOnNats,
    emitter: Replica,
}

impl Queue {
    async fn of(granularity: &str) -> Self {
        let nats = NatsServer::start().await;
        Self::at(nats, granularity).await
    }

    async fn at(nats: NatsServer, granularity: &str) -> Self {
        let function = Function::sleeper(&nats).roles("emitter,collector");
        let emitter = function.clone().set("FARM_GRANULARITY", granularity);
        let emitter = emitter.start().await;
        let on_nats = FarmOnNats::connect(&nats, &function).await;
        Self {
            nats,
            function,
            on_nats,
            emitter,
        }
    }

    fn submit(&self) -> RequestBuilder {
        let request = self.emitter.http.request(Method::POST, "/");
        request.header("content-type", NDJSON)
    }

    async fn stream(&self) -> stream::Stream {
        let name = self.on_nats.topology.tasks_stream();
        self.on_nats.jetstream.get_stream(name).await.unwrap()
    }

    /// What is queued of a job, in the order of its tasks.
    async fn messages(&self, job: &JobId) -> Vec<Message> {
        let subject = self.on_nats.topology.task_subject(job);
        let stream = self.stream().await;
        let mut messages = Vec::new();
        for sequence in 1..=stream.cached_info().state.last_sequence {
            if let Ok(message) = stream.get_raw_message(sequence).await
                && message.subject.as_str() == subject
            {
                messages.push(Message::read(message));
            }
        }
        messages.sort_by_key(|message| message.first);
        messages
    }

    /// Says, as a worker would, how long its tasks took.
    async fn report(&self, sequence: u64, slots: u32, service_seconds: &[f64]) {
        let mut service = Moments::default();
        for seconds in service_seconds {
            service.observe(*seconds);
        }
        let report = WorkerTelemetry {
            replica: format!("worker-{sequence}"),
            sequence,
            slots,
            service,
            ..WorkerTelemetry::default()
        };
        let subject = self.on_nats.topology.telemetry_subject();
        let json = serde_json::to_vec(&report).unwrap();
        let client = &self.on_nats.client;
        client.publish(subject, json.into()).await.unwrap();
    }

    /// Reports until jobs of `tasks` tasks leave in messages as `expected`.
    async fn learns(&self, seconds: f64, tasks: usize, expected: impl Fn(&[Message]) -> bool) {
        eventually("the emitter hears of it", SOON, async || {
            self.report(1, 4, &[seconds; 1000]).await;
            let job = self.emitter.http.submit_lines(numbered(0..tasks)).await.job;
            expected(&self.messages(&job).await).then_some(())
        })
        .await;
    }
}

fn numbered(tasks: std::ops::Range<usize>) -> impl Iterator<Item = Value> {
    tasks.map(|number| json!({"tag": number.to_string()}))
}

fn lines(tasks: std::ops::Range<usize>) -> String {
    numbered(tasks).map(|task| format!("{task}\n")).collect()
}

/// That every task of the job is in one message, where it belongs.
fn assert_complete(messages: &[Message], tasks: usize) {
    let mut next = 0;
    for message in messages {
        assert_eq!(message.first, next, "a task is missing, or there twice");
        for task in &message.tasks {
            let task: Value = serde_json::from_slice(task).unwrap();
            assert_eq!(task["tag"], next.to_string());
            next += 1;
        }
    }
    assert_eq!(next, tasks as u64);
}

fn largest(messages: &[Message]) -> usize {
    let tasks = messages.iter().map(|message| message.tasks.len());
    tasks.max().unwrap_or(0)
}

#[tokio::test]
async fn a_chunk_says_what_it_holds_and_a_task_that_comes_alone_is_as_ever() {
    let queue = Queue::of("256").await;
    let request = queue.submit().header("farm-deadline", "2s");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = request.header("traceparent", trace).body(lines(0..1000));
    let job = queue.emitter.http.submitted(request).await;
    assert_eq!(job.accepted, 1000);
    let messages = queue.messages(&job.job).await;
    assert_complete(&messages, 1000);
    assert_eq!(largest(&messages), 256);
    for message in &messages {
        let name = match message.is_single() {
            true => format!("{}.{}", job.job, TaskKey::from_sequence(message.first)),
            false => format!("{}.={}-{}", job.job, message.first, message.tasks.len()),
        };
        assert_eq!(message.header("Nats-Msg-Id"), Some(&*name));
        let deadline = message.header(envelope::DEADLINE_SECONDS);
        assert_eq!(deadline, Some("2.000000"));
        assert_eq!(message.header(envelope::TRACEPARENT), Some(trace));
    }

    let alone = queue.emitter.http.submit_lines(numbered(0..1)).await.job;
    let messages = queue.messages(&alone).await;
    assert!(messages[0].is_single());
    assert_complete(&messages, 1);
}

#[tokio::test]
async fn the_service_time_that_workers_report_decides() {
    let queue = Queue::of("auto").await;
    let job = queue.emitter.http.submit_lines(numbered(0..100)).await.job;
    let unknown = queue.messages(&job).await;
    assert!(unknown.iter().all(Message::is_single));
    assert_complete(&unknown, 100);

    // 5 ms of 120 µs each; four slots share the end of the job.
    queue
        .learns(120e-6, 1000, |messages| largest(messages) > 1)
        .await;
    let job = queue.emitter.http.submit_lines(numbered(0..900)).await.job;
    let short = queue.messages(&job).await;
    assert_complete(&short, 900);
    assert_eq!(largest(&short), 41);
    assert_eq!(short.last().unwrap().tasks.len(), 1, "the tail is fine");

    queue
        .learns(1.0, 100, |messages| largest(messages) == 1)
        .await;
}

#[tokio::test]
async fn off_means_a_message_a_task() {
    let queue = Queue::of("off").await;
    for _ in 0..3 {
        queue.report(1, 4, &[1e-6; 100]).await;
    }
    let job = queue.emitter.http.submit_lines(numbered(0..500)).await.job;
    let messages = queue.messages(&job).await;
    assert!(messages.iter().all(Message::is_single));
    assert_complete(&messages, 500);
}

/// Sends the first tasks of a keyed submit and cuts it off; then sends all of them by `other`.
async fn cut_off_and_repeated(queue: &Queue, other: &Replica, tasks: usize) -> JobId {
    let keyed = |request: RequestBuilder| request.header("Idempotency-Key", "half");
    let (body, pieces) = streamed();
    let cut = tokio::spawn(keyed(queue.submit()).body(pieces).send());
    let first = lines(0..tasks * 2 / 3);
    body.send(Ok(Bytes::from(first))).await.unwrap();
    eventually("tasks come in", SOON, async || {
        let state = queue.stream().await.cached_info().state.clone();
        (state.messages > 0).then_some(())
    })
    .await;
    let broken = std::io::Error::other("the connection is cut");
    body.send(Err(broken)).await.unwrap();
    assert!(cut.await.unwrap().is_err());

    let request = other.http.request(Method::POST, "/");
    let request = request.header("content-type", NDJSON);
    let whole = keyed(request).body(lines(0..tasks));
    let accepted = other.http.submitted(whole).await;
    assert_eq!(accepted.accepted, tasks as u64);
    accepted.job
}

async fn plan(queue: &Queue, job: &JobId) -> ChunkPlan {
    let spec = queue.on_nats.jobs().await.get(key::spec(job)).await;
    let spec: JobSpec = serde_json::from_slice(&spec.unwrap().unwrap()).unwrap();
    spec.chunks.unwrap()
}

/// Asserts that the messages of small tasks end where `plan` says.
fn assert_planned(messages: &[Message], plan: &ChunkPlan) {
    let last = messages.len() - 1;
    for (index, message) in messages.iter().enumerate() {
        let (tasks, most) = (message.tasks.len(), plan.at(message.first).tasks as usize);
        assert!(tasks == most || index == last && tasks < most, "{plan:?}");
    }
}

#[tokio::test]
async fn a_repeat_cuts_the_body_where_the_first_submit_did() {
    const TASKS: usize = 3_000;
    let queue = Queue::of("auto").await;
    queue
        .learns(120e-6, 1000, |messages| largest(messages) > 1)
        .await;
    let other = queue.function.clone().set("FARM_GRANULARITY", 7);
    let other = other.start().await;
    let job = cut_off_and_repeated(&queue, &other, TASKS).await;
    let messages = queue.messages(&job).await;
    assert_complete(&messages, TASKS);
    let plan = plan(&queue, &job).await;
    assert!(plan.is_final);
    assert_eq!(plan.at(0).tasks, 41);
    assert_planned(&messages, &plan);
}

/// `farm submit` always sends a key.
#[tokio::test]
async fn slow_lines_with_a_key_do_not_wait_for_company_either() {
    let queue = Queue::of("256").await;
    let (body, pieces) = streamed();
    let keyed = queue.submit().header("Idempotency-Key", "slow");
    let submitting = tokio::spawn(keyed.body(pieces).send());
    for come in 1..=3 {
        let line = lines(come - 1..come);
        body.send(Ok(Bytes::from(line))).await.unwrap();
        eventually("it is queued", SOON, async || {
            let state = queue.stream().await.cached_info().state.clone();
            (state.messages == come as u64).then_some(())
        })
        .await;
    }
    body.send(Ok(Bytes::from(lines(3..2000)))).await.unwrap();
    drop(body);
    let accepted = submitting.await.unwrap().unwrap();
    let job = accepted.json::<Accepted>().await.unwrap().job;
    let messages = queue.messages(&job).await;
    assert_complete(&messages, 2000);
    assert_eq!(largest(&messages), 256, "what comes fast travels together");
    assert_planned(&messages, &plan(&queue, &job).await);
}

#[tokio::test]
async fn the_first_job_of_a_farm_is_measured_and_put_together_with_a_key_too() {
    const TASKS: usize = 20_000;
    let nats = NatsServer::start().await;
    let function = Function::sleeper(&nats);
    let farm = function.clone().start().await;
    let on_nats = FarmOnNats::connect(&nats, &function).await;
    let request = farm.http.request(Method::POST, "/");
    let request = request.header("content-type", NDJSON);
    let request = request
        .header("Idempotency-Key", "first")
        .body(lines(0..TASKS));
    let job = farm.http.submitted(request).await.job;
    let status = farm.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (TASKS as u64, 0));
    let stream = on_nats
        .jetstream
        .get_stream(on_nats.topology.tasks_stream());
    let messages = stream.await.unwrap().cached_info().state.last_sequence;
    assert!(messages < TASKS as u64 / 2, "{messages} messages");
}

#[tokio::test]
async fn tasks_of_a_submit_that_is_cut_off_and_repeated_have_one_outcome_each() {
    const TASKS: usize = 3_000;
    let queue = Queue::of("auto").await;
    let other = queue.function.clone().set("FARM_GRANULARITY", 64);
    let other = other.start().await;
    let job = cut_off_and_repeated(&queue, &other, TASKS).await;
    assert_complete(&queue.messages(&job).await, TASKS);
    let worker = Function::sleeper(&queue.nats).roles("worker");
    let _worker = worker.set("FARM_SLOTS", 8).start().await;
    let status = queue.emitter.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (TASKS as u64, 0));
    assert_eq!(queue.emitter.http.results(&job).await.len(), TASKS);
}

#[tokio::test]
async fn slow_lines_do_not_wait_for_company() {
    let queue = Queue::of("256").await;
    let (body, pieces) = streamed();
    let submitting = tokio::spawn(queue.submit().body(pieces).send());
    for come in 1..=3 {
        body.send(Ok(Bytes::from("{}\n"))).await.unwrap();
        eventually("it is queued", SOON, async || {
            let state = queue.stream().await.cached_info().state.clone();
            (state.messages == come).then_some(())
        })
        .await;
    }
    drop(body);
    assert_eq!(
        submitting.await.unwrap().unwrap().status(),
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_chunk_fits_what_the_server_takes_and_a_task_that_does_not_is_named() {
    let options = NatsOptions {
        max_payload_bytes: Some(20_000),
        ..NatsOptions::default()
    };
    let queue = Queue::at(NatsServer::start_with(options).await, "4096").await;
    let job = queue.emitter.http.submit_lines(numbered(0..3000)).await.job;
    let messages = queue.messages(&job).await;
    assert_complete(&messages, 3000);
    assert!(messages.len() > 2 && messages.len() < 100);

    let large = json!({"tag": "x".repeat(30_000)});
    let tasks: Vec<_> = numbered(0..10).chain([large]).collect();
    let request = queue.emitter.http.request(Method::POST, "/").json(&tasks);
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let problem: Problem = refused.json().await.unwrap();
    assert!(
        problem.error.starts_with("task 10 is larger"),
        "{}",
        problem.error
    );
}

#[tokio::test]
async fn a_chunk_that_the_stream_finds_too_large_is_split() {
    let queue = Queue::of("4096").await;
    let mut config = queue.stream().await.cached_info().config.clone();
    config.max_message_size = 2_000;
    let jetstream = &queue.on_nats.jetstream;
    jetstream.update_stream(config).await.unwrap();
    let job = queue.emitter.http.submit_lines(numbered(0..1500)).await;
    assert_eq!(job.accepted, 1500);
    let messages = queue.messages(&job.job).await;
    assert_complete(&messages, 1500);
    assert!(messages.len() < 100, "{} messages", messages.len());
}
