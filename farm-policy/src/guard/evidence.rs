//! Whether an observation can be true.

use crate::Observation;
use crate::limits::MAX_PARALLELISM;

/// Ten years: no task, deadline or start takes longer.
const MOST_SECONDS: f64 = 3.2e8;
/// A day: no control interval is longer.
const MOST_INTERVAL_SECONDS: f64 = 86_400.0;
/// More than any broker delivers.
const MOST_TASKS_PER_SECOND: f64 = 1e9;
/// More than any stream holds.
const MOST_TASKS: u64 = 1_000_000_000_000;

/// Refuses an observation that cannot be true, and says which value.
pub(super) fn check(observation: &Observation) -> Result<(), String> {
    let o = observation;
    let time = o.time_seconds;
    require(time.is_finite(), "time", time)?;
    let interval = o.interval_seconds;
    let sensible = interval > 0.0 && interval <= MOST_INTERVAL_SECONDS;
    require(sensible, "control interval", interval)?;
    let target = o.target_qos_ratio;
    require(target > 0.0 && target <= 1.0, "target QoS", target)?;
    let rate = o.arrival_rate_per_second;
    let sensible = (0.0..=MOST_TASKS_PER_SECOND).contains(&rate);
    require(sensible, "arrival rate", rate)?;
    let start = o.cold_start_seconds;
    require((0.0..=MOST_SECONDS).contains(&start), "cold start", start)?;
    check_windows(o)?;
    check_counts(o)
}

/// Whether a farm can have this many workers.
pub(super) fn is_believable(parallelism: u32) -> bool {
    parallelism <= MAX_PARALLELISM
}

fn check_windows(o: &Observation) -> Result<(), String> {
    let seconds = 0.0..=MOST_SECONDS;
    let squared = 0.0..=MOST_SECONDS * MOST_SECONDS;
    let ratio = 0.0..=1.0;
    for (value, range, what) in [
        (o.service_seconds_mean, &seconds, "mean service time"),
        (
            o.service_seconds_variance,
            &squared,
            "variance of the service time",
        ),
        (o.service_seconds_max, &seconds, "longest service time"),
        (o.sojourn_seconds_mean, &seconds, "mean completion time"),
        (o.sojourn_seconds_max, &seconds, "longest completion time"),
        (o.qos_ratio, &ratio, "QoS"),
        (o.deadline_seconds, &seconds, "deadline"),
    ] {
        let value = value.unwrap_or(0.0);
        require(range.contains(&value), what, value)?;
    }
    Ok(())
}

fn check_counts(o: &Observation) -> Result<(), String> {
    for (count, what) in [
        (o.backlog_tasks, "backlog"),
        (o.in_flight_tasks, "number of tasks in flight"),
        (o.result_queue, "result queue"),
    ] {
        require(count <= MOST_TASKS, what, count as f64)?;
    }
    for (workers, what) in [
        (o.parallelism, "parallelism"),
        (o.available_parallelism, "available parallelism"),
    ] {
        require(is_believable(workers), what, f64::from(workers))?;
    }
    Ok(())
}

fn require(holds: bool, what: &str, value: f64) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("a {what} of {value} cannot be"))
    }
}
