//! Reads stored outcomes back: one by one, or all of an ended job.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use farm_core::envelope::{self, Outcome};
use farm_core::http::{Ended, JobStatus, TaskOutcome};
use farm_core::topology::Topology;
use farm_core::{Codec, JobId, TaskId};
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt;

use crate::clock;
use crate::codec::{self, Shown, shown};
use crate::runtime::broker::Broker;
use crate::runtime::reading::{Reading, Selection};
use crate::task_error::chain;

/// Outcomes that go into one answer at most; more are there to be streamed.
pub(crate) const MOST_AT_ONCE: u64 = 10_000;

/// The same in bytes.
const MOST_BYTES: usize = 8 << 20;

/// The envelope of one stored outcome.
pub(crate) struct StoredOutcome {
    pub task: TaskId,
    pub outcome: Outcome,
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
    pub fn read(message: &Message, topology: &Topology) -> Option<Self> {
        let info = message.info().ok()?;
        let stored_seconds = clock::seconds(SystemTime::from(info.published));
        let headers = message.headers.as_ref()?;
        let submitted = seconds(headers, envelope::SUBMITTED_SECONDS).unwrap_or(stored_seconds);
        let sojourn_seconds = (stored_seconds - submitted).max(0.0);
        let number = |name| text(headers, name).and_then(|text| text.parse().ok());
        Some(Self {
            task: topology.task_of_subject(&message.subject)?,
            outcome: Outcome::parse(text(headers, envelope::OUTCOME)?)?,
            sequence: info.stream_sequence,
            attempt: number(envelope::ATTEMPT).unwrap_or(1),
            worker: text(headers, envelope::WORKER)
                .unwrap_or_default()
                .to_owned(),
            service_seconds: seconds(headers, envelope::SERVICE_SECONDS).unwrap_or(0.0),
            sojourn_seconds,
            in_deadline: seconds(headers, envelope::DEADLINE_SECONDS)
                .map(|deadline| sojourn_seconds <= deadline),
            replay: number(envelope::REPLAY).unwrap_or(0),
            stored_seconds,
            traceparent: text(headers, envelope::TRACEPARENT).map(str::to_owned),
            codec: codec::stored(Some(headers)),
        })
    }

    /// The line that clients get.
    pub fn into_line(self, body: &[u8]) -> TaskOutcome {
        let (output, output_base64, error) = match self.outcome {
            Outcome::Done => match shown(self.codec, body) {
                Shown::Json(json) => (Some(json), None, None),
                Shown::Base64(text) => (None, Some(text), None),
            },
            Outcome::Failed => {
                let cause = serde_json::from_slice(body).unwrap_or_default();
                (None, None, Some(cause))
            }
        };
        TaskOutcome {
            task: self.task.key.to_string(),
            outcome: self.outcome,
            cursor: self.sequence,
            attempt: self.attempt,
            worker: self.worker,
            service_seconds: self.service_seconds,
            sojourn_seconds: self.sojourn_seconds,
            in_deadline: self
                .in_deadline
                .map(|met| met && self.outcome == Outcome::Done),
            output,
            output_base64,
            error,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(async_nats::HeaderValue::as_str)
}

fn seconds(headers: &HeaderMap, name: &str) -> Option<f64> {
    text(headers, name).and_then(envelope::parse_seconds)
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
    let subject = broker.topology.result_subject(task);
    match broker.results.direct_get_last_for_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(chain(&error)),
    }
}

/// How often the task of a stored outcome had come back from the dead letters.
pub(crate) fn replay_of(stored: &StreamMessage) -> u64 {
    let replay = stored.headers.get(envelope::REPLAY);
    replay
        .and_then(|replay| replay.as_str().parse().ok())
        .unwrap_or(0)
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

/// Whether no outcome of `job` is stored after `cursor`; false if that cannot be told.
pub(crate) async fn is_last(broker: &Broker, job: &JobId, cursor: u64) -> bool {
    let subjects = broker.topology.job_results_wildcard(job);
    match latest(&broker.results, &subjects).await {
        Ok(message) => message.is_none_or(|message| message.sequence <= cursor),
        Err(_) => false,
    }
}

/// The outcomes of `job` stored after `after`, as they come.
pub(crate) async fn follow(broker: &Broker, job: &JobId, after: u64) -> Result<Reading, String> {
    let selection = Selection {
        subjects: broker.topology.job_results_wildcard(job),
        first_sequence: after.saturating_add(1),
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

async fn all(broker: &Broker, job: &JobId, count: u64) -> Result<Vec<TaskOutcome>, String> {
    const STALLED: Duration = Duration::from_secs(10);
    let mut lines = Vec::new();
    if count == 0 {
        return Ok(lines);
    }
    let mut messages = follow(broker, job, 0).await?;
    let mut bytes = 0;
    while (lines.len() as u64) < count {
        let next = tokio::time::timeout(STALLED, messages.next()).await;
        let message = next.map_err(|_| "some results could not be read".to_owned())??;
        bytes += message.payload.len();
        if bytes > MOST_BYTES {
            return Err("the results are too large for one answer".to_owned());
        }
        if let Some(outcome) = StoredOutcome::read(&message, &broker.topology) {
            lines.push(outcome.into_line(&message.payload));
        }
    }
    Ok(lines)
}
