//! `predictive`: forecast and queueing theory.

use crate::policies::whole_workers;
use crate::recent::RecentMaximum;
use crate::staffing::Load;
use crate::{Action, DampedTrend, Observation, Policy, PolicyError};

/// What [`Predictive`] can be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PredictiveSettings {
    /// Standard deviations of the arrival noise that a change staffs for. Default 1.5.
    pub headroom: f64,
    /// A fall goes no lower than the most that was needed in this time, in seconds. Default: eight
    /// reaction times at most, and at most 60 s; see [`Predictive`].
    pub memory_seconds: Option<f64>,
    /// Service time that is assumed until one was seen, in seconds. Default: half the deadline, or
    /// 1 s without a deadline.
    pub service_seconds: Option<f64>,
}

impl Default for PredictiveSettings {
    fn default() -> Self {
        Self {
            headroom: 1.5,
            memory_seconds: None,
            service_seconds: None,
        }
    }
}

/// The policy `predictive`: the fewest workers that keep the target share of tasks inside the
/// deadline, at the load that is to come.
///
/// With λ the forecast arrival rate, S the mean service time, v its squared coefficient of
/// variation, D the deadline, N the tasks in the farm, and R = interval + cold start the time until
/// a decision has had its effect and been seen:
///
/// ```text
/// λ           damped trend of the arrival rate, one interval and one cold start ahead
/// miss(c, λ)  = C(c, λS) exp(−(D − S) (c − λS) / (S (1 + v)/2))      Erlang C, Allen-Cunneen
/// staff(λ)    = fewest c with miss(c, λ) ≤ (1 − target) / 2^max(caution, −1.5)
/// patience    = min(1, R / 10 S)
/// crowd       = m + (1 − patience) (0.75 + caution/2) √σ²             tasks at once, after R
///               m = N e^(−R/S) + λS (1 − e^(−R/S)),  σ² = N e^(−R/S) (1 − e^(−R/S)) + λS (1 − e^(−R/S))
/// needed      = max(staff(λ), crowd)
/// comfortable = max(staff(λ + patience headroom √(λ / interval)), crowd)
/// kept        = largest comfortable of the last `memory`
/// lost        = backlog + (λ − available / S) cold start             tasks, when help arrives
/// clearing    = ⌈λS + lost S / max(D, interval)⌉
/// wanted      = max(clearing, comfortable)                           if parallelism < needed
///             = max(clearing, kept)                                  if kept < parallelism − 0.7 √(λS)
///             = max(clearing, parallelism)                           otherwise
/// caution    += 0.3 (tasks missed − tasks that may be missed)        within −2 to 3
/// ```
///
/// So it rises when the load needs it, then far enough not to rise again for noise; it stays while
/// what it has will do; it falls when nothing within its memory needed what it has.
///
/// *How soon it falls depends on the platform.* Where a worker comes sooner than a task takes, the
/// tasks in the farm are the best forecast there is: it follows them, and gives back within
/// seconds. Where a worker takes many service times to come, a worker given back too early is
/// missed for long: there `patience` is 1, it staffs for noise and falls late.
///
/// *Caution* makes up for what the formulas do not know, such as deadlines that differ from task to
/// task or arrivals in batches: every task that misses its deadline adds to it, every task that does
/// not takes away the share that is allowed to miss, so that in the long run the target is met as it
/// is, neither missed nor exceeded (stochastic approximation of a quantile, Robbins and Monro 1951).
///
/// | parameter | unit | default |
/// |---|---|---|
/// | `headroom` | standard deviations of the arrival noise, 0 to 10 | 1.5 |
/// | `memory` | duration | 8 R × patience, at most 60s |
/// | `service` | duration, assumed until the first task has ended | half the deadline; 1s without one |
/// | `step` | `one` or `free` | free |
///
/// Deadline, target share and cold start come with the observation; without a deadline it plans for
/// a wait of at most one service time. It starts from the parallelism it finds and, until it knows a
/// service time, does not go below it. A deadline shorter than the service time cannot be kept by
/// any number of workers: it then staffs so that hardly a task waits.
///
/// Sources: Gardner and McKenzie 1985 (damped trend); Erlang 1917, Allen 1990, Whitt 1993 (waiting
/// in M/G/c); Jennings, Mandelbaum, Massey and Whitt 1996 (staffing for a load that varies: the
/// farm as one that never lets a task wait, M/G/∞, seen from its present state); Gandhi and others,
/// *AutoScale*, 2012 (tasks in the system as the signal; give back late).
///
/// Choose it wherever there is a deadline. Prefer `queue` if tasks arrive in large batches: these
/// are not Poisson, and the forecast then chases each one.
#[derive(Debug, Clone)]
pub struct Predictive {
    settings: PredictiveSettings,
    rate: DampedTrend,
    service: Option<Service>,
    comfortable: RecentMaximum,
    caution: f64,
    reason: String,
}

/// A rate this many standard deviations of Poisson noise off the forecast is a change of the load.
const SURPRISE_DEVIATIONS: f64 = 4.0;

/// Largest weight of the newest window in the averages of the service time, and the tasks it takes
/// to have that weight: a window of one task says little.
const SERVICE_GAIN: f64 = 0.3;
const SERVICE_TASKS: f64 = 12.0;

/// Reaction time, in service times, from which on the platform counts as slow.
const SLOW_SERVICE_TIMES: f64 = 10.0;
/// Longest memory, in reaction times and in seconds.
const MEMORY_REACTIONS: f64 = 8.0;
const MEMORY_SECONDS: f64 = 60.0;
/// Standard deviations of the tasks in the farm that have a worker at once.
const CROWD_DEVIATIONS: f64 = 0.75;
/// Standard deviations of the tasks in the farm that are not worth a fall.
const BAND_DEVIATIONS: f64 = 0.7;
/// What one missed task adds to the caution, and its bounds.
const CAUTION_GAIN: f64 = 0.3;
const CAUTION_BOUNDS: (f64, f64) = (-2.0, 3.0);
/// Queueing theory is trusted this far, and not to be more pessimistic than that.
const LEAST_STAFFING_CAUTION: f64 = -1.5;

/// Service time, averaged over windows.
#[derive(Debug, Clone, Copy)]
struct Service {
    mean_seconds: f64,
    /// Squared coefficient of variation.
    scv: f64,
}

/// What a farm promises: how long a task may wait, and what share may wait longer.
#[derive(Debug, Clone, Copy)]
struct Promise {
    deadline_seconds: f64,
    wait_seconds: f64,
    missed_ratio: f64,
}

impl Predictive {
    /// A policy that has seen nothing yet.
    pub fn new(settings: PredictiveSettings) -> Self {
        Self {
            settings,
            rate: DampedTrend::default(),
            service: None,
            comfortable: RecentMaximum::default(),
            caution: 0.0,
            reason: "nothing seen yet".to_owned(),
        }
    }

    fn learn(&mut self, observation: &Observation) {
        let interval = observation.interval_seconds;
        // At least one task per window: a silent farm has noise, too.
        let expected = self.rate.forecast(1.0).max(1.0 / interval);
        let noise = (expected / interval).sqrt();
        self.rate.observe(
            observation.arrival_rate_per_second,
            SURPRISE_DEVIATIONS * noise,
        );
        self.learn_service(observation);
    }

    fn learn_service(&mut self, observation: &Observation) {
        let Some(mean) = observation.service_seconds_mean.filter(|mean| *mean > 0.0) else {
            return;
        };
        let seen = Service {
            mean_seconds: mean,
            scv: observation
                .service_seconds_variance
                .map_or(1.0, |variance| variance / (mean * mean)),
        };
        let before = self.service.unwrap_or(seen);
        let tasks = observation.arrival_rate_per_second * observation.interval_seconds;
        let gain = SERVICE_GAIN * (tasks / SERVICE_TASKS).clamp(0.05, 1.0);
        let average = |before: f64, seen: f64| before + gain * (seen - before);
        self.service = Some(Service {
            mean_seconds: average(before.mean_seconds, seen.mean_seconds),
            scv: average(before.scv, seen.scv),
        });
    }

    /// Takes account of the tasks that missed their deadline.
    fn learn_caution(&mut self, observation: &Observation, promise: Promise) {
        let Some(qos_ratio) = observation.qos_ratio else {
            return;
        };
        let tasks = observation.arrival_rate_per_second * observation.interval_seconds;
        let beyond = tasks * (1.0 - qos_ratio - promise.missed_ratio);
        let (least, most) = CAUTION_BOUNDS;
        self.caution = (self.caution + CAUTION_GAIN * beyond).clamp(least, most);
    }

    /// What is known of the service time, or what is assumed.
    fn service(&self, observation: &Observation) -> Service {
        self.service.unwrap_or_else(|| {
            let half_deadline = observation.deadline_seconds.map(|seconds| seconds / 2.0);
            Service {
                mean_seconds: self
                    .settings
                    .service_seconds
                    .or(half_deadline)
                    .unwrap_or(1.0),
                scv: 1.0,
            }
        })
    }

    /// The load one interval and one cold start from now.
    fn forecast(&self, observation: &Observation, service: Service) -> Load {
        let steps = 1.0 + observation.cold_start_seconds / observation.interval_seconds;
        Load {
            arrival_rate_per_second: self.rate.forecast(steps),
            service_seconds: service.mean_seconds,
            service_scv: service.scv,
        }
    }

    /// The load and the crowd that it makes, and what both need.
    fn staffing(&self, observation: &Observation, load: Load, promise: Promise) -> Staffing {
        let rate = load.arrival_rate_per_second;
        let reaction = Reaction::new(observation, load.service_seconds);
        let noise = (rate / observation.interval_seconds).sqrt();
        let noisy = Load {
            arrival_rate_per_second: rate + reaction.patience * self.settings.headroom * noise,
            ..load
        };
        let caution = self.caution.max(LEAST_STAFFING_CAUTION);
        let missed_ratio = promise.missed_ratio * (-caution).exp2();
        let staff = |load: Load| load.servers_for(promise.wait_seconds, missed_ratio.min(0.5));
        // Tasks that are gone when help comes need no worker: then queueing theory alone decides.
        let deviations = (1.0 - reaction.patience) * (CROWD_DEVIATIONS + self.caution / 2.0);
        let crowd = reaction.crowd(observation.tasks_in_system(), load, deviations);
        Staffing {
            needed: staff(load).max(crowd),
            comfortable: staff(noisy).max(crowd),
            crowd,
            memory_seconds: self
                .settings
                .memory_seconds
                .unwrap_or_else(|| reaction.memory_seconds()),
        }
    }

    /// The steady part of the answer: for the load, not for the backlog.
    fn steady(&mut self, observation: &Observation, load: Load, staffing: &Staffing) -> u32 {
        let (now, memory) = (observation.time_seconds, staffing.memory_seconds);
        if self.comfortable.is_empty() {
            self.comfortable.push(now, observation.parallelism, memory);
        }
        self.comfortable.push(now, staffing.comfortable, memory);
        if observation.parallelism < staffing.needed {
            return staffing.comfortable;
        }
        let kept = self.comfortable.maximum(now, memory);
        let kept = kept.unwrap_or(staffing.comfortable);
        let band = whole_workers((BAND_DEVIATIONS * load.offered_erlangs().sqrt()).floor());
        match kept < observation.parallelism.saturating_sub(band) {
            true => kept,
            false => observation.parallelism,
        }
    }
}

/// What the present load needs.
struct Staffing {
    /// With fewer it has to rise.
    needed: u32,
    /// So far it rises.
    comfortable: u32,
    /// The part of it that is for the tasks in the farm.
    crowd: u32,
    memory_seconds: f64,
}

/// How long a decision takes to have an effect, and what that means for tasks of some length.
struct Reaction {
    seconds: f64,
    /// 0: a worker is there before a task is done. 1: a task is long done before a worker is there.
    patience: f64,
}

impl Reaction {
    fn new(observation: &Observation, service_seconds: f64) -> Self {
        let seconds = observation.interval_seconds + observation.cold_start_seconds;
        Self {
            seconds,
            patience: (seconds / (SLOW_SERVICE_TIMES * service_seconds)).min(1.0),
        }
    }

    fn memory_seconds(&self) -> f64 {
        (MEMORY_REACTIONS * self.seconds * self.patience).min(MEMORY_SECONDS)
    }

    /// Tasks in the farm when the decision has its effect, so many standard deviations above the
    /// mean: as if none had to wait.
    fn crowd(&self, tasks_now: u64, load: Load, deviations: f64) -> u32 {
        let staying = (-self.seconds / load.service_seconds).exp();
        let arriving = load.offered_erlangs() * (1.0 - staying);
        let still_there = tasks_now as f64 * staying;
        let variance = still_there * (1.0 - staying) + arriving;
        whole_workers(still_there + arriving + deviations * variance.sqrt())
    }
}

impl Policy for Predictive {
    fn name(&self) -> &'static str {
        "predictive"
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        self.learn(observation);
        let service = self.service(observation);
        let promise = promise(observation, service);
        let load = self.forecast(observation, service);

        self.learn_caution(observation, promise);
        let staffing = self.staffing(observation, load, promise);
        let needed = staffing.needed;
        let steady = self.steady(observation, load, &staffing);
        let clearing = clearing(observation, load, promise);
        let mut wanted = steady.max(clearing);

        self.reason = format!(
            "{:.1} tasks/s × {:.2} s = {:.1} busy workers, {needed} keep {:.0} % inside {:.1} s",
            load.arrival_rate_per_second,
            load.service_seconds,
            load.offered_erlangs(),
            100.0 * observation.target_qos_ratio,
            promise.deadline_seconds,
        );
        if self.service.is_none() {
            wanted = wanted.max(observation.parallelism);
            self.reason += "; the service time is assumed: no task has ended yet";
        }
        if clearing > steady {
            let backlog = observation.backlog_tasks;
            self.reason += &format!("; {clearing} to clear {backlog} waiting tasks");
        } else if wanted > needed {
            self.reason += &format!("; {wanted} with headroom for noise and recent load");
        } else if staffing.crowd == wanted {
            let tasks = observation.tasks_in_system();
            self.reason +=
                &format!("; {wanted} for the {tasks} tasks that are here and those to come");
        }
        Ok(Action {
            parallelism: wanted,
        })
    }

    fn reason(&self) -> String {
        self.reason.clone()
    }
}

fn promise(observation: &Observation, service: Service) -> Promise {
    let deadline_seconds = observation
        .deadline_seconds
        .unwrap_or(2.0 * service.mean_seconds);
    Promise {
        deadline_seconds,
        wait_seconds: (deadline_seconds - service.mean_seconds).max(0.0),
        // A target of 100 % would need workers without end.
        missed_ratio: (1.0 - observation.target_qos_ratio).max(0.001),
    }
}

/// Workers that work off, within the deadline or at least an interval, what will wait when help
/// arrives.
fn clearing(observation: &Observation, load: Load, promise: Promise) -> u32 {
    let drained = f64::from(observation.available_parallelism) / load.service_seconds;
    let growth = (load.arrival_rate_per_second - drained) * observation.cold_start_seconds;
    let waiting = (observation.backlog_tasks as f64 + growth).max(0.0);
    let within = promise.deadline_seconds.max(observation.interval_seconds);
    whole_workers(load.offered_erlangs() + waiting * load.service_seconds / within)
}

#[cfg(test)]
mod tests;
