//! What a worker replica says of itself: on [`Topology::telemetry_subject`], once per
//! `FARM_TELEMETRY_INTERVAL`, and once more when its slots or its state change.
//!
//! Sums and counts run from the start of the replica: a reader takes differences, so a lost
//! report loses nothing but freshness. A count that falls means that the replica started anew.
//!
//! [`Topology::telemetry_subject`]: crate::topology::Topology::telemetry_subject

use serde::{Deserialize, Serialize};

use crate::chunk::MOST_TASKS;

/// One report of one worker replica.
///
/// ```
/// use farm_core::telemetry::WorkerTelemetry;
/// let report: WorkerTelemetry = serde_json::from_str(r#"{"replica":"shrink-7","slots":4}"#)?;
/// assert_eq!((report.slots, report.service.count), (4, 0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerTelemetry {
    /// Name of the replica: the pod's.
    pub replica: String,
    /// The function it is a replica of, if it knows: two functions may work for one farm, and only
    /// one of them is scaled.
    pub function: Option<String>,
    /// Number of this report, from 1 at the start of the replica.
    pub sequence: u64,
    /// When it was sent, in seconds since 1970, by the replica's own clock.
    pub sent_seconds: f64,
    /// True from the moment the replica takes no more tasks.
    pub draining: bool,
    /// Tasks it computes at once.
    pub slots: u32,
    /// Slots that compute now: more than `slots` while those that an order took away finish.
    pub busy_slots: u32,
    /// Start of the process to the first task it could take.
    pub cold_start_seconds: f64,
    /// Tasks whose result it stored.
    pub tasks_done: u64,
    /// Tasks it gave up for good: dead letters.
    pub tasks_failed: u64,
    /// Messages that brought those tasks: fewer than tasks if many came in one
    /// ([`chunk`](crate::chunk)). What the server counts as waiting are messages.
    pub messages: u64,
    /// How long the worker function took, over the tasks whose result it stored.
    pub service: Moments,
    /// Submission to outcome, over the tasks whose outcome it stored.
    pub sojourn: Moments,
    /// Outcomes of tasks that had a deadline.
    pub with_deadline: u64,
    /// Those of them that met it.
    pub in_deadline: u64,
}

impl WorkerTelemetry {
    /// What the replica settled since its start.
    pub fn carried(&self) -> Carried {
        Carried {
            tasks: self.tasks_done.saturating_add(self.tasks_failed),
            messages: self.messages,
        }
    }
}

/// Tasks, and the messages that brought them.
///
/// JetStream counts messages, and only who published or settled them knows how many tasks they hold:
/// the rest of the queue is taken to be like those.
///
/// ```
/// use farm_core::telemetry::Carried;
/// let before = Carried { tasks: 1_000, messages: 1_000 };
/// let now = Carried { tasks: 1_512, messages: 1_002 };
/// assert_eq!(now.since(before).tasks_per_message(), Some(256.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// Tasks.
    pub tasks: u64,
    /// Messages.
    pub messages: u64,
}

impl Carried {
    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_sub(earlier.tasks),
            messages: self.messages.saturating_sub(earlier.messages),
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_add(other.tasks),
            messages: self.messages.saturating_add(other.messages),
        }
    }

    /// How many tasks a message brought, if any came: from 1 to as many as fit.
    pub fn tasks_per_message(self) -> Option<f64> {
        let mean = self.tasks as f64 / self.messages as f64;
        (self.messages > 0).then(|| mean.clamp(1.0, f64::from(MOST_TASKS)))
    }
}

/// A sum of seconds that can be differenced: enough for mean and variance of any window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moments {
    /// Observations since the start of the replica.
    pub count: u64,
    /// Their sum.
    pub sum_seconds: f64,
    /// Sum of their squares, in seconds squared.
    pub sum_squared_seconds: f64,
    /// The largest one since the report before this one; 0 if there was none.
    pub recent_max_seconds: f64,
}

impl Moments {
    /// Counts one observation.
    pub fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum_seconds += seconds;
        self.sum_squared_seconds += seconds * seconds;
        self.recent_max_seconds = self.recent_max_seconds.max(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(tasks: u64, messages: u64) -> Option<f64> {
        Carried { tasks, messages }.tasks_per_message()
    }

    #[test]
    fn a_message_brings_one_task_at_least_and_no_more_than_a_chunk_holds() {
        assert_eq!(ratio(640, 10), Some(64.0));
        assert_eq!(ratio(3, 2), Some(1.5));
        assert_eq!(ratio(0, 7), Some(1.0));
        assert_eq!(ratio(u64::MAX, 1), Some(4096.0));
        assert_eq!(ratio(7, 0), None);
        assert_eq!(ratio(0, 0), None);
    }

    #[test]
    fn counts_that_fall_or_make_no_sense_do_not_overflow() {
        let report = WorkerTelemetry {
            tasks_done: u64::MAX,
            tasks_failed: 1,
            messages: 3,
            ..WorkerTelemetry::default()
        };
        let carried = report.carried();
        assert_eq!(carried.tasks, u64::MAX);
        assert_eq!(Carried::default().since(carried), Carried::default());
        assert_eq!(carried.plus(carried).messages, 6);
    }
}
