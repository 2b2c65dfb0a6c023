//! When tasks arrive.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::{Recording, Stream, Task};
use crate::random::{exponential, poisson as draw_poisson};
use crate::{Nanoseconds, nanoseconds};

/// A process of arrivals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    /// Evenly spaced, the first at once.
    Constant {
        /// Tasks per second.
        per_second: f64,
        /// How long they arrive, in seconds.
        seconds: f64,
    },
    /// A Poisson process whose rate follows a curve; with [`Rate::Constant`], the plain one.
    Poisson {
        /// The rate over time.
        rate: Rate,
        /// How long they arrive, in seconds.
        seconds: f64,
    },
    /// Phases of an exact number of tasks each, one after the other.
    Phases {
        /// The phases.
        phases: Vec<Phase>,
        /// Whether their order is drawn anew for each seed.
        shuffled: bool,
    },
    /// Read from a file: the same for every seed.
    Recorded(Recording),
}

/// A phase of an exact number of tasks, as the paper's generator makes them.
///
/// A window's number of tasks is Poisson with mean *tasks left / windows left*, capped at the tasks
/// left; the last window takes what is left. Inside a window of *n* tasks the gaps are exponential
/// with mean *1/n* and not rescaled: it lasts one second only on average, and one without tasks
/// lasts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its tasks.
    pub tasks: u64,
    /// Its windows, nominally of one second each.
    pub windows: u64,
}

/// A rate over time, in tasks per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rate {
    /// Always the same.
    Constant(f64),
    /// `mean + amplitude · sin(2π t / period)`.
    Sine {
        /// Mean rate.
        mean: f64,
        /// Largest deviation from it.
        amplitude: f64,
        /// Length of one oscillation, in seconds.
        period_seconds: f64,
    },
    /// In a straight line from one rate to another and back, once.
    Ramp {
        /// Rate at the beginning and at the end.
        low: f64,
        /// Rate in the middle.
        high: f64,
    },
    /// High and low in turn, low first.
    OnOff {
        /// Rate while it is off.
        low: f64,
        /// Rate while it is on.
        high: f64,
        /// Time it is off, in seconds.
        off_seconds: f64,
        /// Time it is on, in seconds.
        on_seconds: f64,
    },
}

impl Rate {
    /// The rate at a time, of a workload of `seconds`.
    pub fn at(&self, now_seconds: f64, seconds: f64) -> f64 {
        match *self {
            Self::Constant(rate) => rate,
            Self::Sine {
                mean,
                amplitude,
                period_seconds,
            } => {
                // libm rather than the platform's: the same bits everywhere.
                let angle = std::f64::consts::TAU * now_seconds / period_seconds;
                (mean + amplitude * libm::sin(angle)).max(0.0)
            }
            Self::Ramp { low, high } => {
                let half = seconds / 2.0;
                let height = 1.0 - ((now_seconds - half) / half).abs();
                low + (high - low) * height.clamp(0.0, 1.0)
            }
            Self::OnOff {
                low,
                high,
                off_seconds,
                on_seconds,
            } => match now_seconds % (off_seconds + on_seconds) < off_seconds {
                true => low,
                false => high,
            },
        }
    }

    fn most(&self) -> f64 {
        match *self {
            Self::Constant(rate) => rate,
            Self::Sine {
                mean, amplitude, ..
            } => mean + amplitude.abs(),
            Self::Ramp { low, high } | Self::OnOff { low, high, .. } => low.max(high),
        }
    }

    fn check(&self) -> Result<(), String> {
        let rates: Vec<f64> = match *self {
            Self::Constant(rate) => vec![rate],
            Self::Sine {
                mean, amplitude, ..
            } => vec![mean, amplitude],
            Self::Ramp { low, high } | Self::OnOff { low, high, .. } => vec![low, high],
        };
        let times: Vec<f64> = match *self {
            Self::Sine { period_seconds, .. } => vec![period_seconds],
            Self::OnOff {
                off_seconds,
                on_seconds,
                ..
            } => vec![off_seconds, on_seconds],
            _ => Vec::new(),
        };
        let rates = rates.iter().all(|rate| (0.0..=1e6).contains(rate));
        let times = times
            .iter()
            .all(|time| *time > 0.0 && *time <= LONGEST_SECONDS);
        (rates && times).then_some(()).ok_or_else(|| {
            format!("{self:?}: use rates from 0 to 1e6 and times above 0, of at most a year")
        })
    }
}

/// Most tasks of a stream: they are held in memory, 24 bytes each.
const MOST_TASKS: f64 = 5e6;
/// Most windows of all phases together: each costs time, even without tasks.
const MOST_WINDOWS: f64 = 5e6;
/// A year: no stream is longer.
pub(super) const LONGEST_SECONDS: f64 = 366.0 * 86_400.0;

impl Arrivals {
    /// Appends the arrivals to `stream`; rates are multiplied by `rate_factor`.
    pub(super) fn fill(&self, random: &mut Pcg64Mcg, rate_factor: f64, stream: &mut Stream) {
        match self {
            Self::Constant {
                per_second,
                seconds,
            } => arrive_all(constant(per_second * rate_factor, *seconds), stream),
            Self::Poisson { rate, seconds } => {
                let times = poisson(rate, rate_factor, *seconds, random.clone());
                arrive_all(times, stream);
            }
            Self::Phases { phases, shuffled } => {
                let mut phases = phases.clone();
                if *shuffled {
                    phases.shuffle(random);
                }
                let mut clock_seconds = 0.0;
                for phase in phases {
                    stream.phase_starts.push(nanoseconds(clock_seconds));
                    clock_seconds = phase.fill(clock_seconds, rate_factor, random, stream);
                }
            }
            Self::Recorded(_) => {}
        }
    }

    /// Tells whether arrivals can be made from it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Constant {
                per_second,
                seconds,
            } => {
                Rate::Constant(*per_second).check()?;
                check_length(*seconds)?;
            }
            Self::Poisson { rate, seconds } => {
                rate.check()?;
                check_length(*seconds)?;
            }
            Self::Phases { phases, .. } => check_windows(phases)?,
            Self::Recorded(_) => {}
        }
        self.check_tasks(1.0)
    }

    /// Tells whether the tasks can be held, if rates are multiplied by `rate_factor`.
    pub(crate) fn check_tasks(&self, rate_factor: f64) -> Result<(), String> {
        let tasks = match self {
            Self::Constant {
                per_second,
                seconds,
            } => per_second * rate_factor * seconds,
            Self::Poisson { rate, seconds } => rate.most() * rate_factor * seconds,
            Self::Phases { phases, .. } => phases.iter().map(|phase| phase.tasks as f64).sum(),
            Self::Recorded(recording) => recording.len() as f64,
        };
        match tasks <= MOST_TASKS {
            true => Ok(()),
            false => Err(format!("up to {tasks} tasks: use at most {MOST_TASKS}")),
        }
    }
}

fn check_length(seconds: f64) -> Result<(), String> {
    match (0.0..=LONGEST_SECONDS).contains(&seconds) {
        true => Ok(()),
        false => Err(format!(
            "{seconds} seconds: use from 0 to {LONGEST_SECONDS}"
        )),
    }
}

fn check_windows(phases: &[Phase]) -> Result<(), String> {
    let windows: f64 = phases.iter().map(|phase| phase.windows as f64).sum();
    if windows > MOST_WINDOWS {
        return Err(format!("{windows} windows: use at most {MOST_WINDOWS}"));
    }
    match phases.iter().find(|phase| phase.windows == 0) {
        Some(phase) => Err(format!("{phase:?}: without windows no task arrives")),
        None => Ok(()),
    }
}

fn arrive(at: Nanoseconds, stream: &mut Stream) {
    stream.tasks.push(Task {
        arrival: at,
        service: 0,
        deadline: Nanoseconds::MAX,
    });
}

fn arrive_all(times_seconds: impl Iterator<Item = f64>, stream: &mut Stream) {
    for at_seconds in times_seconds {
        arrive(nanoseconds(at_seconds), stream);
    }
}

/// Evenly spaced times in seconds.
pub(super) fn constant(per_second: f64, seconds: f64) -> impl Iterator<Item = f64> + Send {
    // Each time is computed from its number: gaps that are added up drift.
    let number_of_tasks = (per_second * seconds).ceil() as u64;
    (0..number_of_tasks).map(move |number| number as f64 / per_second)
}

/// Times in seconds, by thinning: a process of the highest rate, of which each arrival stays with
/// the probability *rate / highest rate* (Lewis and Shedler, 1979).
pub(super) fn poisson(
    rate: &Rate,
    rate_factor: f64,
    seconds: f64,
    random: Pcg64Mcg,
) -> impl Iterator<Item = f64> + Send + use<> {
    let (rate, mut random) = (rate.clone(), random);
    let most = rate.most();
    let steady = matches!(rate, Rate::Constant(_));
    let mut now_seconds = if most > 0.0 { 0.0 } else { seconds };
    std::iter::from_fn(move || {
        loop {
            now_seconds += exponential(&mut random) / (most * rate_factor);
            if now_seconds >= seconds || now_seconds.is_nan() {
                return None;
            }
            if steady || random.random::<f64>() * most < rate.at(now_seconds, seconds) {
                return Some(now_seconds);
            }
        }
    })
}

impl Phase {
    /// Appends the phase; returns when it ends.
    fn fill(
        self,
        start_seconds: f64,
        rate_factor: f64,
        random: &mut Pcg64Mcg,
        stream: &mut Stream,
    ) -> f64 {
        let mut clock_seconds = start_seconds;
        let mut tasks_left = self.tasks;
        let mut counts = Vec::with_capacity(self.windows as usize);
        for windows_left in (1..=self.windows).rev() {
            let count = match windows_left {
                1 => tasks_left,
                _ => draw_poisson(tasks_left as f64 / windows_left as f64, random).min(tasks_left),
            };
            tasks_left -= count;
            counts.push(count);
        }
        for count in counts {
            let gap_seconds = 1.0 / (count as f64 * rate_factor);
            for _ in 0..count {
                arrive(nanoseconds(clock_seconds), stream);
                clock_seconds += exponential(random) * gap_seconds;
            }
        }
        clock_seconds
    }
}
