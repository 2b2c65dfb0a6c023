//! What the autoscaler measures, in Prometheus terms.
//!
//! | name | labels | meaning |
//! |---|---|---|
//! | `farm_autoscaler_desired_parallelism` | farm | what is to be |
//! | `farm_autoscaler_available_parallelism` | farm | slots of the replicas that report |
//! | `farm_autoscaler_backlog_tasks`, `_in_flight_tasks` | farm | the queue |
//! | `farm_autoscaler_arrival_rate_per_second` | farm | tasks submitted |
//! | `farm_autoscaler_qos_ratio` | farm | share of the last window's tasks inside their deadline |
//! | `farm_autoscaler_decisions_total` | farm, outcome | decisions |
//! | `farm_autoscaler_observe_seconds`, `_decide_seconds`, `_act_seconds` | | histograms of a pass |
//! | `farm_autoscaler_leader` | | 1 if this replica leads |
//! | `farm_autoscaler_farms` | | farms that are scaled |
//! | `farm_autoscaler_telemetry_refused_total` | reason | reports that made no sense |

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use farm_core::decision::{DecisionEvent, Outcome};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::reports::Refused;

type Labels = Vec<(&'static str, String)>;
type Real = Gauge<f64, AtomicU64>;

const OUTCOMES: [Outcome; 4] = [
    Outcome::Unchanged,
    Outcome::Applied,
    Outcome::Held,
    Outcome::Failed,
];

/// The counters of one replica.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    desired: Family<Labels, Gauge>,
    available: Family<Labels, Gauge>,
    backlog: Family<Labels, Gauge>,
    in_flight: Family<Labels, Gauge>,
    arrival_rate: Family<Labels, Real>,
    qos: Family<Labels, Real>,
    decisions: Family<Labels, Counter>,
    observe: Histogram,
    decide: Histogram,
    act: Histogram,
    leader: Gauge,
    farms: Gauge,
    refused: Family<Labels, Counter>,
}

/// 1 µs to 17 s: from a decision to a gateway that hangs.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 4.0, 13))
}

pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Applied => "applied",
        Outcome::Held => "held",
        Outcome::Failed => "failed",
    }
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            desired: Family::default(),
            available: Family::default(),
            backlog: Family::default(),
            in_flight: Family::default(),
            arrival_rate: Family::default(),
            qos: Family::default(),
            decisions: Family::default(),
            observe: seconds(),
            decide: seconds(),
            act: seconds(),
            leader: Gauge::default(),
            farms: Gauge::default(),
            refused: Family::default(),
        };
        let mut registry = Registry::with_prefix("farm_autoscaler");
        metrics.register_farms(&mut registry);
        metrics.register_replica(&mut registry);
        *metrics
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = registry;
        metrics
    }

    fn register_farms(&self, registry: &mut Registry) {
        let gauges = [
            (
                "desired_parallelism",
                "Parallelism that is to be",
                &self.desired,
            ),
            (
                "available_parallelism",
                "Slots of the replicas that report",
                &self.available,
            ),
            ("backlog_tasks", "Tasks that wait", &self.backlog),
            (
                "in_flight_tasks",
                "Tasks handed out and not settled",
                &self.in_flight,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "arrival_rate_per_second",
            "Tasks submitted per second in the last window",
            self.arrival_rate.clone(),
        );
        registry.register(
            "qos_ratio",
            "Share of the last window's tasks inside their deadline",
            self.qos.clone(),
        );
        registry.register(
            "decisions",
            "Decisions by farm and outcome",
            self.decisions.clone(),
        );
    }

    fn register_replica(&self, registry: &mut Registry) {
        let histograms = [
            ("observe", "Time to observe a farm", &self.observe),
            ("decide", "Time to decide about a farm", &self.decide),
            ("act", "Time to change a farm", &self.act),
        ];
        for (name, help, histogram) in histograms {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        registry.register("leader", "1 if this replica leads", self.leader.clone());
        registry.register("farms", "Farms that are scaled", self.farms.clone());
        registry.register(
            "telemetry_refused",
            "Reports of workers that made no sense",
            self.refused.clone(),
        );
    }

    /// The OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    pub fn decided(&self, event: &DecisionEvent) {
        let farm = vec![("farm", event.farm.clone())];
        self.observe.observe(event.observe_seconds);
        self.decide.observe(event.decide_seconds);
        if matches!(event.outcome, Outcome::Applied | Outcome::Failed) {
            self.act.observe(event.act_seconds);
        }
        self.decisions
            .get_or_create(&outcome_labels(&event.farm, event.outcome))
            .inc();
        self.desired
            .get_or_create(&farm)
            .set(event.target_parallelism.into());
        let Some(observed) = &event.observed else {
            return;
        };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.available
            .get_or_create(&farm)
            .set(observed.available_parallelism.into());
        self.backlog
            .get_or_create(&farm)
            .set(whole(observed.backlog_tasks));
        self.in_flight
            .get_or_create(&farm)
            .set(whole(observed.in_flight_tasks));
        self.arrival_rate
            .get_or_create(&farm)
            .set(observed.arrival_rate_per_second);
        if let Some(qos) = observed.qos_ratio {
            self.qos.get_or_create(&farm).set(qos);
        }
    }

    /// A farm is no longer this replica's business: what was last seen of it would be a lie.
    pub fn forget(&self, farm: &str) {
        let labels = vec![("farm", farm.to_owned())];
        for gauge in [
            &self.desired,
            &self.available,
            &self.backlog,
            &self.in_flight,
        ] {
            gauge.remove(&labels);
        }
        self.arrival_rate.remove(&labels);
        self.qos.remove(&labels);
        for outcome in OUTCOMES {
            self.decisions.remove(&outcome_labels(farm, outcome));
        }
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    pub fn farms(&self, count: usize) {
        self.farms.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub fn refused(&self, reason: Refused) {
        let labels = vec![("reason", reason.name().to_owned())];
        self.refused.get_or_create(&labels).inc();
    }
}

fn outcome_labels(farm: &str, outcome: Outcome) -> Labels {
    vec![
        ("farm", farm.to_owned()),
        ("outcome", outcome_name(outcome).to_owned()),
    ]
}
