//! What the workers say of how long tasks take, for who decides how many go into one message; and of
//! how many came in one, for who tells of the queue.

use std::collections::HashMap;
use std::time::Duration;

use farm_core::control::MAX_SLOTS;
use farm_core::telemetry::{Carried, Moments, WorkerTelemetry};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Config;
use crate::granularity::{Service, Workers};
use crate::runtime::broker::Broker;
use crate::task_error::chain;

/// A replica that says nothing for so many intervals is gone.
const SILENT_INTERVALS: u32 = 5;
/// And at the earliest after this.
const SHORTEST_SILENCE: Duration = Duration::from_secs(3);
/// For how long what workers that are gone have told is believed: a farm that was scaled to
/// zero need not learn it anew.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Replicas that are remembered; more are passed over.
const MAX_REPLICAS: usize = 2_000;
/// A report is a few hundred bytes.
const MAX_REPORT_BYTES: usize = 16 << 10;
/// Reports taken in before the sum of them is made anew.
const AT_ONCE: usize = 256;

/// The latest of it, to be read at any time without waiting.
#[derive(Default)]
pub(crate) struct ServiceTimes(watch::Sender<Workers>);

impl ServiceTimes {
    pub fn workers(&self) -> Workers {
        *self.0.borrow()
    }

    /// Returns when it is known how long tasks take.
    pub async fn known(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives as long as this.
        let _ = changes.wait_for(|workers| workers.service.is_some()).await;
    }

    fn set(&self, workers: Workers) {
        self.0.send_replace(workers);
    }
}

/// Listens for as long as it is polled. If it may not, or cannot, nothing is ever known.
pub(crate) async fn listen(times: &ServiceTimes, broker: &Broker, config: &Config) {
    let subject = broker.topology.telemetry_subject();
    let reports = match broker.client.subscribe(subject).await {
        Ok(reports) => reports,
        Err(error) => {
            let error = chain(&error);
            return tracing::warn!(error, "the workers' reports cannot be heard");
        }
    };
    let mut table = Table::new(config.telemetry_interval);
    let mut reports = reports.ready_chunks(AT_ONCE);
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let heard = tokio::select! {
            heard = reports.next() => heard,
            // Silence is news, too.
            _ = beat.tick() => Some(Vec::new()),
        };
        let Some(heard) = heard else {
            return;
        };
        let now = Instant::now();
        for report in heard {
            table.take_in(&report.payload, now);
        }
        times.set(table.workers(now));
    }
}

/// The reports of all replicas, put together.
struct Table {
    silence: Duration,
    replicas: HashMap<String, Replica>,
    /// The service time that was known last, and when it was.
    service: Option<(Service, Instant)>,
    /// The same of the tasks a message brought.
    tasks_per_message: Option<(f64, Instant)>,
}

struct Replica {
    last: WorkerTelemetry,
    /// What happened between the last two reports between which anything did.
    window: Moments,
    /// What it settled between the last two reports between which a message came.
    carried: Carried,
    heard: Instant,
}

impl Table {
    fn new(interval: Duration) -> Self {
        Self {
            silence: (interval * SILENT_INTERVALS).max(SHORTEST_SILENCE),
            replicas: HashMap::new(),
            service: None,
            tasks_per_message: None,
        }
    }

    fn take_in(&mut self, payload: &[u8], heard: Instant) {
        let report = (payload.len() <= MAX_REPORT_BYTES).then(|| serde_json::from_slice(payload));
        let Some(Ok(report)) = report else {
            return;
        };
        let report: WorkerTelemetry = report;
        if report.slots > MAX_SLOTS || !is_sensible(&report.service) {
            return;
        }
        let known = self.replicas.remove(&report.replica);
        if known.is_none() && self.replicas.len() >= MAX_REPLICAS {
            return;
        }
        // A sequence that falls is a replica that started anew.
        let known = known.filter(|known| known.last.sequence < report.sequence);
        let (before, window, earlier) = known.map_or_else(Default::default, |known| {
            (known.last, known.window, known.carried)
        });
        let carried = report.carried().since(before.carried());
        let replica = Replica {
            window: difference(&report.service, &before.service).unwrap_or(window),
            carried: if carried.messages > 0 {
                carried
            } else {
                earlier
            },
            heard,
            last: report,
        };
        self.replicas.insert(replica.last.replica.clone(), replica);
    }

    fn workers(&mut self, now: Instant) -> Workers {
        let silence = self.silence;
        self.replicas
            .retain(|_, replica| now.saturating_duration_since(replica.heard) <= silence);
        let replicas = self.replicas.values();
        let service = service(replicas.map(|replica| &replica.window));
        self.service = remembered(service, self.service, now);
        let carried = self.replicas.values().map(|replica| replica.carried);
        let carried = carried.fold(Carried::default(), Carried::plus);
        self.tasks_per_message =
            remembered(carried.tasks_per_message(), self.tasks_per_message, now);
        let taking = self.replicas.values().filter(|r| !r.last.draining);
        Workers {
            service: self.service.map(|(service, _)| service),
            slots: taking.fold(0, |slots, r| slots.saturating_add(r.last.slots)),
            tasks_per_message: self.tasks_per_message.map(|(tasks, _)| tasks),
        }
    }
}

/// What is known now, or else was lately.
fn remembered<T>(
    now_known: Option<T>,
    before: Option<(T, Instant)>,
    now: Instant,
) -> Option<(T, Instant)> {
    let before = before.filter(|(_, known)| now.saturating_duration_since(*known) <= REMEMBERED);
    now_known.map(|value| (value, now)).or(before)
}

fn is_sensible(moments: &Moments) -> bool {
    [
        moments.sum_seconds,
        moments.sum_squared_seconds,
        moments.recent_max_seconds,
    ]
    .iter()
    .all(|number| number.is_finite() && *number >= 0.0)
}

/// What was observed between two reports, if anything was.
fn difference(new: &Moments, old: &Moments) -> Option<Moments> {
    let count = new.count.checked_sub(old.count).filter(|new| *new > 0)?;
    Some(Moments {
        count,
        sum_seconds: (new.sum_seconds - old.sum_seconds).max(0.0),
        sum_squared_seconds: (new.sum_squared_seconds - old.sum_squared_seconds).max(0.0),
        recent_max_seconds: new.recent_max_seconds,
    })
}

fn service<'a>(windows: impl Iterator<Item = &'a Moments>) -> Option<Service> {
    let all = windows.fold(Moments::default(), |all, window| Moments {
        count: all.count.saturating_add(window.count),
        sum_seconds: all.sum_seconds + window.sum_seconds,
        sum_squared_seconds: all.sum_squared_seconds + window.sum_squared_seconds,
        recent_max_seconds: all.recent_max_seconds.max(window.recent_max_seconds),
    });
    let mean_seconds = all.sum_seconds / all.count as f64;
    let variance = all.sum_squared_seconds / all.count as f64 - mean_seconds * mean_seconds;
    (all.count > 0).then(|| Service {
        count: all.count,
        mean_seconds,
        deviation_seconds: variance.max(0.0).sqrt(),
        longest_seconds: all.recent_max_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Farm {
        table: Table,
        now: Instant,
    }

    impl Farm {
        fn new() -> Self {
            Self {
                table: Table::new(Duration::from_secs(1)),
                now: Instant::now(),
            }
        }

        fn hear(&mut self, report: &WorkerTelemetry) {
            let json = serde_json::to_vec(report).unwrap();
            self.table.take_in(&json, self.now);
        }

        fn after(&mut self, seconds: u64) -> Workers {
            self.now += Duration::from_secs(seconds);
            self.table.workers(self.now)
        }

        fn mean_seconds(&mut self) -> Option<f64> {
            self.after(0).service.map(|service| service.mean_seconds)
        }
    }

    fn report(replica: &str, sequence: u64, observed: &[f64]) -> WorkerTelemetry {
        let mut service = Moments::default();
        observed
            .iter()
            .for_each(|seconds| service.observe(*seconds));
        WorkerTelemetry {
            replica: replica.to_owned(),
            sequence,
            slots: 4,
            service,
            ..WorkerTelemetry::default()
        }
    }

    #[test]
    fn only_what_is_new_counts_and_an_idle_interval_changes_nothing() {
        let mut farm = Farm::new();
        assert_eq!(farm.after(0), Workers::default());
        farm.hear(&report("a", 1, &[]));
        assert_eq!((farm.mean_seconds(), farm.after(0).slots), (None, 4));
        farm.hear(&report("a", 2, &[1.0]));
        assert_eq!(farm.mean_seconds(), Some(1.0));
        farm.hear(&report("a", 3, &[1.0, 3.0, 5.0]));
        let service = farm.after(0).service.unwrap();
        assert_eq!((service.count, service.mean_seconds), (2, 4.0));
        assert_eq!(
            (service.deviation_seconds, service.longest_seconds),
            (1.0, 5.0)
        );
        farm.hear(&report("a", 4, &[1.0, 3.0, 5.0]));
        assert_eq!(farm.mean_seconds(), Some(4.0));
    }

    #[test]
    fn replicas_are_weighed_by_their_tasks_and_one_that_starts_anew_counts_from_zero() {
        let mut farm = Farm::new();
        farm.hear(&report("a", 7, &[1.0, 1.0, 1.0]));
        farm.hear(&report("b", 9, &[5.0]));
        assert_eq!((farm.mean_seconds(), farm.after(0).slots), (Some(2.0), 8));
        farm.hear(&report("a", 1, &[5.0]));
        assert_eq!(farm.mean_seconds(), Some(5.0));
    }

    fn settled(replica: &str, sequence: u64, tasks: u64, messages: u64) -> WorkerTelemetry {
        WorkerTelemetry {
            tasks_done: tasks - tasks / 10,
            tasks_failed: tasks / 10,
            messages,
            ..report(replica, sequence, &[])
        }
    }

    #[test]
    fn tasks_per_message_are_of_the_last_reports_between_which_any_came() {
        let mut farm = Farm::new();
        let mut after = |report: &WorkerTelemetry| {
            farm.hear(report);
            farm.after(0).tasks_per_message
        };
        assert_eq!(after(&settled("a", 1, 0, 0)), None);
        assert_eq!(after(&settled("a", 2, 1_000, 1_000)), Some(1.0));
        assert_eq!(after(&settled("a", 3, 1_640, 1_010)), Some(64.0));
        assert_eq!(after(&settled("a", 4, 1_640, 1_010)), Some(64.0));
        // Replicas are weighed by their messages.
        assert_eq!(after(&settled("b", 1, 10, 10)), Some(32.5));
        // Those of the worker that started anew are new.
        assert_eq!(after(&settled("a", 1, 40, 10)), Some(2.5));
        assert_eq!(farm.after(30).tasks_per_message, Some(2.5));
        assert_eq!(farm.after(60).tasks_per_message, None);
    }

    #[test]
    fn who_is_silent_or_draining_has_no_slots_and_is_remembered_for_a_while() {
        let mut farm = Farm::new();
        farm.hear(&report("a", 1, &[1.0]));
        let draining = WorkerTelemetry {
            draining: true,
            ..report("b", 1, &[])
        };
        farm.hear(&draining);
        assert_eq!(farm.after(5).slots, 4);
        let gone = farm.after(1);
        assert_eq!((gone.slots, gone.service.is_some()), (0, true));
        assert_eq!(farm.after(60).service, None);
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut farm = Farm::new();
        farm.table.take_in(b"{", farm.now);
        farm.table.take_in(&[b' '; MAX_REPORT_BYTES + 1], farm.now);
        let mut negative = report("a", 1, &[1.0]);
        negative.service.sum_seconds = -1.0;
        farm.hear(&negative);
        farm.hear(&WorkerTelemetry {
            slots: u32::MAX,
            ..report("a", 1, &[1.0])
        });
        assert_eq!(farm.after(0), Workers::default());
        for replica in 0..=MAX_REPLICAS {
            farm.hear(&report(&replica.to_string(), 1, &[]));
        }
        assert_eq!(farm.after(0).slots as usize, 4 * MAX_REPLICAS);
    }
}
