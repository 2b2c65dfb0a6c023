//! What the autoscaler decided and why: on [`Topology::decision_subject`], one event per farm and
//! control interval.
//!
//! [`Topology::decision_subject`]: crate::topology::Topology::decision_subject

use serde::{Deserialize, Serialize};

/// One pass of the control loop over one farm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecisionEvent {
    /// The farm.
    pub farm: String,
    /// The function whose replicas are scaled.
    pub function: String,
    /// Name of the autoscaler replica that decided.
    pub decided_by: String,
    /// Number of the decision about this farm, from 1 at the start of that replica.
    pub sequence: u64,
    /// When, in seconds since 1970.
    pub at_seconds: f64,
    /// The policy that was asked, or the fallback that stood in for it.
    pub policy: String,
    /// What was seen; absent if the farm could not be observed.
    pub observed: Option<Observed>,
    /// Share of tasks that are to meet their deadline.
    pub target_qos_ratio: f64,
    /// The deadline of the farm's tasks, if it declares one.
    pub deadline_seconds: Option<f64>,
    /// The parallelism the policy wanted; absent if it was not asked or failed.
    pub wanted_parallelism: Option<u32>,
    /// The parallelism after the guard: what is to be.
    pub target_parallelism: u32,
    /// Replicas × slots that were asked of the platform for it.
    pub allocation: Option<Allocation>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, in sentences for people: the policy's reason first, then what the guard changed.
    pub reasons: Vec<String>,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// How long observing took.
    pub observe_seconds: f64,
    /// How long deciding took.
    pub decide_seconds: f64,
    /// How long acting took.
    pub act_seconds: f64,
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The farm already was as it should be.
    #[default]
    Unchanged,
    /// Replicas or slots were changed.
    Applied,
    /// Left as it was, because it could not be seen well enough.
    Held,
    /// A change was tried and refused; it is tried again.
    Failed,
}

/// What the autoscaler saw of a farm.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// Tasks that wait.
    pub backlog_tasks: u64,
    /// Tasks handed out and not settled.
    pub in_flight_tasks: u64,
    /// Tasks submitted per second, over the last interval.
    pub arrival_rate_per_second: f64,
    /// Mean service time; absent while nothing was computed.
    pub service_seconds_mean: Option<f64>,
    /// Longest service time of the window.
    pub service_seconds_max: Option<f64>,
    /// Mean time from submission to outcome in the window.
    pub sojourn_seconds_mean: Option<f64>,
    /// Share of the window's tasks that met their deadline; absent if none ended.
    pub qos_ratio: Option<f64>,
    /// Slots of the replicas that report.
    pub available_parallelism: u32,
    /// Slots that compute.
    pub busy_parallelism: u32,
    /// Replicas the gateway was asked for, as it says.
    pub replicas: u32,
    /// Replicas that are available, as the gateway says.
    pub available_replicas: u32,
    /// Slots of each replica, as ordered last.
    pub slots: u32,
}

/// How a parallelism is split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Replicas of the function.
    pub replicas: u32,
    /// Tasks each replica computes at once.
    pub slots: u32,
}
