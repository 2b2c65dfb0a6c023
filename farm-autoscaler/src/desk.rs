//! Where a farm's controller and the world outside meet: what was seen lies out to be read, and an
//! order is taken for who decides by `farm.policy: external`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farm_policy::Observation;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::annotations::Settings;
use crate::board::ShownSettings;

/// An order counts for so many control intervals.
const ORDER_HOLDS_INTERVALS: u32 = 3;

/// What is known of a farm that is scaled here.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shown {
    pub farm: String,
    pub function: String,
    pub policy: String,
    pub settings: ShownSettings,
    /// Number of the observation, from 1 when this replica began with the farm.
    pub sequence: u64,
    /// What the policy saw last; absent if nothing was observed yet.
    pub observation: Option<Observation>,
    /// Why the farm is held without being observed, if it is.
    pub held: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    parallelism: u32,
    at: Instant,
}

/// The desk of one farm.
pub(crate) struct Desk {
    shown: watch::Sender<Shown>,
    order: Mutex<Option<Order>>,
    ordered: Notify,
    interval: Duration,
}

impl Desk {
    fn new(settings: &Settings) -> Self {
        let shown = Shown {
            farm: settings.farm.to_string(),
            function: settings.function.clone(),
            policy: settings.policy.name().to_owned(),
            settings: settings.into(),
            sequence: 0,
            observation: None,
            held: Some("not looked at yet".to_owned()),
        };
        Self {
            shown: watch::Sender::new(shown),
            order: Mutex::default(),
            ordered: Notify::new(),
            interval: settings.interval,
        }
    }

    /// Lays out what the policy sees.
    pub fn show(&self, observation: &Observation) {
        self.shown.send_modify(|shown| {
            shown.sequence += 1;
            shown.observation = Some(observation.clone());
            shown.held = None;
        });
    }

    /// Says why there is nothing new to be seen.
    pub fn hold(&self, cause: &str) {
        self.shown
            .send_modify(|shown| shown.held = Some(cause.to_owned()));
    }

    /// Clears the desk: what lies on it ages, and so does the last order.
    pub fn clear(&self, cause: &str) {
        *self.lock() = None;
        self.shown.send_modify(|shown| {
            shown.observation = None;
            shown.held = Some(cause.to_owned());
        });
    }

    /// What lies out, from now on.
    pub fn watch(&self) -> watch::Receiver<Shown> {
        self.shown.subscribe()
    }

    /// Whether this farm is scaled from outside.
    pub fn takes_orders(&self) -> bool {
        self.shown.borrow().policy == "external"
    }

    /// Takes an order; returns how long it holds.
    pub fn order(&self, parallelism: u32) -> Duration {
        let at = Instant::now();
        *self.lock() = Some(Order { parallelism, at });
        self.ordered.notify_one();
        self.holds_for()
    }

    /// The order, while it is fresh.
    pub fn fresh_order(&self) -> Option<u32> {
        let order = *self.lock();
        order
            .filter(|order| order.at.elapsed() <= self.holds_for())
            .map(|order| order.parallelism)
    }

    /// Waits for the next order; one that came before and was not waited for counts.
    pub async fn next_order(&self) {
        self.ordered.notified().await;
    }

    fn holds_for(&self) -> Duration {
        self.interval * ORDER_HOLDS_INTERVALS
    }

    fn lock(&self) -> MutexGuard<'_, Option<Order>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The desks of all farms that are scaled here, by farm.
#[derive(Default)]
pub(crate) struct Desks(Mutex<HashMap<String, Arc<Desk>>>);

impl Desks {
    /// A desk for a farm, in place of the one it had.
    pub fn open(&self, settings: &Settings) -> Arc<Desk> {
        let desk = Arc::new(Desk::new(settings));
        self.lock()
            .insert(settings.farm.to_string(), Arc::clone(&desk));
        desk
    }

    /// Takes a desk away, unless another stands in its place already.
    pub fn close(&self, farm: &str, desk: &Arc<Desk>) {
        let mut desks = self.lock();
        if desks
            .get(farm)
            .is_some_and(|known| Arc::ptr_eq(known, desk))
        {
            desks.remove(farm);
        }
    }

    /// The desk of a farm.
    pub fn of(&self, farm: &str) -> Option<Arc<Desk>> {
        self.lock().get(farm).cloned()
    }

    /// The farms that have one, in the order of their names.
    pub fn farms(&self) -> Vec<String> {
        let mut farms: Vec<String> = self.lock().keys().cloned().collect();
        farms.sort();
        farms
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Desk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
