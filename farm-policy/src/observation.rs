//! What a policy sees.

/// One farm at the end of one control interval.
///
/// A window value describes the interval that just ended. Where nothing happened in it, the value
/// is `None`: absent evidence is not a zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Time of the observation, in seconds on a clock that never goes back.
    pub time_seconds: f64,
    /// Length of the control interval, in seconds.
    pub interval_seconds: f64,
    /// Jobs or phases that have not been split into tasks yet (the paper's input queue).
    pub input_queue: u32,
    /// Tasks that wait for a worker (the paper's worker queue).
    pub backlog_tasks: u64,
    /// Tasks handed out to workers and not settled.
    pub in_flight_tasks: u64,
    /// Results the collector has not taken yet (the paper's result queue).
    pub result_queue: u64,
    /// Tasks whose outcome was collected since the farm began (the paper's output queue).
    pub collected_tasks: u64,
    /// Tasks submitted since the farm began.
    pub submitted_tasks: u64,
    /// Parallelism that was asked for last: replicas × slots.
    pub parallelism: u32,
    /// Parallelism that takes tasks now.
    pub available_parallelism: u32,
    /// Slots each replica has.
    pub slots: u32,
    /// Tasks submitted per second in the window.
    pub arrival_rate_per_second: f64,
    /// Mean service time in the window.
    pub service_seconds_mean: Option<f64>,
    /// Variance of the service time in the window, in seconds squared.
    pub service_seconds_variance: Option<f64>,
    /// Longest service time in the window.
    pub service_seconds_max: Option<f64>,
    /// Mean time from submission to outcome in the window (the paper's mean completion time).
    pub sojourn_seconds_mean: Option<f64>,
    /// Longest time from submission to outcome in the window.
    pub sojourn_seconds_max: Option<f64>,
    /// Share of the window's tasks that met their deadline.
    pub qos_ratio: Option<f64>,
    /// The share that is to meet it.
    pub target_qos_ratio: f64,
    /// The deadline of a task, from its submission.
    pub deadline_seconds: Option<f64>,
    /// Time a new replica needs before it takes its first task.
    pub cold_start_seconds: f64,
    /// How much the parallelism asked for changed in the interval before.
    pub last_change: i32,
}
