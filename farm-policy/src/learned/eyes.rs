//! From an observation to the numbers a trained policy sees.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Feature;
use crate::Observation;

/// One number of an observation, by its name in contracts.
///
/// The first nine are [`Observation::paper_view`], with its values for an empty window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// Jobs or phases that were not begun yet.
    InputQueue,
    /// Tasks that wait for a worker.
    TaskQueue,
    /// Results that were not collected yet.
    ResultQueue,
    /// Tasks collected since the farm began.
    OutputQueue,
    /// The parallelism that was asked for last.
    Workers,
    /// Mean time from submission to outcome in the window, in seconds.
    CompletionSecondsMean,
    /// Longest time from submission to outcome in the window, in seconds.
    CompletionSecondsMax,
    /// Tasks submitted per second in the window.
    ArrivalRate,
    /// Share of the window's tasks that met their deadline.
    Qos,
    /// Tasks handed out to workers.
    InFlight,
    /// Workers that take tasks now.
    AvailableWorkers,
    /// Workers that were asked for and do not take tasks yet.
    StartingWorkers,
    /// Change of the parallelism in the interval before.
    LastChange,
    /// Busy workers the load would keep: arrival rate times the mean service time last seen.
    OfferedLoad,
    /// The arrival rate one interval ago.
    ArrivalRate1,
    /// The arrival rate two intervals ago.
    ArrivalRate2,
    /// The arrival rate three intervals ago.
    ArrivalRate3,
    /// The arrival rate, averaged: each interval counts a little less than half.
    ArrivalRateSmoothed,
    /// The highest averaged arrival rate since the farm began.
    ArrivalRatePeak,
    /// Tasks that wait or are computed.
    TasksInSystem,
}

impl fmt::Display for Sense {
    /// Its name in contracts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Arrival rates that are remembered beside the present one.
const RATES_KEPT: usize = 3;

/// Weight of the newest interval in the averaged rate.
const RATE_GAIN: f64 = 0.45;

impl Sense {
    /// The paper's nine numbers in its order.
    pub const PAPER: [Self; 9] = [
        Self::InputQueue,
        Self::TaskQueue,
        Self::ResultQueue,
        Self::OutputQueue,
        Self::Workers,
        Self::CompletionSecondsMean,
        Self::CompletionSecondsMax,
        Self::ArrivalRate,
        Self::Qos,
    ];

    /// Bounds that suit a farm of up to `max_parallelism` workers with tasks of about a second.
    pub fn usual_bounds(self, max_parallelism: u32) -> (f64, f64) {
        let most = f64::from(max_parallelism);
        match self {
            Self::InputQueue => (0.0, 3.0),
            Self::TaskQueue => (0.0, 800.0),
            Self::ResultQueue => (0.0, 10.0),
            Self::OutputQueue => (0.0, 1140.0),
            Self::Workers => (1.0, most),
            Self::CompletionSecondsMean => (0.0, 150.0),
            Self::CompletionSecondsMax => (0.0, 160.0),
            Self::ArrivalRate
            | Self::ArrivalRate1
            | Self::ArrivalRate2
            | Self::ArrivalRate3
            | Self::ArrivalRateSmoothed
            | Self::ArrivalRatePeak => (0.0, 12.0),
            Self::TasksInSystem => (0.0, 2.0 * most),
            Self::Qos => (0.0, 1.0),
            Self::InFlight | Self::AvailableWorkers | Self::StartingWorkers | Self::OfferedLoad => {
                (0.0, most)
            }
            Self::LastChange => (-most, most),
        }
    }
}

/// Turns observations, in the order of time, into the input of a trained policy.
///
/// `time_scale` is the farm's times per time of training: with 0.1 a task of 0.15 s is shown as one
/// of 1.5 s, and 50 tasks per second as 5.
///
/// ```
/// use farm_policy::Observation;
/// use farm_policy::learned::{ActionSpace, Contract, Eyes};
/// let contract = Contract::paper(ActionSpace::unit_steps());
/// let mut eyes = Eyes::new(contract.features, 1.0);
/// let crowded = Observation { backlog_tasks: 5_000, ..Observation::idle(8.0, 12) };
/// let mut input = Vec::new();
/// eyes.see(&crowded, &mut input);
/// assert_eq!(input, [0.0, 800.0, 0.0, 0.0, 12.0, 1.5, 0.0, 0.0, 1.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Eyes {
    features: Vec<Feature>,
    time_scale: f64,
    service_seconds_mean: Option<f64>,
    /// Arrival rates of the intervals before, the latest first.
    rates: [f64; RATES_KEPT],
    smoothed_rate: Option<f64>,
    peak_rate: f64,
}

impl Eyes {
    /// Eyes that have seen nothing yet.
    pub fn new(features: Vec<Feature>, time_scale: f64) -> Self {
        Self {
            features,
            time_scale,
            service_seconds_mean: None,
            rates: [0.0; RATES_KEPT],
            smoothed_rate: None,
            peak_rate: 0.0,
        }
    }

    /// What the features are.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Forgets what was seen: a new episode begins.
    pub fn forget(&mut self) {
        self.service_seconds_mean = None;
        self.rates = [0.0; RATES_KEPT];
        self.smoothed_rate = None;
        self.peak_rate = 0.0;
    }

    /// Writes the features of `observation` into `input`, clipped to their bounds.
    pub fn see(&mut self, observation: &Observation, input: &mut Vec<f64>) {
        if observation.service_seconds_mean.is_some() {
            self.service_seconds_mean = observation.service_seconds_mean;
        }
        self.follow_rate(observation);
        let paper = observation.paper_view();
        input.clear();
        input.extend(self.features.iter().map(|feature| {
            // Unlike `clamp` this neither panics on bad bounds nor lets a NaN through.
            self.number(feature.sense, &paper, observation)
                .max(feature.low)
                .min(feature.high)
        }));
        self.rates.rotate_right(1);
        self.rates[0] = observation.arrival_rate_per_second;
    }

    /// The first look has no interval behind it, and so no rate.
    fn follow_rate(&mut self, observation: &Observation) {
        let rate = observation.arrival_rate_per_second;
        let smoothed = match self.smoothed_rate {
            None if rate == 0.0 => return,
            None => rate,
            Some(before) => before + RATE_GAIN * (rate - before),
        };
        self.smoothed_rate = Some(smoothed);
        self.peak_rate = self.peak_rate.max(smoothed);
    }

    fn number(&self, sense: Sense, paper: &[f64; 9], observation: &Observation) -> f64 {
        let rate = |per_second: f64| per_second * self.time_scale;
        match sense {
            Sense::InputQueue => paper[0],
            Sense::TaskQueue => paper[1],
            Sense::ResultQueue => paper[2],
            Sense::OutputQueue => paper[3],
            Sense::Workers => paper[4],
            // Without evidence it is the paper's own number, which no clock scales.
            Sense::CompletionSecondsMean if observation.sojourn_seconds_mean.is_none() => paper[5],
            Sense::CompletionSecondsMean => paper[5] / self.time_scale,
            Sense::CompletionSecondsMax => paper[6] / self.time_scale,
            Sense::ArrivalRate => rate(paper[7]),
            Sense::Qos => paper[8],
            Sense::InFlight => observation.in_flight_tasks as f64,
            Sense::AvailableWorkers => f64::from(observation.available_parallelism),
            Sense::StartingWorkers => f64::from(
                observation
                    .parallelism
                    .saturating_sub(observation.available_parallelism),
            ),
            Sense::LastChange => f64::from(observation.last_change),
            Sense::OfferedLoad => {
                observation.arrival_rate_per_second * self.service_seconds_mean.unwrap_or(0.0)
            }
            Sense::ArrivalRate1 => rate(self.rates[0]),
            Sense::ArrivalRate2 => rate(self.rates[1]),
            Sense::ArrivalRate3 => rate(self.rates[2]),
            Sense::ArrivalRateSmoothed => rate(self.smoothed_rate.unwrap_or(0.0)),
            Sense::ArrivalRatePeak => rate(self.peak_rate),
            Sense::TasksInSystem => observation.tasks_in_system() as f64,
        }
    }
}
