//! What comes in and what goes out.

use farm_sdk::{TaskError, TaskId};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::service::{Exponential, Gamma, seconds};

/// A result larger than any message can be, so that refusing it can be tried out too.
const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// The task, as JSON; `{}` is the no-op. Service times add up: with `seconds` beside a
/// distribution, a task takes at least that long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Task {
    /// A fixed service time.
    #[serde(deserialize_with = "seconds")]
    pub seconds: f64,
    /// An exponentially distributed service time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential: Option<Exponential>,
    /// A gamma distributed service time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<Gamma>,
    /// Burn CPU instead of sleeping.
    pub spin: bool,
    /// Hold up the async runtime's own thread meanwhile, as no worker should.
    pub block: bool,
    /// How it ends, after its service time. Default: well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<Failure>,
    /// Fail in so many attempts, then succeed. Default: in every attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_attempts: Option<u64>,
    /// Size of a text to carry in the result.
    #[serde(deserialize_with = "payload_bytes")]
    pub payload_bytes: usize,
    /// A text that comes back in the result, so that whoever checks can tell whose result it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

fn payload_bytes<'de, D: Deserializer<'de>>(wire: D) -> Result<usize, D::Error> {
    let bytes = usize::deserialize(wire)?;
    if bytes <= MAX_PAYLOAD_BYTES {
        return Ok(bytes);
    }
    Err(D::Error::custom(format!(
        "{bytes} is more than {MAX_PAYLOAD_BYTES}"
    )))
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// An error that may pass: the task is tried again.
    Transient,
    /// An error that will not pass: a dead letter at once.
    Permanent,
    /// A panic in the worker: a dead letter at once.
    Panic,
    /// The whole replica dies: the task is delivered again, until it has died too often.
    Exit,
}

impl Task {
    /// How long this task takes.
    pub fn service_seconds(&self, task: &TaskId) -> Result<f64, TaskError> {
        let mut total_seconds = self.seconds;
        if let Some(exponential) = &self.exponential {
            total_seconds += exponential.draw_seconds(task)?;
        }
        if let Some(gamma) = &self.gamma {
            total_seconds += gamma.draw_seconds(task)?;
        }
        Ok(total_seconds)
    }

    /// How to fail in the given attempt, counted from 1.
    pub fn failure_on(&self, attempt: u64) -> Option<Failure> {
        let failing = self
            .fail_attempts
            .is_none_or(|attempts| attempt <= attempts);
        self.fail.filter(|_| failing)
    }
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slept {
    /// The service time asked for or drawn.
    pub seconds: f64,
    /// As many characters as the task asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload: String,
    /// The task's own tag, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}
