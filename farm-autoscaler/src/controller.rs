//! The control loop of one farm: observe, decide, act, explain, once per interval.

use std::sync::Arc;
use std::time::Duration;

use farm_core::decision::{DecisionEvent, Outcome};
use farm_core::topology::Topology;
use farm_policy::Observation;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::act::{Acted, Farm, Hand};
use crate::annotations::Settings;
use crate::clock::wall_seconds;
use crate::decide::{Decider, Decision, Replicas, Sight};
use crate::desk::Desk;
use crate::explain::Diary;
use crate::lease::Standing;
use crate::platform::Bounds;
use crate::shared::Shared;

/// How soon a farm without replicas sees its first task.
const WAKES_WITHIN: Duration = Duration::from_millis(500);

/// Controls one farm until it is cancelled.
pub(crate) struct Controller {
    shared: Arc<Shared>,
    settings: Settings,
    topology: Topology,
    decider: Decider,
    hand: Hand,
    diary: Diary,
    desk: Arc<Desk>,
    /// What was seen last, and what the policy was shown of it: an order is carried out on that.
    last: Option<(Sight, Observation)>,
    sequence: u64,
    /// Whether this replica led when it looked last.
    led: bool,
    /// Whether the farm has no replicas, and is to have none.
    asleep: bool,
}

impl Controller {
    pub fn new(shared: Arc<Shared>, settings: Settings) -> Self {
        Self {
            topology: Topology::new(settings.farm.clone()),
            decider: Decider::new(&settings),
            hand: Hand::default(),
            diary: Diary::default(),
            desk: shared.desks.open(&settings),
            last: None,
            sequence: 0,
            led: false,
            asleep: false,
            shared,
            settings,
        }
    }

    /// Runs until `stopping`. `phase`, from 0 to 1, keeps many farms from looking all at once.
    pub async fn run(mut self, phase: f64, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.control(phase) => {}
        }
        let farm = self.settings.farm.as_str();
        self.shared.desks.close(farm, &self.desk);
        self.shared.metrics.forget(farm);
    }

    async fn control(&mut self, phase: f64) {
        let interval = self.settings.interval;
        let mut next = Instant::now();
        let mut wait = interval.mul_f64(0.5 + 0.5 * phase);
        let mut standing = self.shared.standing.clone();
        loop {
            let now = standing.borrow_and_update().clone();
            match now {
                Standing::Leading { .. } => {
                    self.led = true;
                    self.pass().await;
                }
                // NATS is away, and nobody can lead: what is said of the farm is that it is held.
                Standing::Unknown { .. } if self.led => self.pass().await,
                Standing::Unknown { .. } => {}
                Standing::Following { .. } => self.start_over(),
            }
            next = (next + wait).max(Instant::now());
            wait = interval;
            if self.led {
                self.rest_and_obey(next).await;
            } else {
                // A farm must not wait for its interval once there is a leader.
                let _ = tokio::time::timeout_at(next, standing.changed()).await;
            }
        }
    }

    /// Another replica decides now: what is remembered here ages.
    fn start_over(&mut self) {
        if std::mem::take(&mut self.led) {
            self.decider = Decider::new(&self.settings);
            self.hand = Hand::default();
            self.last = None;
            self.desk.clear("another replica of the autoscaler leads");
            self.asleep = false;
            self.shared.metrics.forget(self.settings.farm.as_str());
        }
    }

    /// Waits for the next look, and meanwhile carries out orders as they come.
    async fn rest_and_obey(&mut self, next: Instant) {
        let desk = Arc::clone(&self.desk);
        loop {
            tokio::select! {
                () = self.rest(next) => return,
                () = desk.next_order() => self.obey().await,
            }
        }
    }

    /// Waits until `next`, or until there is a task for a farm without replicas.
    async fn rest(&mut self, next: Instant) {
        if self.asleep {
            loop {
                let soon = Instant::now() + WAKES_WITHIN;
                if soon >= next {
                    break;
                }
                tokio::time::sleep_until(soon).await;
                let has_work = self.shared.broker.has_work(&self.topology).await;
                if has_work.unwrap_or(false) {
                    return;
                }
            }
        }
        tokio::time::sleep_until(next).await;
    }

    /// One look at the farm, and what follows from it.
    async fn pass(&mut self) {
        let begun = Instant::now();
        let seen = self.observe().await;
        let observed = Instant::now();
        let at_seconds = self.shared.clock.seconds(observed);
        let (decision, learnt) = self.decide(at_seconds, &seen);
        self.lay_out(&decision, seen.as_ref().ok());
        self.carry_out(decision, seen, learnt, (begun, observed))
            .await;
    }

    /// Carries out an order at once, on what was seen last. What cannot be done now is done by the
    /// next pass.
    async fn obey(&mut self) {
        let Some((mut sight, shown)) = self.last.clone() else {
            return;
        };
        let begun = Instant::now();
        // What was asked of the gateway since then has changed them.
        let (function, scaled_at) = (&self.settings.function, self.hand.scaled_at);
        let replicas = replicas(&self.shared, function, scaled_at).await;
        let slots = self.slots_ordered().await;
        let (Ok(replicas), Ok(slots)) = (replicas, slots) else {
            return;
        };
        sight.replicas = replicas;
        sight.slots_ordered = slots;
        let observed = Instant::now();
        let at_seconds = self.shared.clock.seconds(observed);
        let bounds = self.bounds(observed);
        let Some(ordered) = self.desk.fresh_order() else {
            return;
        };
        let decision = self
            .decider
            .obey(at_seconds, &shown, &sight, bounds, Some(ordered));
        self.carry_out(decision, Ok(sight), None, (begun, observed))
            .await;
    }

    /// Shows the world what the policy saw.
    fn lay_out(&mut self, decision: &Decision, sight: Option<&Sight>) {
        match (&decision.shown, sight) {
            (Some(shown), Some(sight)) => {
                self.desk.show(shown);
                self.last = Some((sight.clone(), shown.clone()));
            }
            // No order is carried out on what was seen before the farm went out of sight.
            _ => {
                self.last = None;
                self.desk.hold(&decision.ruling.reasons.join("; "));
            }
        }
    }

    /// Acts on a decision, and explains it. Of the times, the first is when observing began, the
    /// second when it ended.
    async fn carry_out(
        &mut self,
        decision: Decision,
        seen: Result<Sight, Blind>,
        learnt: Option<String>,
        (begun, observed): (Instant, Instant),
    ) {
        let decided = Instant::now();
        let mut acted = match (&decision.plan, &seen) {
            (Some(plan), Ok(sight)) => {
                let farm = Farm {
                    topology: &self.topology,
                    function: &self.settings.function,
                    slots_max: self.settings.slots_max,
                    interval: self.settings.interval,
                };
                self.hand.act(&self.shared, &farm, plan, sight).await
            }
            _ => Acted::default(),
        };
        acted.reasons.extend(learnt);
        let ended = Instant::now();
        let wanted = decision.plan.map(|plan| plan.allocation.replicas);
        self.asleep = wanted == Some(0)
            && seen
                .as_ref()
                .is_ok_and(|sight| sight.replicas.asked == 0 && !acted.changed);
        let mut event = self.event(decision, acted, seen.err().map(|blind| blind.cause));
        event.observe_seconds = (observed - begun).as_secs_f64();
        event.decide_seconds = (decided - observed).as_secs_f64();
        event.act_seconds = (ended - decided).as_secs_f64();
        self.diary.tell(&self.shared, &self.topology, &event).await;
    }

    fn decide(
        &mut self,
        at_seconds: f64,
        seen: &Result<Sight, Blind>,
    ) -> (Decision, Option<String>) {
        let now = Instant::now();
        match seen {
            Err(blind) => {
                let decision = self.decider.hold(at_seconds, &blind.cause, blind.replicas);
                (decision, None)
            }
            Ok(sight) => {
                let learnt = self.hand.platform.saw(sight.replicas.asked, now);
                let (bounds, ordered) = (self.bounds(now), self.desk.fresh_order());
                let decision = self.decider.decide(at_seconds, sight, bounds, ordered);
                (decision, learnt)
            }
        }
    }

    fn bounds(&mut self, now: Instant) -> Bounds {
        let provider = self.shared.listing.borrow().provider.clone();
        let most = self.settings.replicas_max;
        self.hand.platform.bounds(most, provider.as_deref(), now)
    }

    async fn observe(&mut self) -> Result<Sight, Blind> {
        if let Standing::Unknown { cause } = &*self.shared.standing.borrow() {
            return Err(Blind::new(format!("the lease cannot be renewed: {cause}")));
        }
        let (queue, replicas) = tokio::join!(
            self.shared.broker.queue(&self.topology),
            replicas(&self.shared, &self.settings.function, self.hand.scaled_at),
        );
        let replicas = replicas.map_err(Blind::new)?;
        let blind = |cause: String| Blind {
            cause,
            replicas: Some(replicas),
        };
        let queue = queue.map_err(|error| blind(error.to_string()))?;
        let slots_ordered = self.slots_ordered().await.map_err(blind)?;
        let start_up = self
            .hand
            .platform
            .start_up(replicas.available, Instant::now());
        let (farm, reports) = (&self.settings.farm, &self.shared.reports);
        // Taken last: what is taken must be used.
        let window = reports.take_window(farm);
        Ok(Sight {
            queue,
            tasks_per_message: reports.tasks_per_message(farm),
            replicas,
            census: reports.census(farm, &self.settings.function, Instant::now()),
            window,
            slots_ordered,
            start_up_seconds: start_up.map(|start_up| start_up.as_secs_f64()),
        })
    }

    async fn slots_ordered(&mut self) -> Result<Option<u32>, String> {
        match self.settings.slots_max {
            None => Ok(None),
            Some(_) => self.hand.slots_ordered(&self.shared, &self.topology).await,
        }
    }

    fn event(&mut self, decision: Decision, acted: Acted, error: Option<String>) -> DecisionEvent {
        self.sequence += 1;
        let outcome = match (&decision.plan, &acted) {
            (None, _) => Outcome::Held,
            (
                _,
                Acted {
                    failed: Some(_), ..
                },
            ) => Outcome::Failed,
            (_, Acted { changed: true, .. }) => Outcome::Applied,
            _ => Outcome::Unchanged,
        };
        let mut reasons = decision.ruling.reasons;
        reasons.extend(acted.reasons);
        DecisionEvent {
            farm: self.settings.farm.to_string(),
            function: self.settings.function.clone(),
            decided_by: self.shared.config.replica.clone(),
            sequence: self.sequence,
            at_seconds: wall_seconds(),
            policy: decision.ruling.policy.to_owned(),
            observed: decision.observed,
            target_qos_ratio: self.settings.target_qos_ratio,
            deadline_seconds: self.settings.deadline_seconds,
            wanted_parallelism: decision.ruling.wanted,
            target_parallelism: decision.ruling.target,
            allocation: decision.plan.map(|plan| plan.allocation),
            outcome,
            reasons,
            error: acted.failed.or(error),
            ..DecisionEvent::default()
        }
    }
}

/// The function's replicas: from the list of all functions, or asked for if a scale request was
/// made since.
async fn replicas(
    shared: &Shared,
    function: &str,
    scaled_at: Option<Instant>,
) -> Result<Replicas, String> {
    let listing = shared.listing.borrow().clone();
    if let Some(failing) = listing.failing {
        return Err(failing);
    }
    let is_news = listing.asked_at > scaled_at;
    if let Some(replicas) = listing.replicas.get(function).filter(|_| is_news) {
        return Ok(*replicas);
    }
    let status = shared.gateway.function(function).await;
    status
        .map(|status| Replicas::from(&status))
        .map_err(|error| error.to_string())
}

/// Why a farm could not be observed, and what is known of it nevertheless.
struct Blind {
    cause: String,
    replicas: Option<Replicas>,
}

impl Blind {
    fn new(cause: String) -> Self {
        Self {
            cause,
            replicas: None,
        }
    }
}
