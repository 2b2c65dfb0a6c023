//! What this replica says of itself: at regular times, and at once when its slots or its state
//! change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farm_core::telemetry::{Carried, WorkerTelemetry};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::WorkerRole;
use crate::clock;
use crate::metrics::Computed;

/// Tasks after which the service time is told at once: emitters wait for it.
const MEASURED: u64 = 32;

/// The sums since the start of the replica.
pub(crate) struct Sums {
    report: Mutex<WorkerTelemetry>,
    /// Told when it is known for the first time how long tasks take.
    measured: Notify,
}

impl Sums {
    pub fn new(replica: &str, function: Option<String>) -> Self {
        Self {
            report: Mutex::new(WorkerTelemetry {
                replica: replica.to_owned(),
                function,
                ..WorkerTelemetry::default()
            }),
            measured: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, WorkerTelemetry> {
        // Numbers only: a holder that panicked cannot have left them half-changed for long.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn started(&self, cold_start: Duration) {
        self.lock().cold_start_seconds = cold_start.as_secs_f64();
    }

    /// Counts a task that `messages` brought: 1, or 0 if it came in a chunk.
    pub fn count(&self, task: &Computed, messages: u64) {
        let mut report = self.lock();
        report.messages += messages;
        if task.done {
            report.tasks_done += 1;
            report.service.observe(task.service_seconds);
        } else {
            report.tasks_failed += 1;
        }
        report.sojourn.observe(task.sojourn_seconds);
        if let Some(met) = task.in_deadline {
            report.with_deadline += 1;
            report.in_deadline += u64::from(met);
        }
        if task.done && report.tasks_done == MEASURED {
            self.measured.notify_one();
        }
    }

    /// Counts the tasks that are done in a chunk: each like `each` but for its service time.
    pub fn count_chunk(&self, services_seconds: &[f32], each: &Computed) {
        let mut report = self.lock();
        let count = services_seconds.len() as u64;
        report.messages += 1;
        report.tasks_done += count;
        for seconds in services_seconds {
            report.service.observe(f64::from(*seconds));
            report.sojourn.observe(each.sojourn_seconds);
        }
        if let Some(met) = each.in_deadline {
            report.with_deadline += count;
            report.in_deadline += if met { count } else { 0 };
        }
    }

    /// What was settled, and the messages that brought it.
    pub fn carried(&self) -> Carried {
        self.lock().carried()
    }

    /// The next report; what is "recent" begins anew.
    fn next(&self) -> WorkerTelemetry {
        let mut report = self.lock();
        report.sequence += 1;
        let next = report.clone();
        report.service.recent_max_seconds = 0.0;
        report.sojourn.recent_max_seconds = 0.0;
        next
    }
}

/// Reports until the replica is gone.
pub(crate) async fn keep_reporting(role: Arc<WorkerRole>) {
    let mut slots = role.slots.subscribe();
    let mut told_draining = false;
    let mut beat = tokio::time::interval(role.config.telemetry_interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // The first tick comes at once: the replica is ready.
            _ = beat.tick() => {}
            Ok(()) = slots.changed() => {}
            () = role.draining.cancelled(), if !told_draining => {}
            () = role.sums.measured.notified() => {}
        }
        told_draining = role.draining.is_cancelled();
        send(&role).await;
    }
}

/// Sends one report. None while NATS is away: it would be queued, and old when it arrives.
pub(crate) async fn send(role: &WorkerRole) {
    let broker = &role.broker;
    if !broker.link.is_up() {
        return;
    }
    let report = WorkerTelemetry {
        sent_seconds: clock::now_seconds(),
        draining: role.draining.is_cancelled(),
        slots: *role.slots.borrow(),
        busy_slots: role.metrics.busy_slots(),
        ..role.sums.next()
    };
    let subject = broker.topology.telemetry_subject();
    let sent = match serde_json::to_vec(&report) {
        Ok(json) => broker.client.publish(subject, json.into()).await,
        Err(error) => return tracing::debug!(%error, "a report could not be written"),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "a report could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(done: bool, seconds: f64, in_deadline: Option<bool>) -> Computed {
        Computed {
            service_seconds: seconds,
            sojourn_seconds: seconds + 1.0,
            done,
            in_deadline,
        }
    }

    #[test]
    fn sums_go_on_and_the_recent_maximum_begins_anew() {
        let sums = Sums::new("r", Some("f".to_owned()));
        sums.count(&task(true, 2.0, Some(true)), 1);
        sums.count(&task(true, 1.0, None), 1);
        sums.count(&task(false, 9.0, Some(false)), 1);
        let first = sums.next();
        assert_eq!((first.sequence, first.replica.as_str()), (1, "r"));
        assert_eq!(first.function.as_deref(), Some("f"));
        assert_eq!((first.tasks_done, first.tasks_failed), (2, 1));
        assert_eq!((first.with_deadline, first.in_deadline), (2, 1));
        assert_eq!(first.service.count, 2);
        assert_eq!(first.service.sum_seconds, 3.0);
        assert_eq!(first.service.sum_squared_seconds, 5.0);
        assert_eq!(first.service.recent_max_seconds, 2.0);
        assert_eq!(first.sojourn.count, 3);
        assert_eq!(first.sojourn.recent_max_seconds, 10.0);

        sums.count(&task(true, 0.5, None), 1);
        let second = sums.next();
        assert_eq!((second.sequence, second.tasks_done), (2, 3));
        assert_eq!(second.service.sum_seconds, 3.5);
        assert_eq!(second.service.recent_max_seconds, 0.5);
        assert_eq!(sums.next().service.recent_max_seconds, 0.0);
    }

    #[test]
    fn a_chunk_of_which_tasks_fail_is_one_message() {
        let sums = Sums::new("r", None);
        sums.count_chunk(&[0.001; 231], &task(true, 0.0, None));
        for _ in 0..25 {
            sums.count(&task(false, 0.001, None), 0);
        }
        let report = sums.next();
        assert_eq!((report.tasks_done, report.tasks_failed), (231, 25));
        assert_eq!(report.messages, 1);
        assert_eq!(sums.carried().tasks_per_message(), Some(256.0));
    }
}
