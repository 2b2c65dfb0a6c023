//! What the jobs bucket holds, as JSON.

use serde::{Deserialize, Serialize};

/// What was asked. Written by the emitter when it starts to take a job in, and once more when
/// every task of it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// When the job was submitted, in seconds since the Unix epoch.
    pub created_seconds: f64,
    /// Number of tasks, once all of them are stored; absent while the job is still open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// Sojourn time allowed to each task, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<f64>,
    /// Where the outcome is to be posted when the job ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// How its tasks are put into messages, if the submit can be repeated: a repeat must cut the
    /// same body at the same places, or a task would be in two messages under two names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkBounds>,
}

/// Where one message ends and the next begins: tasks are put into one until it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkBounds {
    /// Tasks in a message at most; 1 or more.
    pub tasks: u32,
    /// Bytes in the body of a message at most, if it holds more than one task.
    pub body_bytes: u64,
}

/// How far a job is. Written by the leading collector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Tasks with a result.
    pub done: u64,
    /// Tasks in the dead letters.
    pub failed: u64,
    /// Outcomes that came inside their deadline.
    pub in_deadline: u64,
    /// Outcomes that had a deadline.
    pub with_deadline: u64,
    /// Sequence in the results stream of the first outcome of this job; 0 if none was seen.
    pub first_sequence: u64,
    /// Sequence in the results stream up to which outcomes are counted here.
    pub applied_sequence: u64,
    /// When the first outcome was stored, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_outcome_seconds: Option<f64>,
    /// When the last outcome so far was stored, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outcome_seconds: Option<f64>,
    /// When the job ended, in seconds since the Unix epoch; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_seconds: Option<f64>,
    /// Whether the callback, if one was asked for, is dealt with.
    #[serde(default)]
    pub callback: Callback,
    /// Why the collector's fold has no summary, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold_error: Option<String>,
}

/// Where the callback of a job stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Callback {
    /// None was asked for, or it is still to be made.
    #[default]
    Pending,
    /// The receiver answered with a 2xx status.
    Delivered,
    /// Every attempt failed.
    Failed,
}

/// That a job was cancelled, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobCancel {
    /// When, in seconds since the Unix epoch.
    pub cancelled_seconds: f64,
    /// Why, for a person to read.
    pub reason: String,
}
