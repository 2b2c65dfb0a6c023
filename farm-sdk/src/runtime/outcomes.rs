//! Reads stored outcomes back: one by one, or all of an ended job.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use farm_core::chunk::{self, ChunkId, ChunkRange, Entry};
use farm_core::envelope::{self, Ending, Outcome, OutcomeLine};
use farm_core::http::{Cursor, Ended, JobStatus, TaskOutcome};
use farm_core::topology::Topology;
use farm_core::{Codec, JobId, TaskId, TaskKey};
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;

use crate::codec::{self, Encoded, Shown, shown};
use crate::runtime::broker::Broker;
use crate::runtime::reading::{Reading, Selection, Stored};
use crate::task_error::chain;

/// Outcomes that go into one answer at most; more are there to be streamed.
pub(crate) const MOST_AT_ONCE: u64 = 10_000;

/// The same in bytes.
const MOST_BYTES: usize = 8 << 20;

/// Whose outcome is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    Task {
        key: TaskKey,
        outcome: Outcome,
    },
    Chunk {
        range: ChunkRange,
        /// How many of its tasks are done in it.
        done: u32,
    },
}

/// The envelope of one stored outcome.
pub(crate) struct StoredOutcome {
    pub job: JobId,
    pub whose: Whose,
    pub sequence: u64,
    pub attempt: u64,
    pub worker: String,
    pub service_seconds: f64,
    pub sojourn_seconds: f64,
    pub in_deadline: Option<bool>,
    pub replay: u64,
    pub stored_seconds: f64,
    pub traceparent: Option<String>,
    pub codec: Codec,
}

impl StoredOutcome {
    /// Reads the envelope; `None` for a message that is no outcome of this farm.
    pub fn read(stored: &Stored, topology: &Topology) -> Option<Self> {
        let fields = Fields::read(stored.headers()?);
        let line = OutcomeLine::parse(fields.outcome?)?;
        let (job, whose) = whose(line.ending, stored.subject(), topology)?;
        let stored_seconds = stored.stored_seconds();
        let submitted = line.submitted_seconds.unwrap_or(stored_seconds);
        let sojourn_seconds = (stored_seconds - submitted).max(0.0);
        let in_deadline = |deadline| sojourn_seconds <= deadline;
        Some(Self {
            job,
            whose,
            sequence: stored.sequence,
            attempt: line.attempt,
            worker: line.worker.to_owned(),
            service_seconds: line.service_seconds.unwrap_or(0.0),
            sojourn_seconds,
            in_deadline: line.deadline_seconds.map(in_deadline),
            replay: line.replay,
            stored_seconds,
            traceparent: fields.traceparent.map(str::to_owned),
            codec: codec::stored(fields.codec),
        })
    }

    /// Tasks whose outcome it is: of a chunk, those that are done in it.
    pub fn tasks(&self) -> u64 {
        match self.whose {
            Whose::Task { .. } => 1,
            Whose::Chunk { done, .. } => done.into(),
        }
    }

    /// The encoded results of those tasks, in their order.
    pub fn results(&self, body: &Bytes) -> Vec<Encoded> {
        let encoded = |bytes| Encoded {
            codec: self.codec,
            bytes,
        };
        match self.whose {
            Whose::Task { outcome, .. } => match outcome {
                Outcome::Done => vec![encoded(body.clone())],
                Outcome::Failed => Vec::new(),
            },
            Whose::Chunk { range, .. } => {
                let entries = self.entries(range, body).into_iter();
                let output = |entry| match entry {
                    Entry::Done { output, .. } => Some(encoded(output)),
                    Entry::Apart(_) => None,
                };
                entries.filter_map(output).collect()
            }
        }
    }

    /// The lines that clients get.
    pub fn lines(self, body: &Bytes) -> Lines {
        let left = match self.whose.clone() {
            Whose::Task { key, outcome } => Left::Task(Some((key, outcome, body.clone()))),
            Whose::Chunk { range, .. } => Left::Chunk {
                range,
                entries: self.entries(range, body).into_iter(),
                index: 0,
            },
        };
        Lines {
            outcome: self,
            left,
        }
    }

    /// What a chunk's outcome says of its tasks; nothing if it cannot be read.
    fn entries(&self, range: ChunkRange, body: &Bytes) -> Vec<Entry> {
        chunk::read_outcome(range.count(), body.clone()).unwrap_or_else(|error| {
            let (job, sequence) = (&self.job, self.sequence);
            tracing::warn!(
                %job, chunk = %range, sequence, %error,
                "the outcome of a chunk cannot be read, its results are left out: does a worker of another version write them?"
            );
            Vec::new()
        })
    }

    fn line(
        &self,
        key: TaskKey,
        index: u32,
        outcome: Outcome,
        service_seconds: f64,
        body: &[u8],
    ) -> TaskOutcome {
        let (output, output_base64, error) = match outcome {
            Outcome::Done => match shown(self.codec, body) {
                Shown::Json(json) => (Some(json), None, None),
                Shown::Base64(text) => (None, Some(text), None),
            },
            Outcome::Failed => {
                let cause = serde_json::from_slice(body).unwrap_or_default();
                (None, None, Some(cause))
            }
        };
        let sequence = self.sequence;
        TaskOutcome {
            task: key.into(),
            outcome,
            cursor: Cursor { sequence, index }.number(),
            attempt: self.attempt,
            worker: self.worker.clone(),
            service_seconds,
            sojourn_seconds: self.sojourn_seconds,
            in_deadline: self.in_deadline.map(|met| met && outcome == Outcome::Done),
            output,
            output_base64,
            error,
        }
    }
}

/// The lines of one stored outcome, each made when it is asked for: all of a chunk's together may be
/// far larger than the chunk.
pub(crate) struct Lines {
    outcome: StoredOutcome,
    left: Left,
}

enum Left {
    Task(Option<(TaskKey, Outcome, Bytes)>),
    Chunk {
        range: ChunkRange,
        entries: std::vec::IntoIter<Entry>,
        /// Position in the chunk of the next entry's task.
        index: u32,
    },
}

impl Iterator for Lines {
    type Item = TaskOutcome;

    fn next(&mut self) -> Option<TaskOutcome> {
        let shared = &self.outcome;
        match &mut self.left {
            Left::Task(left) => {
                let (key, outcome, body) = left.take()?;
                Some(shared.line(key, 0, outcome, shared.service_seconds, &body))
            }
            Left::Chunk {
                range,
                entries,
                index,
            } => loop {
                let entry = entries.next()?;
                let at = *index;
                *index += entry.tasks();
                if let Entry::Done {
                    service_seconds,
                    output,
                } = entry
                {
                    let seconds = to_nanosecond(service_seconds);
                    return Some(shared.line(range.key(at), at, Outcome::Done, seconds, &output));
                }
            },
        }
    }
}

/// The number without the digits that the wire did not have.
fn to_nanosecond(seconds: f32) -> f64 {
    (f64::from(seconds) * 1e9).round() / 1e9
}

/// Headers of an outcome. They are gone through once: to look each of them up is dearer by far, and
/// there is an outcome for every task.
#[derive(Default)]
struct Fields<'a> {
    outcome: Option<&'a str>,
    traceparent: Option<&'a str>,
    codec: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, values) in headers.iter() {
            let field = match name.as_ref() {
                envelope::OUTCOME => &mut fields.outcome,
                envelope::TRACEPARENT => &mut fields.traceparent,
                envelope::CODEC => &mut fields.codec,
                _ => continue,
            };
            *field = values.first().map(HeaderValue::as_str);
        }
        fields
    }
}

fn whose(ending: Ending, subject: &str, topology: &Topology) -> Option<(JobId, Whose)> {
    match ending {
        Ending::Chunk { done, .. } => {
            let ChunkId { job, range } = topology.chunk_of_subject(subject)?;
            let done = done.min(range.count());
            Some((job, Whose::Chunk { range, done }))
        }
        Ending::Task(outcome) => {
            let TaskId { job, key } = topology.task_of_subject(subject)?;
            Some((job, Whose::Task { key, outcome }))
        }
    }
}

fn raw(json: &[u8]) -> Option<Box<RawValue>> {
    let text = String::from_utf8(json.to_vec()).ok()?;
    RawValue::from_string(text).ok()
}

/// The outcome of `task`, if one is stored.
///
/// Any replica of the stream answers: one that lags behind may not have it yet.
pub(crate) async fn stored(
    broker: &Broker,
    task: &TaskId,
) -> Result<Option<StreamMessage>, String> {
    stored_on(broker, &broker.topology.result_subject(task)).await
}

/// The same by the subject of the outcome.
pub(crate) async fn stored_on(
    broker: &Broker,
    subject: &str,
) -> Result<Option<StreamMessage>, String> {
    match broker.results.direct_get_last_for_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

/// What a stored outcome says of itself.
pub(crate) fn line(stored: &StreamMessage) -> Option<OutcomeLine<'_>> {
    OutcomeLine::parse(stored.headers.get(envelope::OUTCOME)?.as_str())
}

/// Whether a stored outcome is the failure of a task.
pub(crate) fn is_failure(stored: &StreamMessage) -> bool {
    line(stored).is_some_and(|line| line.is_failure())
}

/// How often the task of a stored outcome had come back from the dead letters.
pub(crate) fn replay_of(stored: &StreamMessage) -> u64 {
    line(stored).map_or(0, |line| line.replay)
}

/// The last message of `stream` on `subject`, by its leader: another server may lag behind.
pub(crate) async fn latest(
    stream: &Stream,
    subject: &str,
) -> Result<Option<StreamMessage>, String> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

/// Whether no outcome of `job` is stored after `sequence`; false if that cannot be told.
pub(crate) async fn is_last(broker: &Broker, job: &JobId, sequence: u64) -> bool {
    let subjects = broker.topology.job_results_wildcard(job);
    match latest(&broker.results, &subjects).await {
        Ok(message) => message.is_none_or(|message| message.sequence <= sequence),
        Err(_) => false,
    }
}

/// The outcomes of `job` stored at `first_sequence` and after, as they come.
pub(crate) async fn follow(
    broker: &Broker,
    job: &JobId,
    first_sequence: u64,
) -> Result<Reading, String> {
    let selection = Selection {
        subjects: broker.topology.job_results_wildcard(job),
        first_sequence,
        headers_only: false,
    };
    Reading::start(broker, &broker.results, selection).await
}

/// The summary of `job`, if its collector folded one.
pub(crate) async fn summary(broker: &Broker, job: &JobId) -> Option<Box<RawValue>> {
    let mut object = broker.summaries.get(job.as_str()).await.ok()?;
    let mut json = Vec::new();
    object.read_to_end(&mut json).await.ok()?;
    raw(&json)
}

/// All there is to say of a job that has ended.
pub(crate) async fn ended(broker: &Broker, status: JobStatus, folds: bool) -> Ended {
    let count = status.done + status.failed;
    let (summary, results) = if folds {
        (summary(broker, &status.job).await, None)
    } else if count <= MOST_AT_ONCE {
        (None, all(broker, &status.job, count).await.ok())
    } else {
        (None, None)
    };
    Ended {
        status,
        summary,
        results,
    }
}

/// The lines of all `count` outcomes of `job`.
async fn all(broker: &Broker, job: &JobId, count: u64) -> Result<Vec<TaskOutcome>, String> {
    const STALLED: Duration = Duration::from_secs(10);
    let mut lines = Vec::new();
    if count == 0 {
        return Ok(lines);
    }
    let mut messages = follow(broker, job, 1).await?;
    let (mut read, mut bytes) = (0, 0);
    while read < count {
        let next = tokio::time::timeout(STALLED, messages.next()).await;
        let stored = next.map_err(|_| "some results could not be read".to_owned())??;
        bytes += stored.body().len();
        if bytes > MOST_BYTES {
            return Err("the results are too large for one answer".to_owned());
        }
        if let Some(outcome) = StoredOutcome::read(&stored, &broker.topology) {
            read += outcome.tasks();
            lines.extend(outcome.lines(stored.body()));
        }
    }
    Ok(lines)
}
