//! What the worker replicas of every farm report, put together.
//!
//! Counts run from the start of a replica, so the table takes differences between two reports of
//! one replica and adds them up per farm until the control loop takes them. What makes no sense
//! is refused whole: one worker's nonsense must not become the farm's mean.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use farm_core::FarmName;
use farm_core::control::MAX_SLOTS;
use farm_core::telemetry::{Carried, Moments, WorkerTelemetry};
use tokio::time::Instant;

/// Replicas of one farm that are remembered; more are refused.
const MAX_REPLICAS: usize = 2_000;
/// A report is a few hundred bytes.
const MAX_REPORT_BYTES: usize = 16 << 10;
/// Kubernetes allows a pod name of 253 bytes.
const MAX_NAME_BYTES: usize = 253;
/// A replica that was silent for as long is gone, unless it has been reporting more rarely.
const SHORTEST_SILENCE: Duration = Duration::from_secs(3);
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// No task takes longer, no queue is older.
const MAX_SECONDS: f64 = 366.0 * 24.0 * 3600.0;
/// Every count up to here has an exact `f64`, and sums of them do not overflow.
const MAX_COUNT: u64 = 1 << 53;
/// How far another machine's clock may be ahead of ours.
const CLOCK_TOLERANCE_SECONDS: f64 = 300.0;

/// Why a report was refused; also the value of a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No JSON of a report, or far too long.
    Unreadable,
    /// A number that no worker has: negative, not finite, absurdly large.
    Nonsense,
    /// Sent at a time that has not come yet.
    FromTheFuture,
    /// One replica more than is remembered.
    TooMany,
}

impl Refused {
    /// Why, and what to do about it.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Unreadable => "it cannot be read: check the versions of worker and autoscaler",
            Self::Nonsense => "no worker has such numbers: check who sends it",
            Self::FromTheFuture => "it is from the future: check the clocks",
            Self::TooMany => "too many replicas report: check their names",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Nonsense => "nonsense",
            Self::FromTheFuture => "from_the_future",
            Self::TooMany => "too_many_replicas",
        }
    }
}

/// What was counted in a window, over all replicas of a farm.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Window {
    pub service: Sums,
    pub sojourn: Sums,
    pub with_deadline: u64,
    pub in_deadline: u64,
    /// Tasks settled, results and failures, and the messages that brought them.
    pub carried: Carried,
}

/// Count, sums and maximum of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sums {
    pub count: u64,
    pub sum: f64,
    pub sum_squared: f64,
    pub max: f64,
}

impl Sums {
    fn add(&mut self, new: &Moments, old: &Moments) {
        let count = new.count.saturating_sub(old.count);
        if count == 0 {
            return;
        }
        self.count += count;
        self.sum += (new.sum_seconds - old.sum_seconds).max(0.0);
        self.sum_squared += (new.sum_squared_seconds - old.sum_squared_seconds).max(0.0);
        self.max = self.max.max(new.recent_max_seconds);
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Of the observations, not of their mean.
    pub fn variance(&self) -> Option<f64> {
        let mean = self.mean()?;
        Some((self.sum_squared / self.count as f64 - mean * mean).max(0.0))
    }

    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }
}

impl Window {
    pub fn qos_ratio(&self) -> Option<f64> {
        let share = self.in_deadline as f64 / self.with_deadline as f64;
        (self.with_deadline > 0).then_some(share.min(1.0))
    }

    fn add(&mut self, new: &WorkerTelemetry, old: &WorkerTelemetry) {
        self.service.add(&new.service, &old.service);
        self.sojourn.add(&new.sojourn, &old.sojourn);
        self.with_deadline += new.with_deadline.saturating_sub(old.with_deadline);
        self.in_deadline += new.in_deadline.saturating_sub(old.in_deadline);
        let settled = new.carried().since(old.carried());
        self.carried = self.carried.plus(settled);
    }
}

/// The replicas of a farm that report now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Census {
    /// Replicas that report and take tasks.
    pub replicas: u32,
    /// Their slots together.
    pub slots: u32,
    /// Slots of the one that has fewest: to plan with more would give too little.
    pub slots_each: u32,
    /// Whether all of them have the same slots.
    pub alike: bool,
    /// Slots that compute, those of draining replicas included.
    pub busy: u32,
    /// The longest cold start among them; 0 if none told one.
    pub cold_start_seconds: f64,
    /// Reports that were refused since one was taken, and why the last of them was.
    pub refused: Option<(u64, Refused)>,
}

struct Replica {
    last: WorkerTelemetry,
    heard: Instant,
    /// The longest pause between reports of late.
    gap: Duration,
}

impl Replica {
    fn is_silent(&self, now: Instant) -> bool {
        let allowed = (self.gap * 3).clamp(SHORTEST_SILENCE, LONGEST_SILENCE);
        now.saturating_duration_since(self.heard) > allowed
    }
}

#[derive(Default)]
struct Farm {
    replicas: HashMap<String, Replica>,
    window: Window,
    /// Tasks that a message brought in the last window that had any.
    tasks_per_message: Option<f64>,
    refused: Option<(u64, Refused)>,
    /// Whether a refusal was told.
    warned: bool,
}

/// The reports of all farms that are scaled.
#[derive(Default)]
pub(crate) struct Reports {
    farms: Mutex<HashMap<FarmName, Farm>>,
}

impl Reports {
    /// Remembers the farms that `are_scaled` from now on, and forgets all others.
    pub fn keep(&self, are_scaled: &[FarmName]) {
        let mut farms = self.farms.lock().unwrap_or_else(PoisonError::into_inner);
        farms.retain(|farm, _| are_scaled.contains(farm));
        for farm in are_scaled {
            farms.entry(farm.clone()).or_default();
        }
    }

    /// Takes a report in. Reports of farms that are not scaled are passed over.
    pub fn take_in(
        &self,
        farm: &FarmName,
        payload: &[u8],
        now: Instant,
        latest_wall_seconds: f64,
    ) -> Result<(), Refused> {
        let mut farms = self.farms.lock().unwrap_or_else(PoisonError::into_inner);
        let name = farm;
        let Some(farm) = farms.get_mut(farm) else {
            return Ok(());
        };
        let taken = read(payload, latest_wall_seconds).and_then(|report| farm.take_in(report, now));
        let Err(reason) = taken else {
            farm.refused = None;
            return Ok(());
        };
        let earlier = farm.refused.map_or(0, |(count, _)| count);
        farm.refused = Some((earlier + 1, reason));
        if !std::mem::replace(&mut farm.warned, true) {
            let cause = reason.cause();
            tracing::warn!(farm = %name, cause, "refused a worker's report; said once");
        }
        taken
    }

    /// Who reports now, of those that are replicas of `function` or do not say of which.
    pub fn census(&self, farm: &FarmName, function: &str, now: Instant) -> Census {
        let mut farms = self.farms.lock().unwrap_or_else(PoisonError::into_inner);
        farms
            .get_mut(farm)
            .map(|farm| farm.census(function, now))
            .unwrap_or_default()
    }

    /// What was counted since this was asked the last time.
    pub fn take_window(&self, farm: &FarmName) -> Window {
        let mut farms = self.farms.lock().unwrap_or_else(PoisonError::into_inner);
        farms
            .get_mut(farm)
            .map(Farm::take_window)
            .unwrap_or_default()
    }

    /// Tasks that a message brings, from the last window taken in which any were settled; 1 while
    /// nothing is known.
    pub fn tasks_per_message(&self, farm: &FarmName) -> f64 {
        let farms = self.farms.lock().unwrap_or_else(PoisonError::into_inner);
        let known = farms.get(farm).and_then(|farm| farm.tasks_per_message);
        known.unwrap_or(1.0)
    }
}

impl Farm {
    fn take_in(&mut self, report: WorkerTelemetry, now: Instant) -> Result<(), Refused> {
        if let Some(replica) = self.replicas.get_mut(&report.replica) {
            let last = &replica.last;
            if report.sequence == last.sequence {
                return Ok(());
            }
            if started_anew(&report, last) {
                self.window.add(&report, &WorkerTelemetry::default());
            } else {
                self.window.add(&report, last);
            }
            let gap = now.saturating_duration_since(replica.heard);
            replica.gap = gap.max(replica.gap.mul_f64(0.8));
            replica.heard = now;
            replica.last = report;
            return Ok(());
        }
        if self.replicas.len() >= MAX_REPLICAS {
            self.forget_silent(now);
            if self.replicas.len() >= MAX_REPLICAS {
                return Err(Refused::TooMany);
            }
        }
        // Only the first report of a replica is news as a whole; from a later one on we do not
        // know what of it happened in this window.
        if report.sequence == 1 {
            self.window.add(&report, &WorkerTelemetry::default());
        }
        let replica = Replica {
            heard: now,
            gap: Duration::ZERO,
            last: report,
        };
        self.replicas.insert(replica.last.replica.clone(), replica);
        Ok(())
    }

    fn take_window(&mut self) -> Window {
        let window = std::mem::take(&mut self.window);
        let known = window.carried.tasks_per_message();
        self.tasks_per_message = known.or(self.tasks_per_message);
        window
    }

    fn forget_silent(&mut self, now: Instant) {
        self.replicas.retain(|_, replica| !replica.is_silent(now));
    }

    fn census(&mut self, function: &str, now: Instant) -> Census {
        self.forget_silent(now);
        let mut census = Census {
            alike: true,
            refused: self.refused,
            ..Census::default()
        };
        let reports = self.replicas.values().map(|replica| &replica.last);
        for report in
            reports.filter(|report| report.function.as_deref().is_none_or(|of| of == function))
        {
            census.busy = census.busy.saturating_add(report.busy_slots.min(MAX_SLOTS));
            if report.draining {
                continue;
            }
            if census.replicas == 0 {
                census.slots_each = report.slots;
            }
            census.alike &= census.slots_each == report.slots;
            census.replicas += 1;
            census.slots = census.slots.saturating_add(report.slots);
            census.slots_each = census.slots_each.min(report.slots);
            census.cold_start_seconds = census.cold_start_seconds.max(report.cold_start_seconds);
        }
        census
    }
}

fn started_anew(new: &WorkerTelemetry, old: &WorkerTelemetry) -> bool {
    new.sequence < old.sequence
        || new.service.count < old.service.count
        || new.sojourn.count < old.sojourn.count
        || new.with_deadline < old.with_deadline
        || new.in_deadline < old.in_deadline
        || new.carried().tasks < old.carried().tasks
        || new.messages < old.messages
}

fn read(payload: &[u8], latest_wall_seconds: f64) -> Result<WorkerTelemetry, Refused> {
    if payload.len() > MAX_REPORT_BYTES {
        return Err(Refused::Unreadable);
    }
    let report: WorkerTelemetry =
        serde_json::from_slice(payload).map_err(|_| Refused::Unreadable)?;
    let function = report.function.as_deref().unwrap_or_default();
    let named = !report.replica.is_empty()
        && report.replica.len() <= MAX_NAME_BYTES
        && function.len() <= MAX_NAME_BYTES;
    let makes_sense = named
        && report.slots <= MAX_SLOTS
        && report.busy_slots <= MAX_SLOTS
        && (0.0..MAX_SECONDS).contains(&report.cold_start_seconds)
        && report.sent_seconds >= 0.0
        && report.in_deadline <= report.with_deadline
        && report.with_deadline <= MAX_COUNT
        && report.carried().tasks <= MAX_COUNT
        && report.messages <= MAX_COUNT
        && is_plausible(&report.service)
        && is_plausible(&report.sojourn);
    if !makes_sense {
        return Err(Refused::Nonsense);
    }
    if report.sent_seconds > latest_wall_seconds + CLOCK_TOLERANCE_SECONDS {
        return Err(Refused::FromTheFuture);
    }
    Ok(report)
}

/// Whether these can be sums over `count` observations of 0 to [`MAX_SECONDS`].
fn is_plausible(moments: &Moments) -> bool {
    let most = moments.count as f64 * MAX_SECONDS;
    moments.count <= MAX_COUNT
        // Comparisons with NaN are false.
        && (0.0..=most).contains(&moments.sum_seconds)
        && (0.0..=most * MAX_SECONDS).contains(&moments.sum_squared_seconds)
        && (0.0..=MAX_SECONDS).contains(&moments.recent_max_seconds)
}

#[cfg(test)]
mod tests;
