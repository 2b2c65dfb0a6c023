//! Bodies of a farm function's HTTP face, shared by the function and its clients.
//!
//! | request | answer |
//! |---|---|
//! | `POST /` in JSON, [`NDJSON`], [`MESSAGE_PACK`] or [`OCTET_STREAM`] | [`Accepted`], or [`Ended`] with `?wait=` |
//! | `GET /` | [`FarmStatus`] |
//! | `GET /jobs/{job}` | [`JobStatus`] |
//! | `GET /jobs/{job}/results?after=` | [`TaskOutcome`], one per line |
//! | `GET /jobs/{job}/summary` | whatever the collector folded |
//! | `DELETE /jobs/{job}` | [`JobStatus`] |
//! | `GET /dead?job=&limit=` | [`DeadLetter`], one per line |
//! | `GET /dead/{task}` | [`DeadLetter`] |
//! | `POST /dead/{task}/replay`, `POST /dead/replay?job=` | [`Replayed`] |
//! | `DELETE /dead/{task}`, `DELETE /dead?job=` | [`Purged`] |
//! | anything refused | [`Problem`] |

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chunk::MOST_TASKS;
use crate::envelope::Outcome;
use crate::{FarmName, JobId, TaskId};

/// Request header: the sojourn time allowed to each task of the job, with a unit, such as `2s`.
pub const DEADLINE_HEADER: &str = "farm-deadline";
/// Request header: makes a repeated submit answer with the first one's job.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Request header: where to post [`Ended`] when the job ends (OpenFaaS's convention).
pub const CALLBACK_URL_HEADER: &str = "x-callback-url";
/// Content type of streams of JSON values, one a line.
pub const NDJSON: &str = "application/x-ndjson";
/// Content type of one value in MessagePack.
pub const MESSAGE_PACK: &str = "application/msgpack";
/// Content type of a body that is one task of raw bytes.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// A job whose tasks are all stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The job's id.
    pub job: JobId,
    /// How many tasks it has.
    pub accepted: u64,
    /// True if the `Idempotency-Key` was seen before and this is the answer of then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Its tasks are still coming in.
    Open,
    /// All its tasks are stored; some have no outcome yet.
    Running,
    /// Every task has a result or is in the dead letters.
    Done,
    /// What had not started when it was cancelled never will.
    Cancelled,
}

/// The account of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job's id.
    pub job: JobId,
    /// Where it stands.
    pub state: JobState,
    /// Tasks stored; absent while the job is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// Tasks with a result.
    pub done: u64,
    /// Tasks in the dead letters.
    pub failed: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks accepted that have no outcome yet: waiting or being computed.
    pub in_flight: u64,
    /// Share of the outcomes with a deadline that met it, 0 to 1; absent if none has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos_ratio: Option<f64>,
    /// When the job was submitted, in seconds since the Unix epoch.
    pub created_seconds: f64,
    /// When it ended, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_seconds: Option<f64>,
    /// When it will end if outcomes keep coming as they do, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_end_seconds: Option<f64>,
    /// Why it was cancelled, or why its summary is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A place among the results of a job: its number is the `cursor` of a line, and what `?after=`
/// resumes after. Clients treat the number as opaque; it only rises.
///
/// The outcomes of many tasks may be one stored message ([`chunk`](crate::chunk)), so a place is a
/// message and a task in it.
///
/// ```
/// use farm_core::http::Cursor;
/// let line = Cursor { sequence: 7, index: 3 };
/// assert_eq!(line.number(), 7 * 4096 + 3);
/// assert_eq!(Cursor::from_number(line.number()), line);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Sequence of the message in the stream of results.
    pub sequence: u64,
    /// Position of the task in the message, from 0; below [`Cursor::STEP`].
    pub index: u32,
}

impl Cursor {
    /// Numbers that each message takes up: as many as it can have lines. The numbers of 2^41 messages
    /// are exact in JSON, where they are doubles.
    pub const STEP: u64 = MOST_TASKS as u64;

    /// The place that a number stands for. 0 stands before every line.
    pub fn from_number(number: u64) -> Self {
        Self {
            sequence: number / Self::STEP,
            index: (number % Self::STEP) as u32,
        }
    }

    /// The number that stands for the place.
    pub fn number(self) -> u64 {
        self.sequence
            .saturating_mul(Self::STEP)
            .saturating_add(u64::from(self.index))
    }
}

/// The outcome of one task.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// The task's key inside its job.
    pub task: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Position to resume after, a [`Cursor`]: `GET /jobs/{job}/results?after=<cursor>`.
    pub cursor: u64,
    /// Deliveries it took.
    pub attempt: u64,
    /// The replica that computed it.
    pub worker: String,
    /// Time the worker function took, in seconds.
    pub service_seconds: f64,
    /// Time from submission to the stored outcome, in seconds.
    pub sojourn_seconds: f64,
    /// Whether it came inside its deadline; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_deadline: Option<bool>,
    /// What the worker returned, if it did. From MessagePack, bytes are base64 and numbers that
    /// JSON has not are `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// What the worker returned, in base64, if that is raw bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_base64: Option<String>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The answer to `POST /?wait=` when the job ended in time, and the body of a callback.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The account of the job.
    #[serde(flatten)]
    pub status: JobStatus,
    /// What the collector folded, if the farm has a collector function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Box<RawValue>>,
    /// Every outcome, if the farm has no collector function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<TaskOutcome>>,
}

/// A task that failed for good, kept with its cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The task, written `<job>.<key>`.
    pub task: TaskId,
    /// What went wrong.
    pub cause: String,
    /// Deliveries it took.
    pub attempts: u64,
    /// The replica that gave it up.
    pub worker: String,
    /// When, in seconds since the Unix epoch.
    pub died_seconds: f64,
    /// How often the task had been replayed before.
    #[serde(default)]
    pub replays: u64,
    /// Sojourn time that was allowed to it, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<f64>,
    /// How the body is encoded, as the task said: `msgpack`, `raw`, or a word that nobody knows.
    /// Absent for JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// The task's body, as text.
    pub body: String,
    /// True if the body was no UTF-8 text: `body` is then hexadecimal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub body_is_hex: bool,
}

/// How many dead letters went back to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Tasks queued again.
    pub replayed: u64,
}

/// How many dead letters were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Dead letters deleted.
    pub purged: u64,
}

/// The farm as a whole, as one replica sees it.
///
/// NATS counts messages. A message is a task, or, where tasks are short, a chunk of up to 4096 of them
/// ([`chunk`](crate::chunk)). The tasks waiting and in flight are these messages times the tasks that
/// came in one of late, as workers report ([`Carried`](crate::telemetry::Carried)): an estimate, and
/// exact where every message holds as many. Accounts of jobs ([`JobStatus`]) always count tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FarmStatus {
    /// The farm.
    pub farm: FarmName,
    /// The roles of the replica that answers.
    pub roles: String,
    /// Version of the SDK the replica was built with.
    pub version: String,
    /// Tasks waiting.
    pub backlog_tasks: u64,
    /// Messages they are in; 0 from a replica that does not tell.
    #[serde(default)]
    pub backlog_messages: u64,
    /// Tasks handed to a worker and not finished, including those waiting out a retry delay.
    pub in_flight_tasks: u64,
    /// Messages they are in; 0 from a replica that does not tell.
    #[serde(default)]
    pub in_flight_messages: u64,
    /// Messages of outcomes kept.
    pub result_tasks: u64,
    /// Dead letters kept.
    pub dead_tasks: u64,
    /// Tasks the queue holds at most.
    pub queue_max_tasks: i64,
}

/// Why a request was refused, and what to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence for a person.
    pub error: String,
    /// Where in the value: `photos[3].width_pixels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Line of an NDJSON body, from 1; in other bodies, position of the value, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The job that had been started when the error was met; it is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// How many of its tasks had been queued by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
}
