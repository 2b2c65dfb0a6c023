//! One run of a scenario, step by step.

mod scaler;

use farm_policy::reward::EpisodeEnd;
use farm_policy::{Observation, Policy, PolicyError};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use crate::farm::{Contents, Farm, Window};
use crate::random::{Cause, normal, random_for};
use crate::scenario::Scenario;
use crate::workload::Stream;
use crate::{Nanoseconds, nanoseconds, seconds};
use scaler::Scaler;

/// What a blocking controller keeps of its interval for reading the metrics, in seconds: a scale
/// call that takes longer lengthens the step.
const READ_OUT_RESERVE_SECONDS: f64 = 0.2;
/// Steps after which an episode without a bound ends all the same.
const MOST_STEPS: u32 = 1_000_000;
/// No episode lasts longer than 30 years: sums of times stay far from the end of the clock.
const LONGEST: Nanoseconds = 1_000_000_000_000_000_000;

/// A farm that is scaled, one decision a step.
///
/// ```
/// use farm_sim::episode::Episode;
/// use farm_sim::scenario::Scenario;
/// let mut episode = Episode::new(&Scenario::paper(), 42).expect("a sound scenario");
/// while episode.end().is_none() {
///     let more = episode.observation().backlog_tasks > 0;
///     episode.step(if more { 18 } else { 15 });
/// }
/// let outcome = episode.outcome();
/// assert_eq!(outcome.submitted, 1140);
/// assert!(outcome.qos_ratio() > 0.9);
/// ```
#[derive(Debug, Clone)]
pub struct Episode {
    scenario: Scenario,
    scaler: Scaler,
    farm: Farm,
    seed: u64,
    noise: Pcg64Mcg,
    start_up_factor: f64,
    deadline_seconds: Option<f64>,
    cold_start_seconds: f64,
    now: Nanoseconds,
    asked: u32,
    window: Window,
    observation: Observation,
    end: Option<EpisodeEnd>,
    account: Account,
    trace: Option<Vec<TracePoint>>,
}

/// Sums over the steps of an episode.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    steps: u32,
    scaling_actions: u32,
    parallelism_sum: u64,
    parallelism_max: u32,
    worker_seconds: f64,
}

/// One step, for plots.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TracePoint {
    /// Time at the end of the step, in seconds.
    pub time_seconds: f64,
    /// Parallelism asked for during the step.
    pub parallelism: u32,
    /// Tasks that wait at its end.
    pub backlog_tasks: u64,
    /// Tasks submitted per second.
    pub arrival_rate_per_second: f64,
    /// Share of the tasks collected in the window that met their deadline.
    pub qos_ratio: Option<f64>,
}

/// What an episode came to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Outcome {
    /// Tasks submitted.
    pub submitted: u64,
    /// Tasks collected, the time to drain included.
    pub collected: u64,
    /// Tasks collected within their deadline.
    pub met: u64,
    /// Tasks not collected in the end.
    pub unfinished: u64,
    /// Decisions.
    pub steps: u32,
    /// Decisions that changed the parallelism.
    pub scaling_actions: u32,
    /// Mean of the parallelism over the decisions.
    pub parallelism_mean: f64,
    /// Most workers at once.
    pub parallelism_max: u32,
    /// Workers asked for, integrated over time.
    pub worker_seconds: f64,
    /// Length in seconds, without the time to drain.
    pub seconds: f64,
}

impl Outcome {
    /// Share of the submitted tasks that met their deadline; one never collected did not.
    pub fn qos_ratio(&self) -> f64 {
        match self.submitted {
            0 => 1.0,
            submitted => self.met as f64 / submitted as f64,
        }
    }

    /// Share of the collected tasks that met their deadline: what the paper reports.
    pub fn collected_qos_ratio(&self) -> f64 {
        match self.collected {
            0 => 1.0,
            collected => self.met as f64 / collected as f64,
        }
    }

    /// Decisions that changed nothing.
    pub fn no_ops(&self) -> u32 {
        self.steps - self.scaling_actions
    }
}

impl Episode {
    /// The beginning of the run of `scenario` with `seed`.
    ///
    /// # Errors
    /// What is wrong with the scenario: see [`Scenario::check`].
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, String> {
        scenario.check()?;
        let mut episode = Self {
            scaler: Scaler::new(&scenario.platform),
            farm: Farm::new(&scenario.platform),
            seed,
            noise: random_for(seed, Cause::Noise),
            start_up_factor: 1.0,
            deadline_seconds: None,
            cold_start_seconds: scenario.cold_start_seconds(),
            now: 0,
            asked: scenario.control.initial_parallelism,
            window: Window::default(),
            observation: Observation::idle(0.0, scenario.control.initial_parallelism),
            end: None,
            account: Account::default(),
            trace: None,
            scenario: scenario.clone(),
        };
        episode.reset(seed);
        Ok(episode)
    }

    /// Begins anew with another seed.
    pub fn reset(&mut self, seed: u64) {
        let mut stream = self.farm.take_stream();
        let mut random = random_for(seed, Cause::Scenario);
        let mut factor = |(low, high): (f64, f64)| low + (high - low) * random.random::<f64>();
        let ranges = self.scenario.randomisation;
        let rate_factor = factor(ranges.rate);
        let service_factor = factor(ranges.service);
        self.start_up_factor = factor(ranges.start_up);
        self.scenario
            .workload
            .fill(seed, rate_factor, service_factor, &mut stream);
        self.begin(stream, seed);
    }

    /// Begins anew with these very tasks.
    pub fn begin(&mut self, stream: Stream, seed: u64) {
        let control = &self.scenario.control;
        self.deadline_seconds = mean_deadline_seconds(&stream);
        self.seed = seed;
        self.noise = random_for(seed, Cause::Noise);
        self.cold_start_seconds = self.scenario.cold_start_seconds() * self.start_up_factor;
        self.now = 0;
        self.asked = control.initial_parallelism;
        self.scaler.begin(self.asked, self.start_up_factor, seed);
        self.farm.begin(stream, self.asked, seed);
        self.end = None;
        self.account = Account::default();
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
        self.observe(0, 0, 0);
    }

    /// Remembers every step from now on, for [`trace`](Self::trace).
    pub fn keep_trace(&mut self) {
        self.trace.get_or_insert_default();
    }

    /// The steps so far, if they are kept.
    pub fn trace(&self) -> &[TracePoint] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// What is run.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The farm at the end of the last step.
    pub fn observation(&self) -> &Observation {
        &self.observation
    }

    /// How the episode ended, once it did.
    pub fn end(&self) -> Option<EpisodeEnd> {
        self.end
    }

    /// Asks for `parallelism` workers, within the scenario's bounds, and runs until the next
    /// decision. After the end it does nothing.
    pub fn step(&mut self, parallelism: u32) {
        if self.end.is_some() {
            return;
        }
        let control = &self.scenario.control;
        let target = parallelism.clamp(control.min_parallelism, control.max_parallelism);
        let interval_seconds = control.interval_seconds;
        let change = target as i32 - self.asked as i32;
        let before = std::mem::replace(&mut self.asked, target);
        let waits = self.scaler.order(before, target, &mut self.farm);
        let length_seconds = match self.scenario.platform.blocking {
            true => {
                let reserve = READ_OUT_RESERVE_SECONDS.min(interval_seconds / 2.0);
                (interval_seconds - reserve).max(waits.call) + waits.read_out
            }
            false => interval_seconds,
        };
        self.advance(self.now + nanoseconds(length_seconds), change);
    }

    /// Like [`step`](Self::step), but without the scenario's bounds, and the step ends
    /// `length_seconds` after it began: to replay runs of which the length of each step is known.
    pub fn step_for(&mut self, parallelism: u32, length_seconds: f64) {
        if self.end.is_some() {
            return;
        }
        let change = parallelism as i32 - self.asked as i32;
        let before = std::mem::replace(&mut self.asked, parallelism);
        self.scaler.order(before, parallelism, &mut self.farm);
        self.advance(self.now + nanoseconds(length_seconds), change);
    }

    /// Runs to the end with a policy that decides alone.
    ///
    /// # Errors
    /// The policy's own.
    pub fn run(&mut self, policy: &mut dyn Policy) -> Result<Outcome, PolicyError> {
        while self.end.is_none() {
            let action = policy.decide(&self.observation)?;
            self.step(action.parallelism);
        }
        Ok(self.outcome())
    }

    /// What it came to so far.
    pub fn outcome(&self) -> Outcome {
        let totals = self.farm.totals();
        let submitted = self.farm.stream().tasks.len() as u64;
        let account = &self.account;
        Outcome {
            submitted,
            collected: totals.collected,
            met: totals.met,
            unfinished: submitted - totals.collected,
            steps: account.steps,
            scaling_actions: account.scaling_actions,
            parallelism_mean: account.parallelism_sum as f64 / f64::from(account.steps.max(1)),
            parallelism_max: account.parallelism_max,
            worker_seconds: account.worker_seconds,
            seconds: seconds(self.now),
        }
    }

    fn advance(&mut self, until: Nanoseconds, change: i32) {
        let began = self.now;
        let submitted_before = self.farm.totals().submitted;
        self.now = until;
        self.farm.advance(until);
        let account = &mut self.account;
        account.steps += 1;
        account.scaling_actions += u32::from(change != 0);
        account.parallelism_sum += u64::from(self.asked);
        account.parallelism_max = account.parallelism_max.max(self.asked);
        account.worker_seconds += f64::from(self.asked) * seconds(self.now - began);
        self.observe(began, submitted_before, change);
        self.finish();
        if let Some(trace) = &mut self.trace {
            trace.push(TracePoint {
                time_seconds: self.observation.time_seconds,
                parallelism: self.asked,
                backlog_tasks: self.observation.backlog_tasks,
                arrival_rate_per_second: self.observation.arrival_rate_per_second,
                qos_ratio: self.observation.qos_ratio,
            });
        }
    }

    fn finish(&mut self) {
        let control = &self.scenario.control;
        let tasks = self.farm.stream().tasks.len() as u64;
        let unfinished_tasks = tasks - self.farm.totals().collected;
        let most_steps = control.max_steps.unwrap_or(MOST_STEPS).min(MOST_STEPS);
        if self.account.steps >= most_steps || self.now >= LONGEST {
            self.end = Some(EpisodeEnd::OutOfSteps { unfinished_tasks });
            let until = self.now + nanoseconds(control.drain_seconds);
            self.farm.advance(until);
            self.farm.collect(0, until, &mut Window::default());
        } else if unfinished_tasks == 0 {
            self.end = Some(EpisodeEnd::AllCollected);
        }
    }

    fn observe(&mut self, began: Nanoseconds, submitted_before: u64, change: i32) {
        let control = &self.scenario.control;
        let delay = nanoseconds(self.scenario.platform.telemetry_delay_seconds);
        let upto = self.now.saturating_sub(delay);
        let from = upto.saturating_sub(nanoseconds(control.interval_seconds));
        self.farm.collect(from, upto, &mut self.window);
        let totals = self.farm.totals();
        let contents = self.farm.contents();
        let elapsed_seconds = seconds(self.now - began);
        let arrived = totals.submitted - submitted_before;
        let rate = match elapsed_seconds {
            0.0 => 0.0,
            elapsed_seconds => arrived as f64 / elapsed_seconds,
        };
        let ratio = self.scenario.platform.telemetry_noise_ratio;
        let rate = noisy(rate, ratio, &mut self.noise);
        let window = &self.window;
        let service = window.service_seconds_mean();
        let service = service.map(|mean| noisy(mean, ratio, &mut self.noise));
        // A farm that began long ago: how many tasks there were says nothing about those to come.
        let forgotten = if control.hide_script {
            totals.collected
        } else {
            0
        };
        let Contents {
            backlog,
            in_flight,
            results,
            workers,
        } = contents;
        self.observation = Observation {
            time_seconds: seconds(self.now),
            interval_seconds: control.interval_seconds,
            input_queue: self.phases_to_come(),
            backlog_tasks: backlog,
            in_flight_tasks: in_flight,
            result_queue: results,
            collected_tasks: totals.collected - forgotten,
            submitted_tasks: totals.submitted - forgotten,
            parallelism: self.asked,
            available_parallelism: workers.min(self.asked),
            slots: self.scaler.slots(self.asked),
            arrival_rate_per_second: rate,
            service_seconds_mean: service,
            service_seconds_variance: window.service_seconds_variance(),
            service_seconds_max: window.service_seconds_max(),
            sojourn_seconds_mean: window.sojourn_seconds_mean(),
            sojourn_seconds_max: window.sojourn_seconds_max(),
            qos_ratio: window.qos_ratio(),
            target_qos_ratio: control.target_qos_ratio,
            deadline_seconds: self.deadline_seconds,
            cold_start_seconds: self.cold_start_seconds,
            last_change: change,
            ordered_parallelism: None,
        };
    }

    fn phases_to_come(&self) -> u32 {
        if self.scenario.control.hide_script {
            return 0;
        }
        let starts = self.farm.stream().phase_starts.iter();
        starts.filter(|start| **start > self.now).count() as u32
    }
}

/// A measured value with an error relative to it.
fn noisy(value: f64, ratio: f64, random: &mut Pcg64Mcg) -> f64 {
    if ratio == 0.0 {
        return value;
    }
    (value * (1.0 + ratio * normal(random))).max(0.0)
}

/// The deadline a policy is told: the mean, where each task has its own.
fn mean_deadline_seconds(stream: &Stream) -> Option<f64> {
    let mut deadlines = stream.tasks.iter().map(|task| task.deadline);
    let sum = deadlines.try_fold(0_u128, |sum, deadline| {
        (deadline != Nanoseconds::MAX).then(|| sum + u128::from(deadline))
    })?;
    let mean = sum.checked_div(stream.tasks.len() as u128)?;
    Some(seconds(mean as Nanoseconds))
}
