//! Makes a farm what it is to be: slots by an order on NATS, replicas by the gateway.

use std::time::Duration;

use farm_core::control::SlotsOrder;
use farm_core::topology::Topology;
use tokio::time::Instant;

use crate::decide::{Plan, Sight};
use crate::gateway::GatewayError;
use crate::platform::Platform;
use crate::shared::Shared;

/// Longest pause between two tries of a change that keeps failing.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A replica that still has other slots after this time missed its order.
const ORDER_TAKES: Duration = Duration::from_secs(5);

/// What acting came to.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    pub changed: bool,
    /// Why a change that is due was not made.
    pub failed: Option<String>,
    pub reasons: Vec<String>,
}

/// The hand on one farm: remembers what it did.
#[derive(Default)]
pub(crate) struct Hand {
    pub platform: Platform,
    slots: Slots,
    failures: u32,
    last_error: String,
    not_before: Option<Instant>,
    /// When the last scale request was made: what the gateway said before is out of date.
    pub scaled_at: Option<Instant>,
}

#[derive(Default)]
struct Slots {
    /// Whether the last order was looked up.
    known: bool,
    ordered: Option<u32>,
    ordered_at: Option<Instant>,
}

impl Hand {
    /// The slots ordered last; asks NATS for them the first time.
    pub async fn slots_ordered(
        &mut self,
        shared: &Shared,
        topology: &Topology,
    ) -> Result<Option<u32>, String> {
        if !self.slots.known {
            let ordered = shared.broker.slots_ordered(topology).await;
            self.slots.ordered = ordered.map_err(|error| error.to_string())?;
            self.slots.known = true;
        }
        Ok(self.slots.ordered)
    }

    /// Makes what is due for `plan`, if this replica may still act for `rest`.
    pub async fn act(
        &mut self,
        shared: &Shared,
        farm: &Farm<'_>,
        plan: &Plan,
        sight: &Sight,
    ) -> Acted {
        let mut acted = Acted::default();
        let slots = self.slots.due(plan, sight, farm.slots_max);
        let scaling = plan.allocation.replicas != sight.replicas.asked;
        if slots.is_none() && !scaling {
            self.failures = 0;
            self.not_before = None;
            return acted;
        }
        if let Some(pause) = self.pause() {
            let (error, seconds) = (&self.last_error, pause.as_secs_f64());
            acted.failed = Some(format!("{error}; next try in {seconds:.1} s"));
            return acted;
        }
        let done = self
            .change(shared, farm, plan, sight, (slots, scaling), &mut acted)
            .await;
        match done {
            Ok(()) => {
                self.failures = 0;
                self.not_before = None;
            }
            Err(error) => {
                self.fail(farm.interval, &error);
                acted.failed = Some(error);
            }
        }
        acted
    }

    async fn change(
        &mut self,
        shared: &Shared,
        farm: &Farm<'_>,
        plan: &Plan,
        sight: &Sight,
        (slots, scaling): (Option<SlotsDue>, bool),
        acted: &mut Acted,
    ) -> Result<(), String> {
        if let Some(due) = slots {
            let order = SlotsOrder {
                slots: due.slots,
                by: format!("autoscaler {}", shared.config.replica),
            };
            lease_rest(shared)?;
            let ordered = shared.broker.order_slots(farm.topology, &order).await;
            ordered.map_err(|error| error.to_string())?;
            self.slots.ordered(due.slots);
            acted.changed |= !due.repeated;
            if plan.slots_now > plan.allocation.slots {
                let (now, then) = (plan.slots_now, plan.allocation.slots);
                acted.reasons.push(format!(
                    "{now} slots a replica instead of {then} while replicas start"
                ));
            }
        }
        if scaling {
            let rest = lease_rest(shared)?;
            self.scale(shared, farm.function, plan.allocation.replicas, sight, rest)
                .await
                .map_err(|error| error.to_string())?;
            acted.changed = true;
        }
        Ok(())
    }

    async fn scale(
        &mut self,
        shared: &Shared,
        function: &str,
        replicas: u32,
        sight: &Sight,
        limit: Duration,
    ) -> Result<(), GatewayError> {
        let asked = shared.gateway.scale(function, replicas, limit).await;
        // Even a request that failed may have been carried out.
        self.scaled_at = Some(Instant::now());
        match &asked {
            Ok(()) => {
                let before = sight.replicas.asked;
                self.platform.accepted(replicas, before, Instant::now());
            }
            Err(GatewayError::Refused { status: 400, .. }) if replicas == 0 => {
                self.platform.refused_zero(Instant::now());
            }
            Err(_) => {}
        }
        asked
    }

    fn pause(&self) -> Option<Duration> {
        let rest = self.not_before?.checked_duration_since(Instant::now())?;
        (!rest.is_zero()).then_some(rest)
    }

    /// The first failure is tried again with the next interval, then ever more rarely.
    fn fail(&mut self, interval: Duration, error: &str) {
        error.clone_into(&mut self.last_error);
        let pause = match self.failures {
            0 => Duration::ZERO,
            failures => interval.saturating_mul(1 << failures.min(10)),
        };
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
    }
}

/// The farm that is acted on.
pub(crate) struct Farm<'a> {
    pub topology: &'a Topology,
    pub function: &'a str,
    pub slots_max: Option<u32>,
    pub interval: Duration,
}

struct SlotsDue {
    slots: u32,
    /// The same as last time, to replicas that missed it.
    repeated: bool,
}

impl Slots {
    fn due(&self, plan: &Plan, sight: &Sight, slots_max: Option<u32>) -> Option<SlotsDue> {
        slots_max?;
        let slots = plan.slots_now;
        if plan.allocation.replicas == 0 {
            return None;
        }
        let census = &sight.census;
        let is_so = census.replicas > 0 && census.alike && census.slots_each == slots;
        match self.ordered {
            Some(ordered) if ordered == slots => {
                let waited = self.ordered_at.is_some_and(|at| at.elapsed() > ORDER_TAKES);
                let missed = census.replicas > 0 && !is_so && waited;
                missed.then_some(SlotsDue {
                    slots,
                    repeated: true,
                })
            }
            // Nobody ever ordered, and the function's own slots are right.
            None if is_so => None,
            _ => Some(SlotsDue {
                slots,
                repeated: false,
            }),
        }
    }

    fn ordered(&mut self, slots: u32) {
        self.ordered = Some(slots);
        self.ordered_at = Some(Instant::now());
    }
}

fn lease_rest(shared: &Shared) -> Result<Duration, String> {
    shared
        .standing
        .borrow()
        .rest()
        .ok_or_else(|| "this replica no longer leads".to_owned())
}
