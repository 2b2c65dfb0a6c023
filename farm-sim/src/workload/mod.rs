//! Which tasks arrive when, how long they take and when they are due.

pub mod arrivals;
mod paper;
mod recorded;

use serde::{Deserialize, Serialize};

pub use arrivals::{Arrivals, Phase, Rate};
pub use paper::{PAPER_PHASES, PAPER_SERVICE_SECONDS_MEAN};
pub use recorded::{Recording, RecordingError};

use crate::random::{Cause, Duration, random_for};
use crate::{Nanoseconds, nanoseconds};

/// One task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// When it is submitted.
    pub arrival: Nanoseconds,
    /// How long a worker computes it.
    pub service: Nanoseconds,
    /// The sojourn time allowed to it; `Nanoseconds::MAX` without a deadline.
    pub deadline: Nanoseconds,
}

/// The tasks of one run, in the order of their arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// When each phase of the script begins; empty without a script.
    pub phase_starts: Vec<Nanoseconds>,
}

/// The sojourn time allowed to a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Deadline {
    /// None.
    Never,
    /// The same for all, in seconds.
    Seconds(f64),
    /// So many times the task's own service time, within bounds in seconds.
    ServiceTimes {
        /// How many times.
        factor: f64,
        /// Smallest and largest deadline.
        bounds: (f64, f64),
    },
}

impl Deadline {
    /// The deadline of a task that takes `service_seconds`, if it has one.
    pub fn seconds(self, service_seconds: f64) -> Option<f64> {
        match self {
            Self::Never => None,
            Self::Seconds(seconds) => Some(seconds),
            Self::ServiceTimes { factor, bounds } => {
                Some((factor * service_seconds).clamp(bounds.0, bounds.1))
            }
        }
    }
}

/// A family of streams: one for each seed.
///
/// ```
/// use farm_sim::workload::Workload;
/// let stream = Workload::paper().stream(42);
/// assert_eq!(stream.tasks.len(), 1140);
/// assert_eq!(stream, Workload::paper().stream(42));
/// assert_ne!(stream, Workload::paper().stream(43));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// When tasks arrive.
    pub arrivals: Arrivals,
    /// How long they take.
    pub service: Duration,
    /// When they are due.
    pub deadline: Deadline,
}

impl Workload {
    /// The workload of arXiv 2602.06555: see [`PAPER_PHASES`].
    pub fn paper() -> Self {
        paper::workload()
    }

    /// The tasks of one seed.
    pub fn stream(&self, seed: u64) -> Stream {
        let mut stream = Stream::default();
        self.fill(seed, 1.0, 1.0, &mut stream);
        stream
    }

    /// Writes the tasks of one seed into `stream`, reusing its memory. Arrival rates are multiplied
    /// by `rate_factor`, service times by `service_factor`.
    pub fn fill(&self, seed: u64, rate_factor: f64, service_factor: f64, stream: &mut Stream) {
        stream.tasks.clear();
        stream.phase_starts.clear();
        if let Arrivals::Recorded(recording) = &self.arrivals {
            recording.fill(rate_factor, service_factor, self.deadline, stream);
            if recording.has_service() {
                return;
            }
        } else {
            let random = &mut random_for(seed, Cause::Arrivals);
            self.arrivals.fill(random, rate_factor, stream);
        }
        let random = &mut random_for(seed, Cause::Service);
        let service = self.service.sampler();
        for task in &mut stream.tasks {
            let seconds = service.seconds(random) * service_factor;
            task.service = nanoseconds(seconds);
            task.deadline = self.due(seconds);
        }
    }

    /// The tasks of one seed, those of [`stream`](Self::stream), one after the other: of a steady
    /// load any number, without holding them.
    ///
    /// ```
    /// use farm_sim::scenario::{SCENARIO_NAMES, Scenario};
    /// for scenario in SCENARIO_NAMES.into_iter().filter_map(Scenario::named) {
    ///     let workload = scenario.workload;
    ///     assert!(workload.tasks(42).eq(workload.stream(42).tasks));
    /// }
    /// ```
    pub fn tasks(&self, seed: u64) -> Box<dyn Iterator<Item = Task> + Send> {
        let times: Box<dyn Iterator<Item = f64> + Send> = match &self.arrivals {
            Arrivals::Constant {
                per_second,
                seconds,
            } => Box::new(arrivals::constant(*per_second, *seconds)),
            Arrivals::Poisson { rate, seconds } => {
                let random = random_for(seed, Cause::Arrivals);
                Box::new(arrivals::poisson(rate, 1.0, *seconds, random))
            }
            Arrivals::Phases { .. } | Arrivals::Recorded(_) => {
                return Box::new(self.stream(seed).tasks.into_iter());
            }
        };
        let mut random = random_for(seed, Cause::Service);
        let service = self.service.sampler();
        let deadline = self.deadline;
        Box::new(times.map(move |at_seconds| {
            let service_seconds = service.seconds(&mut random);
            let deadline = deadline.seconds(service_seconds);
            Task {
                arrival: nanoseconds(at_seconds),
                service: nanoseconds(service_seconds),
                deadline: deadline.map_or(Nanoseconds::MAX, nanoseconds),
            }
        }))
    }

    fn due(&self, service_seconds: f64) -> Nanoseconds {
        self.deadline
            .seconds(service_seconds)
            .map_or(Nanoseconds::MAX, nanoseconds)
    }

    /// Tells whether it can be simulated.
    ///
    /// # Errors
    /// What is wrong, naming the setting.
    pub fn check(&self) -> Result<(), String> {
        self.arrivals
            .check()
            .map_err(|cause| format!("arrivals: {cause}"))?;
        self.service
            .check()
            .map_err(|cause| format!("service: {cause}"))?;
        let sound = match self.deadline {
            Deadline::Never => true,
            Deadline::Seconds(seconds) => seconds > 0.0,
            Deadline::ServiceTimes { factor, bounds } => {
                factor > 0.0 && factor.is_finite() && bounds.0 >= 0.0 && bounds.0 <= bounds.1
            }
        };
        sound
            .then_some(())
            .ok_or_else(|| format!("deadline: {:?} is never met", self.deadline))
    }
}
