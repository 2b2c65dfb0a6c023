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
    /// Each change fails for reasons of its own: NATS or the gateway.
    ordering: Backoff,
    scaling: Backoff,
    /// The replicas that `scaling` is about.
    wanted: Option<u32>,
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
        let mut failed = Vec::new();
        match self.slots.due(plan, sight, farm.slots_max) {
            None => self.ordering = Backoff::default(),
            Some(due) => {
                let tried = match self.ordering.pause() {
                    None => self.order(shared, farm, plan, &due, &mut acted).await,
                    Some(pause) => Err(Failed::Before(pause)),
                };
                failed.extend(self.ordering.outcome(tried, farm.interval));
            }
        }
        let replicas = plan.allocation.replicas;
        if self.wanted.replace(replicas) != Some(replicas) || replicas == sight.replicas.asked {
            self.scaling = Backoff::default();
        }
        if replicas != sight.replicas.asked {
            let tried = match self.scaling.pause() {
                None => self.scale(shared, farm.function, replicas, sight).await,
                Some(pause) => Err(Failed::Before(pause)),
            };
            acted.changed |= tried.is_ok();
            failed.extend(self.scaling.outcome(tried, farm.interval));
        }
        acted.failed = (!failed.is_empty()).then(|| failed.join("; "));
        acted
    }

    async fn order(
        &mut self,
        shared: &Shared,
        farm: &Farm<'_>,
        plan: &Plan,
        due: &SlotsDue,
        acted: &mut Acted,
    ) -> Result<(), Failed> {
        let order = SlotsOrder {
            slots: due.slots,
            by: format!("autoscaler {}", shared.config.replica),
        };
        lease_rest(shared)?;
        let ordered = shared.broker.order_slots(farm.topology, &order).await;
        ordered.map_err(|error| Failed::Now(error.to_string()))?;
        self.slots.ordered(due.slots);
        acted.changed |= !due.repeated;
        if plan.slots_now > plan.allocation.slots {
            let (now, then) = (plan.slots_now, plan.allocation.slots);
            acted.reasons.push(format!(
                "{now} slots a replica instead of {then} while replicas start"
            ));
        }
        Ok(())
    }

    async fn scale(
        &mut self,
        shared: &Shared,
        function: &str,
        replicas: u32,
        sight: &Sight,
    ) -> Result<(), Failed> {
        let limit = lease_rest(shared)?;
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
            Err(_) => self.platform.failed(),
        }
        asked.map_err(|error| Failed::Now(error.to_string()))
    }
}

/// Why a change was not made.
enum Failed {
    /// It was tried now.
    Now(String),
    /// It was tried before, and is to rest that long.
    Before(Duration),
}

/// How long a change that keeps failing rests before it is tried again.
#[derive(Default)]
struct Backoff {
    failures: u32,
    last_error: String,
    not_before: Option<Instant>,
}

impl Backoff {
    fn pause(&self) -> Option<Duration> {
        let rest = self.not_before?.checked_duration_since(Instant::now())?;
        (!rest.is_zero()).then_some(rest)
    }

    /// Notes what a try came to; tells why it failed, if it did.
    fn outcome(&mut self, tried: Result<(), Failed>, interval: Duration) -> Option<String> {
        match tried {
            Ok(()) => {
                *self = Self::default();
                None
            }
            Err(Failed::Before(pause)) => {
                let (error, seconds) = (&self.last_error, pause.as_secs_f64());
                Some(format!("{error}; next try in {seconds:.1} s"))
            }
            Err(Failed::Now(error)) => {
                self.fail(interval, &error);
                Some(error)
            }
        }
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

fn lease_rest(shared: &Shared) -> Result<Duration, Failed> {
    let rest = shared.standing.borrow().rest();
    rest.map_err(|cause| Failed::Now(cause.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_keeps_failing_is_tried_ever_more_rarely() {
        let interval = Duration::from_secs(2);
        let mut backoff = Backoff::default();
        let fails = || Err(Failed::Now("it hangs".to_owned()));
        let told = backoff.outcome(fails(), interval);
        assert_eq!(told.as_deref(), Some("it hangs"));
        assert_eq!(backoff.pause(), None);
        backoff.outcome(fails(), interval);
        let pause = backoff.pause().unwrap();
        assert_eq!(pause, 2 * interval);
        let told = backoff.outcome(Err(Failed::Before(pause)), interval);
        assert_eq!(told.as_deref(), Some("it hangs; next try in 4.0 s"));
        for _ in 0..40 {
            backoff.outcome(fails(), interval);
        }
        assert_eq!(backoff.pause(), Some(LONGEST_PAUSE));
        backoff.outcome(Ok(()), interval);
        assert_eq!(backoff.pause(), None);
    }
}
