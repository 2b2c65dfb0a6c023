//! What travels beside the body of a task or result: NATS headers, version 1.
//!
//! The body of a task is the task itself; every header is optional, so that
//! `nats pub farm.thumbnails.task.album-7 '{"path":"a.jpg"}'` submits one.
//! Header names are case-sensitive on NATS and lower-case here.

mod outcome_line;

use std::time::Duration;

pub use outcome_line::{Ending, OutcomeLine};

/// The task's key inside its job. Default: what follows `<job>.` in the message id (`Nats-Msg-Id`), and
/// without one the task's sequence in the task stream, as `s<sequence>`.
pub const TASK: &str = "farm-task";
/// When the task was submitted, in seconds since the Unix epoch. Default: when NATS stored it.
pub const SUBMITTED_SECONDS: &str = "farm-submitted-seconds";
/// The sojourn time allowed from submission, in seconds. Default: `FARM_DEADLINE`, if set.
pub const DEADLINE_SECONDS: &str = "farm-deadline-seconds";
/// How often the task came back from the dead letters. Default: 0.
pub const REPLAY: &str = "farm-replay";
/// On a task, result or dead letter: how its body is encoded, as `json`, `msgpack` or `raw`
/// ([`Codec`](crate::Codec)). Default: `json`.
pub const CODEC: &str = "farm-codec";
/// On a result: how its task ended, and how that came, in one line ([`OutcomeLine`]): it is written and
/// read for every task.
pub const OUTCOME: &str = "farm-outcome";
/// On a dead letter: deliveries of the task so far, the last one included.
pub const ATTEMPT: &str = "farm-attempt";
/// On a dead letter: the replica that gave the task up.
pub const WORKER: &str = "farm-worker";
/// On a dead letter: what went wrong.
pub const CAUSE: &str = "farm-cause";
/// On a dead letter: when the task was given up, in seconds since the Unix epoch.
pub const DIED_SECONDS: &str = "farm-died-seconds";
/// On a task: attempts at it that failed before it was queued, alone, out of a chunk. Default: 0.
pub const FAILED: &str = "farm-failed";
/// On a task: how long after it was queued it may be computed, in seconds. Default: at once.
pub const DELAY_SECONDS: &str = "farm-delay-seconds";
/// On a message of many tasks: which, as `<first>-<count>` ([`chunk`](crate::chunk)).
pub const CHUNK: &str = "farm-chunk";
/// W3C trace context of the task.
pub const TRACEPARENT: &str = "traceparent";

/// How a task ended. Cancelled tasks have no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The worker returned a result.
    Done,
    /// The task went to the dead letters.
    Failed,
}

impl Outcome {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "done" => Some(Outcome::Done),
            "failed" => Some(Outcome::Failed),
            _ => None,
        }
    }
}

/// Writes seconds for a header, to the microsecond.
pub fn format_seconds(seconds: f64) -> String {
    format!("{seconds:.6}")
}

/// Reads a number of seconds that is finite and not negative.
pub fn parse_seconds(text: &str) -> Option<f64> {
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

/// Reads a header of seconds as a [`Duration`]; more than a century counts as unreadable.
pub fn parse_duration_seconds(text: &str) -> Option<Duration> {
    const CENTURY_SECONDS: f64 = 100.0 * 365.0 * 86_400.0;
    let seconds = parse_seconds(text)?;
    (seconds <= CENTURY_SECONDS).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_in_a_header_is_no_number() {
        for bad in ["", "NaN", "inf", "-1", "1s", "1e400"] {
            assert_eq!(parse_seconds(bad), None, "{bad:?}");
        }
        assert_eq!(parse_duration_seconds("1e300"), None);
        assert_eq!(
            parse_duration_seconds("0.25"),
            Some(Duration::from_millis(250))
        );
    }

    #[test]
    fn an_outcome_survives_the_wire() {
        for outcome in [Outcome::Done, Outcome::Failed] {
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
    }
}
