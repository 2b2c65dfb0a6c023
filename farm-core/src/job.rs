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
    pub chunks: Option<ChunkPlan>,
}

/// Where the messages of a job end.
///
/// ```
/// use farm_core::job::{ChunkBounds, ChunkPlan};
///
/// let alone = ChunkBounds { tasks: 1, body_bytes: 0 };
/// let many = ChunkBounds { tasks: 100, body_bytes: 1000 };
/// let mut plan = ChunkPlan::from_start(alone);
/// plan.change(256, many);
/// assert_eq!(plan.at(0), alone);
/// assert_eq!(plan.at(256), many);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPlan {
    /// Which bounds hold from which task on: at least one, from task 0, in order.
    segments: Vec<ChunkSegment>,
    /// Whether it changes no more: a repeat of the submit goes by it.
    #[serde(default)]
    pub is_final: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ChunkSegment {
    first_task: u64,
    #[serde(flatten)]
    bounds: ChunkBounds,
}

impl ChunkPlan {
    /// Changes of a plan at most, its beginning included.
    pub const MOST_SEGMENTS: usize = 64;

    /// The same bounds for all tasks.
    pub fn from_start(bounds: ChunkBounds) -> Self {
        Self {
            segments: vec![ChunkSegment {
                first_task: 0,
                bounds,
            }],
            is_final: false,
        }
    }

    /// How often it can still be changed.
    pub fn changes_left(&self) -> usize {
        if self.is_final {
            return 0;
        }
        Self::MOST_SEGMENTS.saturating_sub(self.segments.len())
    }

    /// From task `first_task` on, which is behind all that was planned before, other bounds hold.
    pub fn change(&mut self, first_task: u64, bounds: ChunkBounds) {
        self.segments
            .retain(|segment| segment.first_task < first_task);
        self.segments.push(ChunkSegment { first_task, bounds });
    }

    /// The bounds of a message whose first task is `task`: it also ends where others begin to hold.
    pub fn at(&self, task: u64) -> ChunkBounds {
        let behind = self.segments.partition_point(|s| s.first_task <= task);
        let segment = behind.checked_sub(1).and_then(|i| self.segments.get(i));
        let bounds = segment.map_or(ChunkBounds::ALONE, |segment| segment.bounds);
        let until = self.segments.get(behind).map(|next| next.first_task - task);
        let until = until.and_then(|tasks| u32::try_from(tasks).ok());
        ChunkBounds {
            tasks: bounds.tasks.min(until.unwrap_or(bounds.tasks)),
            ..bounds
        }
    }
}

/// Where one message ends and the next begins: tasks are put into one until it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkBounds {
    /// Tasks in a message at most; 1 or more.
    pub tasks: u32,
    /// Bytes in the body of a message at most, if it holds more than one task.
    pub body_bytes: u64,
}

impl ChunkBounds {
    /// One message a task.
    pub const ALONE: Self = Self {
        tasks: 1,
        body_bytes: 0,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(tasks: u32) -> ChunkBounds {
        ChunkBounds {
            tasks,
            body_bytes: 1000,
        }
    }

    #[test]
    fn a_message_ends_where_other_bounds_begin_to_hold() {
        let mut plan = ChunkPlan::from_start(bounds(40));
        plan.change(100, bounds(7));
        plan.change(150, ChunkBounds::ALONE);
        assert_eq!(plan.at(0), bounds(40));
        assert_eq!(plan.at(80), bounds(20));
        assert_eq!(plan.at(100), bounds(7));
        assert_eq!(plan.at(148), bounds(2));
        assert_eq!(plan.at(u64::MAX), ChunkBounds::ALONE);
        assert_eq!(plan.changes_left(), ChunkPlan::MOST_SEGMENTS - 3);
        plan.is_final = true;
        assert_eq!(plan.changes_left(), 0);
    }

    #[test]
    fn what_is_changed_before_it_held_never_held() {
        let mut plan = ChunkPlan::from_start(bounds(40));
        plan.change(0, bounds(3));
        assert_eq!(plan, ChunkPlan::from_start(bounds(3)));
    }

    #[test]
    fn a_plan_without_segments_sends_every_task_alone() {
        let plan: ChunkPlan = serde_json::from_str(r#"{"segments":[]}"#).unwrap();
        assert_eq!(plan.at(5), ChunkBounds::ALONE);
    }
}
