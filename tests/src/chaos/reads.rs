//! What NATS and the farm hold: read through plain NATS, and through the HTTP face.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use farm_core::chunk::{ChunkId, Entry, read_outcome};
use farm_core::envelope::{Ending, Outcome, OutcomeLine};
use farm_core::http::{Cursor, JobState, JobStatus, TaskOutcome};
use farm_core::topology::Topology;
use farm_core::{TaskId, envelope};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::history::{History, What};
use super::plan::number_of;
use crate::client::Client;

/// How long a read of a stream may stall.
const STALLED: Duration = Duration::from_secs(20);
/// How long a request for an account may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Accounts asked for at once.
const ASKED_AT_ONCE: usize = 8;
/// How long a job is followed.
const FOLLOWS: Duration = Duration::from_secs(240);
/// How long a stream of results may be silent; it sends an empty line every 15 s.
const SILENCE: Duration = Duration::from_secs(30);

/// One stored outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeRead {
    /// Its job.
    pub job: String,
    /// The task's key in its job.
    pub key: String,
    /// Where it is among the results.
    pub cursor: u64,
    /// When NATS stored it, in seconds since the Unix epoch.
    pub stored_seconds: f64,
    /// Whether it is a result; else it is a failure.
    pub done: bool,
    /// Deliveries it took.
    pub attempt: u64,
    /// Who computed it.
    pub worker: String,
    /// The number in the result's tag.
    pub number: Option<u64>,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct LetterRead {
    /// Its job.
    pub job: String,
    /// The task's key in its job.
    pub key: String,
    /// The number in the tag of its body.
    pub number: Option<u64>,
    /// Deliveries it took.
    pub attempt: u64,
    /// Why.
    pub cause: String,
}

/// The account of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountRead {
    /// Where it stands.
    pub state: JobState,
    /// Tasks stored.
    pub accepted: Option<u64>,
    /// Tasks with a result.
    pub done: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks that have no outcome yet.
    pub in_flight: u64,
}

/// All that is there at the end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reads {
    /// The stream of results.
    pub outcomes: Vec<OutcomeRead>,
    /// The stream of dead letters.
    pub letters: Vec<LetterRead>,
    /// Tasks that are still queued.
    pub tasks_left: u64,
    /// Jobs that are marked cancelled.
    pub cancelled: BTreeSet<String>,
    /// What the farm says of each job.
    pub accounts: BTreeMap<String, AccountRead>,
}

/// What of a result or task matters.
#[derive(Deserialize)]
struct Tagged {
    tag: Option<String>,
}

fn tagged(body: &[u8]) -> Option<u64> {
    let tagged: Tagged = serde_json::from_slice(body).ok()?;
    number_of(&tagged.tag?)
}

/// Messages of tasks that nobody has settled: waiting, or in a worker's hands.
pub async fn tasks_left(jetstream: &jetstream::Context, topology: &Topology) -> Option<u64> {
    let stream = jetstream.get_stream(topology.tasks_stream()).await.ok()?;
    Some(stream.cached_info().state.messages)
}

/// Reads the streams and the jobs bucket; `accounts` are left out.
///
/// # Panics
/// If NATS does not serve them.
pub async fn stored(jetstream: &jetstream::Context, topology: &Topology) -> Reads {
    let mut reads = Reads::default();
    each(jetstream, &topology.results_stream(), |message| {
        reads.outcomes.extend(outcomes(message, topology));
    })
    .await;
    each(jetstream, &topology.dead_stream(), |message| {
        reads.letters.extend(letter(message, topology));
    })
    .await;
    reads.cancelled = cancelled(jetstream, topology).await;
    reads.tasks_left = tasks_left(jetstream, topology)
        .await
        .expect("the stream of tasks");
    reads
}

async fn each(jetstream: &jetstream::Context, name: &str, mut read: impl FnMut(&Message)) {
    let stream = jetstream.get_stream(name).await.expect("a stream");
    let state = stream.cached_info().state.clone();
    if state.messages == 0 {
        return;
    }
    let consumer = stream.create_consumer(pull::OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        ..Default::default()
    });
    let consumer = consumer.await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    loop {
        let message = timeout(STALLED, messages.next()).await;
        let message = message.unwrap_or_else(|_| panic!("{name} stalls"));
        let message = message.expect("more messages").expect("a message");
        read(&message);
        let sequence = message.info().expect("its place").stream_sequence;
        if sequence >= state.last_sequence {
            return;
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.as_str())
}

/// The outcomes in a message: one, or those of a chunk that are in its own.
fn outcomes(message: &Message, topology: &Topology) -> Vec<OutcomeRead> {
    if let Some(chunk) = topology.chunk_of_subject(&message.subject) {
        return chunk_outcomes(message, &chunk);
    }
    let Some(task) = topology.task_of_subject(&message.subject) else {
        return Vec::new();
    };
    let headers = message.headers.clone().unwrap_or_default();
    let line = OutcomeLine::parse(header(&headers, envelope::OUTCOME));
    let done = line.is_some_and(|line| line.ending == Ending::Task(Outcome::Done));
    vec![outcome(message, &task, 0, done, &message.payload)]
}

fn chunk_outcomes(message: &Message, chunk: &ChunkId) -> Vec<OutcomeRead> {
    let mut outcomes = Vec::new();
    let mut index = 0;
    let entries = read_outcome(chunk.range.count(), message.payload.clone());
    for entry in entries.expect("the outcome of a chunk") {
        if let Entry::Done { output, .. } = &entry {
            outcomes.push(outcome(message, &chunk.task(index), index, true, output));
        }
        index += entry.tasks();
    }
    outcomes
}

fn outcome(message: &Message, task: &TaskId, index: u32, done: bool, body: &[u8]) -> OutcomeRead {
    let info = message.info().expect("its place");
    let stored = SystemTime::from(info.published).duration_since(UNIX_EPOCH);
    let headers = message.headers.clone().unwrap_or_default();
    let line = OutcomeLine::parse(header(&headers, envelope::OUTCOME));
    let sequence = info.stream_sequence;
    OutcomeRead {
        job: task.job.to_string(),
        key: task.key.to_string(),
        cursor: Cursor { sequence, index }.number(),
        stored_seconds: stored.map_or(0.0, |since| since.as_secs_f64()),
        done,
        attempt: line.map_or(0, |line| line.attempt),
        worker: line.map_or("", |line| line.worker).to_owned(),
        number: tagged(body),
    }
}

fn letter(message: &Message, topology: &Topology) -> Option<LetterRead> {
    let task = topology.task_of_subject(&message.subject)?;
    let headers = message.headers.clone().unwrap_or_default();
    Some(LetterRead {
        job: task.job.to_string(),
        key: task.key.to_string(),
        number: tagged(&message.payload),
        attempt: header(&headers, envelope::ATTEMPT).parse().unwrap_or(0),
        cause: header(&headers, envelope::CAUSE).to_owned(),
    })
}

async fn cancelled(jetstream: &jetstream::Context, topology: &Topology) -> BTreeSet<String> {
    let bucket = jetstream.get_key_value(topology.jobs_bucket()).await;
    let keys = bucket
        .expect("the jobs bucket")
        .keys()
        .await
        .expect("its keys");
    let keys: Vec<String> = keys.try_collect().await.expect("its keys");
    let jobs = keys.iter().filter_map(|key| key.strip_suffix(".cancel"));
    jobs.map(str::to_owned).collect()
}

/// Asks for the accounts of `jobs`, each until it has `outcomes` outcomes or `limit` is over.
pub async fn accounts(
    faces: &[Client],
    jobs: BTreeMap<String, u64>,
    limit: Duration,
) -> BTreeMap<String, AccountRead> {
    let give_up = Instant::now() + limit;
    futures_util::stream::iter(jobs)
        .map(|(job, outcomes)| async move {
            let account = account(faces, &job, outcomes, give_up).await;
            (job, account)
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(|(job, account)| async move { Some((job, account?)) })
        .collect()
        .await
}

async fn account(
    faces: &[Client],
    job: &str,
    outcomes: u64,
    give_up: Instant,
) -> Option<AccountRead> {
    let mut last = None;
    for attempt in 0.. {
        let face = &faces[attempt % faces.len()];
        if let Some(account) = status(face, job).await {
            let settled = account.in_flight == 0 && account.state != JobState::Running;
            let all = account.done + account.failed == outcomes;
            last = Some(account);
            if settled && all {
                break;
            }
        }
        if Instant::now() > give_up {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    last
}

async fn status(face: &Client, job: &str) -> Option<AccountRead> {
    let request = face.request(Method::GET, &format!("/jobs/{job}"));
    let answer = request.timeout(ANSWERS_WITHIN).send().await.ok()?;
    let status: JobStatus = answer.json().await.ok()?;
    Some(AccountRead {
        state: status.state,
        accepted: status.accepted,
        done: status.done,
        failed: status.failed,
        cancelled: status.cancelled,
        in_flight: status.in_flight,
    })
}

/// Follows the results of a job to its end, resuming where a stream breaks off, and records the
/// cursors.
pub async fn follow(faces: &[Client], job: &str, history: &History) {
    let give_up = Instant::now() + FOLLOWS;
    let mut cursors = Vec::new();
    let mut complete = false;
    for attempt in 0.. {
        let face = &faces[attempt % faces.len()];
        let before = cursors.len();
        follow_once(face, job, &mut cursors).await;
        // A stream that brings nothing more after its job has ended has brought all.
        let ended = status(face, job).await.is_some_and(|account| {
            let ended = matches!(account.state, JobState::Done | JobState::Cancelled);
            ended && account.done + account.failed == cursors.len() as u64
        });
        complete = ended && before == cursors.len();
        if complete || Instant::now() > give_up {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    history.note(What::Followed {
        job: job.to_owned(),
        cursors,
        complete,
    });
}

async fn follow_once(face: &Client, job: &str, cursors: &mut Vec<u64>) {
    let after = cursors.last().copied().unwrap_or(0);
    let path = format!("/jobs/{job}/results?after={after}");
    let Ok(Ok(mut answer)) = timeout(SILENCE, face.request(Method::GET, &path).send()).await else {
        return;
    };
    if answer.status() != StatusCode::OK {
        return;
    }
    let mut buffer = Vec::new();
    while let Ok(Ok(Some(piece))) = timeout(SILENCE, answer.chunk()).await {
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Ok(outcome) = serde_json::from_slice::<TaskOutcome>(&line) {
                cursors.push(outcome.cursor);
            }
        }
    }
}
