//! How long it takes until what was decided happens, and what was done is known.

use serde::{Deserialize, Serialize};

use crate::random::Duration;

/// The delays of a FaaS platform and of the farm on it.
///
/// ```
/// use farm_sim::platform::Platform;
/// assert!(Platform::paper().blocking);
/// assert!(Platform::ours().check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// How long a call that adds workers takes to answer, however many it adds.
    pub scale_up_call: Duration,
    /// How long a call that removes workers takes to answer.
    pub scale_down_call: Duration,
    /// Whether the controller waits for scale calls: what they take, the step loses.
    pub blocking: bool,
    /// From the decision until an added worker takes tasks.
    pub cold_start: ColdStart,
    /// The same for a replica in a place that is left of one removed earlier; `None`: no
    /// difference. Such places are not used up, since the platform makes new ones with every
    /// replica it adds: once *n* were removed, each call adds up to *n* at this speed.
    pub warm_start: Option<Duration>,
    /// From the decision until workers learn that one of them is to leave. One that is not there
    /// yet leaves first; else the first that looks for another task.
    pub drain_notice: Duration,
    /// How often an idle worker looks for a task, in seconds; 0: tasks are handed out at once.
    pub poll_seconds: f64,
    /// From the end of a task until its result is collected.
    pub collection: Duration,
    /// Most slots of a replica: tasks it computes at once. As few replicas as possible are run;
    /// more slots of a running one are there after [`slot_change`](Self::slot_change), a new
    /// replica after its start.
    pub slots_max: u32,
    /// From the decision until the running replicas have other slots.
    pub slot_change: Duration,
    /// Time to read the metrics, by which a blocking controller's step is longer.
    pub read_out: Duration,
    /// How old the newest completion is that a window can show, in seconds. What was collected
    /// since then counts as a result that waits.
    pub telemetry_delay_seconds: f64,
    /// Standard deviation of the measured arrival rate and mean service time, relative to their
    /// values.
    pub telemetry_noise_ratio: f64,
    /// Workers that fail while they compute, if any do.
    pub failures: Option<Failures>,
}

/// When an added worker takes its first task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ColdStart {
    /// So long after the decision.
    After(Duration),
    /// So many seconds before the scale call answers.
    BeforeAnswer(f64),
}

/// Workers that fail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// Mean time of computing between two failures of one worker, in seconds.
    pub mean_time_between_seconds: f64,
    /// From the failure until its task is handed out again, in seconds.
    pub redelivery_seconds: f64,
    /// From the failure until a new worker stands in its place, in seconds.
    pub restart_seconds: f64,
}

/// Measured durations of scale calls that added one worker, in seconds (arXiv 2602.06555).
const PAPER_SCALE_UP_SECONDS: [f64; 36] = [
    5.19, 5.22, 5.25, 5.79, 5.82, 5.87, 6.1, 6.41, 6.45, 6.59, 6.69, 6.71, 6.81, 6.83, 6.83, 6.84,
    6.87, 6.88, 6.9, 6.92, 7.11, 7.51, 7.56, 7.71, 7.77, 7.81, 7.81, 7.9, 7.9, 8.11, 8.33, 8.33,
    8.51, 8.51, 8.8, 9.03,
];

impl Platform {
    /// A platform on which everything happens at once: where queueing theory holds.
    pub fn ideal() -> Self {
        Self {
            scale_up_call: Duration::Constant(0.0),
            scale_down_call: Duration::Constant(0.0),
            blocking: false,
            cold_start: ColdStart::After(Duration::Constant(0.0)),
            warm_start: None,
            drain_notice: Duration::Constant(0.0),
            poll_seconds: 0.0,
            collection: Duration::Constant(0.0),
            slots_max: 1,
            slot_change: Duration::Constant(0.0),
            read_out: Duration::Constant(0.0),
            telemetry_delay_seconds: 0.0,
            telemetry_noise_ratio: 0.0,
            failures: None,
        }
    }

    /// The platform of arXiv 2602.06555: Python workers that poll Redis ten times a second, on
    /// OpenFaaS, scaled by calls that block the controller for 5 to 9 seconds. As the authors'
    /// logs have it; several workers are added by one call.
    pub fn paper() -> Self {
        Self {
            scale_up_call: Duration::Empirical(PAPER_SCALE_UP_SECONDS.to_vec()),
            scale_down_call: Duration::Constant(2.0),
            blocking: true,
            cold_start: ColdStart::BeforeAnswer(0.5),
            warm_start: Some(Duration::Uniform {
                low: 5.1,
                high: 5.6,
            }),
            drain_notice: Duration::Constant(0.1),
            poll_seconds: 0.1,
            collection: Duration::Uniform {
                low: 0.003,
                high: 0.103,
            },
            read_out: Duration::Uniform {
                low: 0.18,
                high: 0.3,
            },
            ..Self::ideal()
        }
    }

    /// rust-farm's own platform: scale calls do not block, a replica takes tasks 0.35 s after the
    /// decision, tasks are pushed to workers.
    pub fn ours() -> Self {
        Self {
            scale_up_call: Duration::Constant(0.02),
            scale_down_call: Duration::Constant(0.02),
            cold_start: ColdStart::After(Duration::Constant(0.35)),
            drain_notice: Duration::Constant(0.05),
            collection: Duration::Constant(0.005),
            slot_change: Duration::Constant(0.05),
            ..Self::ideal()
        }
    }

    /// Tells whether it can be simulated.
    ///
    /// # Errors
    /// The first setting that makes no sense.
    pub fn check(&self) -> Result<(), String> {
        let named = [
            ("scale_up_call", &self.scale_up_call),
            ("scale_down_call", &self.scale_down_call),
            ("drain_notice", &self.drain_notice),
            ("collection", &self.collection),
            ("slot_change", &self.slot_change),
            ("read_out", &self.read_out),
        ];
        for (name, duration) in named {
            duration
                .check()
                .map_err(|cause| format!("{name}: {cause}"))?;
        }
        if let ColdStart::After(duration) = &self.cold_start {
            duration
                .check()
                .map_err(|cause| format!("cold_start: {cause}"))?;
        }
        if let Some(duration) = &self.warm_start {
            duration
                .check()
                .map_err(|cause| format!("warm_start: {cause}"))?;
        }
        let mut times = vec![
            ("poll_seconds", self.poll_seconds),
            ("telemetry_delay_seconds", self.telemetry_delay_seconds),
        ];
        if !(0.0..=10.0).contains(&self.telemetry_noise_ratio) {
            return Err(format!(
                "telemetry_noise_ratio: {} is not from 0 to 10",
                self.telemetry_noise_ratio
            ));
        }
        if let ColdStart::BeforeAnswer(seconds) = self.cold_start {
            times.push(("cold_start.before_answer", seconds));
        }
        if let Some(failures) = &self.failures {
            let between = failures.mean_time_between_seconds;
            // Tasks that hardly ever end before their worker fails would be run for ever.
            if between.is_nan() || between < 1.0 {
                return Err(format!(
                    "failures.mean_time_between_seconds: {between} is not at least 1"
                ));
            }
            times.push(("failures.redelivery_seconds", failures.redelivery_seconds));
            times.push(("failures.restart_seconds", failures.restart_seconds));
        }
        for (name, number) in times {
            if !(0.0..=86_400.0).contains(&number) {
                return Err(format!("{name}: {number} is not from 0 to 86400"));
            }
        }
        match self.slots_max {
            0 => Err("slots_max: 0 slots compute nothing: use at least 1".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::ours()
    }
}
