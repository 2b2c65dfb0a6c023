//! What a replica measures, in Prometheus terms. Names and labels: `docs/operations.md`.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use farm_core::Role;
use farm_core::envelope::Outcome;

use crate::config::Config;

type Labels = Vec<(&'static str, String)>;
type Ratio = Gauge<f64, AtomicU64>;
type Count = Gauge<i64, AtomicI64>;

/// What there is to measure of a task whose outcome was stored.
pub(crate) struct Computed {
    pub service_seconds: f64,
    pub sojourn_seconds: f64,
    /// Whether the outcome is a result.
    pub done: bool,
    /// Whether it met its deadline, if it had one; a failure never does, however soon it came.
    pub in_deadline: Option<bool>,
}

/// The counters of one replica.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    tasks: Family<Labels, Counter>,
    settled_done: OnceLock<Counter>,
    collected_done: OnceLock<Counter>,
    collected_failed: OnceLock<Counter>,
    service: Histogram,
    sojourn: Histogram,
    in_deadline: Counter,
    with_deadline: Counter,
    qos: Ratio,
    slots: Count,
    busy_slots: Count,
    backlog: Count,
    in_flight: Count,
    dead: Count,
    jobs: Family<Labels, Counter>,
    cold_start: Ratio,
    requests: Family<Labels, Counter>,
    request_duration: Family<Labels, Histogram, fn() -> Histogram>,
    requests_in_flight: Count,
}

/// 10 µs to 167 s: from no-op tasks to slow ones.
fn seconds_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-5, 4.0, 13))
}

/// Prometheus's default buckets, which of-watchdog uses.
fn request_histogram() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

fn labels_of(role: Role, outcome: &str) -> Labels {
    vec![("role", role.to_string()), ("outcome", outcome.to_owned())]
}

impl Metrics {
    pub fn new(config: &Config) -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            registry: Mutex::default(),
            tasks: Family::default(),
            settled_done: OnceLock::new(),
            collected_done: OnceLock::new(),
            collected_failed: OnceLock::new(),
            service: seconds_histogram(),
            sojourn: seconds_histogram(),
            in_deadline: Counter::default(),
            with_deadline: Counter::default(),
            qos: Ratio::default(),
            slots: Count::default(),
            busy_slots: Count::default(),
            backlog: Count::default(),
            in_flight: Count::default(),
            dead: Count::default(),
            jobs: Family::default(),
            cold_start: Ratio::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_histogram),
            requests_in_flight: Count::default(),
        };
        // The three names of of-watchdog carry no farm label: OpenFaaS's dashboards expect that.
        registry.register(
            "http_requests",
            "Requests answered",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "Time to answer",
            Unit::Seconds,
            metrics.request_duration.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            metrics.requests_in_flight.clone(),
        );
        let farm = registry.sub_registry_with_labels(
            [("farm".into(), config.farm.to_string().into())].into_iter(),
        );
        let farm = farm.sub_registry_with_prefix("farm");
        farm.register("tasks", "Tasks by role and outcome", metrics.tasks.clone());
        farm.register_with_unit(
            "task_service",
            "Time a worker function took",
            Unit::Seconds,
            metrics.service.clone(),
        );
        farm.register_with_unit(
            "task_sojourn",
            "Time from submission to outcome",
            Unit::Seconds,
            metrics.sojourn.clone(),
        );
        farm.register(
            "tasks_in_deadline",
            "Outcomes inside their deadline",
            metrics.in_deadline.clone(),
        );
        farm.register(
            "tasks_with_deadline",
            "Outcomes that had a deadline",
            metrics.with_deadline.clone(),
        );
        farm.register(
            "qos_ratio",
            "Share of outcomes inside their deadline since this replica started",
            metrics.qos.clone(),
        );
        farm.register("slots", "Slots of this replica", metrics.slots.clone());
        farm.register("slots_busy", "Slots computing", metrics.busy_slots.clone());
        farm.register(
            "backlog_tasks",
            "Tasks waiting, whole farm",
            metrics.backlog.clone(),
        );
        farm.register(
            "in_flight_tasks",
            "Tasks delivered and not finished, whole farm",
            metrics.in_flight.clone(),
        );
        farm.register(
            "dead_tasks",
            "Dead letters kept, whole farm",
            metrics.dead.clone(),
        );
        farm.register("jobs", "Jobs by event", metrics.jobs.clone());
        farm.register_with_unit(
            "cold_start",
            "Start of the process to ready",
            Unit::Seconds,
            metrics.cold_start.clone(),
        );
        if config.roles.has(Role::Worker) {
            metrics.set_slots(config.slots);
        }
        metrics.qos.set(1.0);
        *metrics
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn count_tasks(&self, role: Role, outcome: &str, count: u64) {
        let labels = labels_of(role, outcome);
        self.tasks.get_or_create(&labels).inc_by(count);
    }

    /// The emitter stored tasks, or could not.
    pub fn emitted(&self, outcome: &str, count: u64) {
        self.count_tasks(Role::Emitter, outcome, count);
    }

    /// The worker settled a delivery.
    pub fn settled(&self, outcome: &str) {
        self.settled_many(outcome, 1);
    }

    /// The worker settled `count` tasks that came together.
    pub fn settled_many(&self, outcome: &str, count: u64) {
        if outcome != Outcome::Done.as_str() {
            return self.count_tasks(Role::Worker, outcome, count);
        }
        // Looked up once: it is counted up for every task.
        let create = || {
            let labels = labels_of(Role::Worker, outcome);
            self.tasks.get_or_create_owned(&labels)
        };
        self.settled_done.get_or_init(create).inc_by(count);
    }

    /// The worker stored an outcome.
    pub fn computed(&self, task: &Computed) {
        self.service.observe(task.service_seconds);
        self.sojourn.observe(task.sojourn_seconds);
        if let Some(met) = task.in_deadline {
            self.with_deadline.inc();
            self.in_deadline.inc_by(u64::from(met));
            self.qos
                .set(self.in_deadline.get() as f64 / self.with_deadline.get() as f64);
        }
    }

    /// The worker stored the results of tasks that came together: each like `each` but for its
    /// service time.
    pub fn computed_many(&self, services_seconds: &[f32], each: &Computed) {
        for seconds in services_seconds {
            self.service.observe(f64::from(*seconds));
            self.sojourn.observe(each.sojourn_seconds);
        }
        if let Some(met) = each.in_deadline {
            let count = services_seconds.len() as u64;
            self.with_deadline.inc_by(count);
            self.in_deadline.inc_by(if met { count } else { 0 });
            self.qos
                .set(self.in_deadline.get() as f64 / self.with_deadline.get().max(1) as f64);
        }
    }

    /// The collector counted the outcomes of tasks.
    pub fn collected(&self, outcome: Outcome, count: u64) {
        // Looked up once: it is counted up for every message.
        let counter = match outcome {
            Outcome::Done => &self.collected_done,
            Outcome::Failed => &self.collected_failed,
        };
        let create = || {
            let labels = labels_of(Role::Collector, outcome.as_str());
            self.tasks.get_or_create_owned(&labels)
        };
        counter.get_or_init(create).inc_by(count);
    }

    pub fn set_slots(&self, slots: u32) {
        self.slots.set(i64::from(slots));
    }

    pub fn busy_slots(&self) -> u32 {
        u32::try_from(self.busy_slots.get()).unwrap_or(0)
    }

    pub fn set_busy_slots(&self, slots: usize) {
        self.busy_slots
            .set(i64::try_from(slots).unwrap_or(i64::MAX));
    }

    pub fn queue(&self, backlog: u64, in_flight: u64, dead: u64) {
        let gauge = |gauge: &Count, value| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        gauge(&self.backlog, backlog);
        gauge(&self.in_flight, in_flight);
        gauge(&self.dead, dead);
    }

    pub fn job(&self, event: &'static str) {
        self.jobs
            .get_or_create(&vec![("event", event.to_owned())])
            .inc();
    }

    pub fn cold_start(&self, duration: Duration) {
        self.cold_start.set(duration.as_secs_f64());
    }

    pub fn request_started(&self) {
        self.requests_in_flight.inc();
    }

    pub fn request_ended(&self, code: u16, method: &'static str, duration: Duration) {
        self.requests_in_flight.dec();
        let labels = vec![("code", code.to_string()), ("method", method.to_owned())];
        self.requests.get_or_create(&labels).inc();
        self.request_duration
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
    }
}
