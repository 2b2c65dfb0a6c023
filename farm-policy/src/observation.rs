//! What a policy sees.

use serde::{Deserialize, Serialize};

/// Smallest value of each number of [`Observation::paper_view`], as the paper bounds them.
pub const PAPER_LOW: [f64; 9] = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];

/// Largest value of each number of [`Observation::paper_view`], as the paper bounds them.
pub const PAPER_HIGH: [f64; 9] = [3.0, 800.0, 10.0, 1140.0, 32.0, 150.0, 160.0, 12.0, 1.0];

/// Mean completion time that the paper reports for a window in which nothing was completed.
pub(crate) const PAPER_COMPLETION_SECONDS: f64 = 1.5;

/// One farm at the end of one control interval.
///
/// A window value describes the interval that just ended. Where nothing happened in it, the value
/// is `None`: absent evidence is not a zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The parallelism that somebody outside ordered, while the order is fresh: see
    /// [`External`](crate::policies::External). Every other policy passes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_parallelism: Option<u32>,
}

impl Observation {
    /// An idle farm to which nothing was ever submitted: where tests and simulators begin.
    ///
    /// Intervals of 8 s, a target of 95 %, no deadline, a cold start of 5 s, one slot per replica.
    ///
    /// ```
    /// use farm_policy::Observation;
    /// let busy = Observation { backlog_tasks: 3, ..Observation::idle(8.0, 12) };
    /// assert_eq!(busy.tasks_in_system(), 3);
    /// ```
    pub fn idle(time_seconds: f64, parallelism: u32) -> Self {
        Self {
            time_seconds,
            interval_seconds: 8.0,
            input_queue: 0,
            backlog_tasks: 0,
            in_flight_tasks: 0,
            result_queue: 0,
            collected_tasks: 0,
            submitted_tasks: 0,
            parallelism,
            available_parallelism: parallelism,
            slots: 1,
            arrival_rate_per_second: 0.0,
            service_seconds_mean: None,
            service_seconds_variance: None,
            service_seconds_max: None,
            sojourn_seconds_mean: None,
            sojourn_seconds_max: None,
            qos_ratio: None,
            target_qos_ratio: 0.95,
            deadline_seconds: None,
            cold_start_seconds: 5.0,
            last_change: 0,
            ordered_parallelism: None,
        }
    }

    /// Tasks that wait and tasks that are computed.
    pub fn tasks_in_system(&self) -> u64 {
        self.backlog_tasks.saturating_add(self.in_flight_tasks)
    }

    /// Whether there is, or just was, anything to do.
    pub fn is_loaded(&self) -> bool {
        self.tasks_in_system() > 0 || self.input_queue > 0 || self.arrival_rate_per_second > 0.0
    }

    /// The nine numbers of arXiv 2602.06555, in its order. Not clipped to its bounds
    /// ([`PAPER_LOW`], [`PAPER_HIGH`]).
    ///
    /// | index | value | unit |
    /// |---|---|---|
    /// | 0 | input queue | jobs or phases |
    /// | 1 | task queue | tasks |
    /// | 2 | result queue | results |
    /// | 3 | output queue | tasks since the farm began |
    /// | 4 | workers: the parallelism asked for | tasks at once |
    /// | 5 | mean completion time, waiting included; 1.5 if nothing was completed | s |
    /// | 6 | longest completion time; 0 if nothing was completed | s |
    /// | 7 | arrival rate | tasks per second |
    /// | 8 | share of tasks inside their deadline; 1 if nothing was completed | ratio |
    ///
    /// ```
    /// use farm_policy::Observation;
    /// let view = Observation::idle(0.0, 12).paper_view();
    /// assert_eq!(view, [0.0, 0.0, 0.0, 0.0, 12.0, 1.5, 0.0, 0.0, 1.0]);
    /// ```
    pub fn paper_view(&self) -> [f64; 9] {
        [
            f64::from(self.input_queue),
            self.backlog_tasks as f64,
            self.result_queue as f64,
            self.collected_tasks as f64,
            f64::from(self.parallelism),
            self.sojourn_seconds_mean
                .unwrap_or(PAPER_COMPLETION_SECONDS),
            self.sojourn_seconds_max.unwrap_or(0.0),
            self.arrival_rate_per_second,
            self.qos_ratio.unwrap_or(1.0),
        ]
    }
}
