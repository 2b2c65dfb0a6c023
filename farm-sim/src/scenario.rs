//! Workload, platform and control loop together.

use serde::{Deserialize, Serialize};

use crate::platform::{ColdStart, Platform};
use crate::random::Duration;
use crate::workload::{Arrivals, Deadline, Phase, Rate, Recording, Workload};

/// Everything of a run but its seed and its policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name in tables.
    pub name: String,
    /// Which tasks arrive.
    pub workload: Workload,
    /// How fast decisions have an effect.
    pub platform: Platform,
    /// When and within what bounds is decided.
    pub control: Control,
    /// How much episodes differ from each other.
    #[serde(default)]
    pub randomisation: Randomisation,
}

/// When and within what bounds is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// Control interval in seconds.
    pub interval_seconds: f64,
    /// Most decisions of an episode; `None`: until everything was collected, or for a million.
    pub max_steps: Option<u32>,
    /// How long tasks may still be collected after the last step, in seconds; no step, and no cost.
    pub drain_seconds: f64,
    /// Workers at the beginning.
    pub initial_parallelism: u32,
    /// Fewest workers.
    pub min_parallelism: u32,
    /// Most workers.
    pub max_parallelism: u32,
    /// Share of tasks that are to meet their deadline.
    pub target_qos_ratio: f64,
    /// Whether observations tell neither phases to come nor how many tasks there were so far.
    pub hide_script: bool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            interval_seconds: 8.0,
            max_steps: None,
            drain_seconds: 30.0,
            initial_parallelism: 12,
            min_parallelism: 1,
            max_parallelism: 32,
            target_qos_ratio: 0.95,
            hide_script: false,
        }
    }
}

impl Control {
    fn check(&self) -> Result<(), String> {
        for (name, number, low, high) in [
            ("interval_seconds", self.interval_seconds, 0.001, 86_400.0),
            ("drain_seconds", self.drain_seconds, 0.0, 86_400.0),
            ("target_qos_ratio", self.target_qos_ratio, 0.0, 1.0),
        ] {
            if !(low..=high).contains(&number) {
                return Err(format!("{name}: {number} is not from {low} to {high}"));
            }
        }
        if self.max_steps == Some(0) {
            return Err("max_steps: 0 steps decide nothing: use at least 1".to_owned());
        }
        let (min, initial, max) = (
            self.min_parallelism,
            self.initial_parallelism,
            self.max_parallelism,
        );
        match min <= initial && initial <= max && (1..=MOST_WORKERS).contains(&max) {
            true => Ok(()),
            false => Err(format!(
                "min_parallelism {min} <= initial_parallelism {initial} <= max_parallelism {max} \
                 <= {MOST_WORKERS} does not hold"
            )),
        }
    }
}

/// Most workers of a farm: each step takes time in proportion to them.
const MOST_WORKERS: u32 = 10_000;

/// Ranges of factors, drawn evenly for each episode: 1 to 1 changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Randomisation {
    /// Of arrival rates.
    pub rate: (f64, f64),
    /// Of service times.
    pub service: (f64, f64),
    /// Of cold starts and of scale calls.
    pub start_up: (f64, f64),
}

impl Randomisation {
    fn check(&self) -> Result<(), String> {
        for (name, (low, high)) in [
            ("rate", self.rate),
            ("service", self.service),
            ("start_up", self.start_up),
        ] {
            if !(0.01 <= low && low <= high && high <= 100.0) {
                return Err(format!(
                    "{name}: {low} to {high} is no range within 0.01 to 100"
                ));
            }
        }
        Ok(())
    }
}

impl Default for Randomisation {
    fn default() -> Self {
        Self {
            rate: (1.0, 1.0),
            service: (1.0, 1.0),
            start_up: (1.0, 1.0),
        }
    }
}

/// Names of [`Scenario::named`].
pub const SCENARIO_NAMES: [&str; 10] = [
    "paper",
    "paper-shuffled",
    "paper-fast",
    "phases",
    "poisson",
    "sine",
    "ramp",
    "bursts",
    "heavy",
    "departures",
];

/// Departures of aeroplanes on one day, a day of 24 h in 6 minutes.
const DEPARTURES: &str = include_str!("../workloads/departures.csv");

impl Scenario {
    /// The experiment of arXiv 2602.06555: its workload, its platform, decisions every 8 s, at most
    /// 30, from 12 workers, within 1 to 32.
    pub fn paper() -> Self {
        Self {
            name: "paper".to_owned(),
            workload: Workload::paper(),
            platform: Platform::paper(),
            control: Control {
                max_steps: Some(30),
                drain_seconds: 10.0,
                ..Control::default()
            },
            randomisation: Randomisation::default(),
        }
    }

    /// The scenario of that name.
    ///
    /// | name | workload | platform | interval |
    /// |---|---|---|---|
    /// | `paper` | the paper's | the paper's | 8 s |
    /// | `paper-shuffled` | its phases in a random order, unannounced | the paper's | 8 s |
    /// | `paper-fast` | the same | ours | 1 s |
    /// | `phases` | phases that oscillate, as the paper's are named | ours | 1 s |
    /// | `poisson` | steady, 6 tasks/s | ours | 1 s |
    /// | `sine` | 1 to 9 tasks/s, three times in 6 minutes | ours | 1 s |
    /// | `ramp` | 0.5 to 10 to 0.5 tasks/s | ours | 1 s |
    /// | `bursts` | 1 task/s, 8 for 20 s of each minute | ours | 1 s |
    /// | `heavy` | steady, service times of squared variation 2, deadlines of at least 3 s | ours | 1 s |
    /// | `departures` | recorded: flights that left New York's airports on one day | ours | 1 s |
    pub fn named(name: &str) -> Option<Self> {
        let paper = Self::paper();
        let mut scenario = match name {
            "paper" => return Some(paper),
            "paper-shuffled" => Self::shuffled(paper),
            "paper-fast" => Self {
                platform: Platform::ours(),
                control: Self::fast_control(),
                ..Self::shuffled(paper)
            },
            "phases" => Self::fast(Arrivals::Poisson {
                rate: Rate::Sine {
                    mean: 5.0,
                    amplitude: 2.5,
                    period_seconds: 60.0,
                },
                seconds: 240.0,
            }),
            "poisson" => Self::fast(Arrivals::Poisson {
                rate: Rate::Constant(6.0),
                seconds: 300.0,
            }),
            "sine" => Self::fast(Arrivals::Poisson {
                rate: Rate::Sine {
                    mean: 5.0,
                    amplitude: 4.0,
                    period_seconds: 120.0,
                },
                seconds: 360.0,
            }),
            "ramp" => Self::fast(Arrivals::Poisson {
                rate: Rate::Ramp {
                    low: 0.5,
                    high: 10.0,
                },
                seconds: 300.0,
            }),
            "bursts" => Self::fast(Arrivals::Poisson {
                rate: Rate::OnOff {
                    low: 1.0,
                    high: 8.0,
                    off_seconds: 40.0,
                    on_seconds: 20.0,
                },
                seconds: 360.0,
            }),
            "heavy" => {
                let mut scenario = Self::fast(Arrivals::Poisson {
                    rate: Rate::Constant(5.0),
                    seconds: 300.0,
                });
                scenario.workload.service = Duration::Gamma {
                    mean: 1.5,
                    shape: 0.5,
                    clip: None,
                };
                scenario.workload.deadline = Deadline::ServiceTimes {
                    factor: 2.0,
                    bounds: (3.0, 60.0),
                };
                scenario
            }
            "departures" => Self::fast(Arrivals::Recorded(Recording::parse(DEPARTURES).ok()?)),
            _ => return None,
        };
        scenario.name = name.to_owned();
        Some(scenario)
    }

    fn shuffled(paper: Self) -> Self {
        let mut scenario = paper;
        if let Arrivals::Phases { shuffled, .. } = &mut scenario.workload.arrivals {
            *shuffled = true;
        }
        scenario.control.hide_script = true;
        scenario
    }

    fn fast(arrivals: Arrivals) -> Self {
        Self {
            name: String::new(),
            workload: Workload {
                arrivals,
                ..Workload::paper()
            },
            platform: Platform::ours(),
            control: Self::fast_control(),
            randomisation: Randomisation::default(),
        }
    }

    fn fast_control() -> Control {
        Control {
            interval_seconds: 1.0,
            hide_script: true,
            ..Control::default()
        }
    }

    /// How long a worker takes to start, as a policy is told: a mean over what the platform does.
    pub fn cold_start_seconds(&self) -> f64 {
        let mean = |duration: &Duration| match duration {
            Duration::Constant(seconds) => *seconds,
            Duration::Uniform { low, high } => (low + high) / 2.0,
            Duration::Gamma { mean, .. } => *mean,
            Duration::Empirical(values) => values.iter().sum::<f64>() / values.len().max(1) as f64,
        };
        match &self.platform.cold_start {
            ColdStart::After(duration) => mean(duration),
            ColdStart::BeforeAnswer(early) => (mean(&self.platform.scale_up_call) - early).max(0.0),
        }
    }

    /// Tells whether it can be simulated.
    ///
    /// # Errors
    /// The first setting that makes no sense, by its path.
    pub fn check(&self) -> Result<(), String> {
        self.workload
            .check()
            .map_err(|cause| format!("workload.{cause}"))?;
        self.platform
            .check()
            .map_err(|cause| format!("platform.{cause}"))?;
        self.control
            .check()
            .map_err(|cause| format!("control.{cause}"))?;
        self.randomisation
            .check()
            .map_err(|cause| format!("randomisation.{cause}"))?;
        self.workload
            .arrivals
            .check_tasks(self.randomisation.rate.1)
            .map_err(|cause| format!("randomisation.rate: {cause}"))
    }

    /// Phases of the script, if there is one.
    pub fn phases(&self) -> &[Phase] {
        match &self.workload.arrivals {
            Arrivals::Phases { phases, .. } => phases,
            _ => &[],
        }
    }
}
