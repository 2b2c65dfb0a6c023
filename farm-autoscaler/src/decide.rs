//! From what was seen of a farm to what is asked of the platform. Pure: time is an argument.
//!
//! A farm that cannot be seen is held as it is. It is seen if its queue, its replicas and, while
//! there is work for replicas that exist, their reports are known. Without work or without
//! replicas there is nothing to report: such a farm is decided upon with service times unknown.

use farm_core::decision::{Allocation, Observed};
use farm_core::gateway::FunctionStatus;
use farm_policy::{Guard, Observation, Ruling};

use crate::allocate::{self, Room};
use crate::annotations::Settings;
use crate::broker::Queue;
use crate::platform::Bounds;
use crate::reports::{Census, Window};

/// A guess until replicas tell: the probe delay and period of OpenFaaS CE.
const COLD_START_SECONDS: f64 = 4.0;
/// More intervals than this between two looks are a time without sight.
const GAP_INTERVALS: f64 = 3.0;
/// As long as one pass may take when gateway and NATS are slow: no gap, however short the interval.
const SHORTEST_GAP_SECONDS: f64 = 10.0;

/// Replicas of the function, as the gateway says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    pub asked: u32,
    pub available: u32,
}

impl From<&FunctionStatus> for Replicas {
    fn from(status: &FunctionStatus) -> Self {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            asked: count(status.replicas),
            available: count(status.available_replicas),
        }
    }
}

/// One farm at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub queue: Queue,
    /// Tasks that a message of the queue brings, on average; 1 while that is not known.
    pub tasks_per_message: f64,
    pub replicas: Replicas,
    pub census: Census,
    pub window: Window,
    /// The slots ordered last, if any were.
    pub slots_ordered: Option<u32>,
    /// How long replicas took lately to become available, if any were started.
    pub start_up_seconds: Option<f64>,
}

impl Sight {
    /// About how many tasks so many messages of the queue bring.
    fn tasks(&self, messages: u64) -> u64 {
        (messages as f64 * self.tasks_per_message).round() as u64
    }
}

/// What is to be, and why.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub ruling: Ruling,
    pub observed: Option<Observed>,
    /// What the policy was shown; absent if it was not asked.
    pub shown: Option<Observation>,
    /// What to ask of the platform; absent if the farm is held.
    pub plan: Option<Plan>,
}

/// What to ask of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub allocation: Allocation,
    /// Slots to order now: more than allocated while replicas start.
    pub slots_now: u32,
}

/// Decides about one farm, pass after pass.
pub(crate) struct Decider {
    guard: Guard,
    target_qos_ratio: f64,
    deadline_seconds: Option<f64>,
    slots_max: Option<u32>,
    /// Longest time between two looks that makes a rate.
    gap_seconds: f64,
    /// Where the last look left off: time, and messages submitted until then.
    previous: Option<(f64, u64)>,
    /// Tasks submitted until then: a sum, for how many a message brings changes.
    submitted_tasks: u64,
    /// The parallelism asked for last, and the replicas it took.
    asked: Option<(u32, u32)>,
    last_change: i32,
    /// Whether the gateway had no replicas at the last look.
    slept: bool,
    slots_each: u32,
    cold_start_seconds: f64,
}

impl Decider {
    pub fn new(settings: &Settings) -> Self {
        Self {
            guard: Guard::new(settings.policy.build(), settings.limits.clone()),
            target_qos_ratio: settings.target_qos_ratio,
            deadline_seconds: settings.deadline_seconds,
            slots_max: settings.slots_max,
            gap_seconds: (GAP_INTERVALS * settings.interval.as_secs_f64())
                .max(SHORTEST_GAP_SECONDS),
            previous: None,
            submitted_tasks: 0,
            asked: None,
            last_change: 0,
            slept: false,
            slots_each: 1,
            cold_start_seconds: COLD_START_SECONDS,
        }
    }

    /// Holds the farm because it cannot be seen; `replicas` as far as they are known.
    pub fn hold(&mut self, at_seconds: f64, cause: &str, replicas: Option<Replicas>) -> Decision {
        let known = replicas.map_or(0, |known| {
            allocate::parallelism(known.asked, self.slots_each)
        });
        let parallelism = self.asked.map_or(known, |(parallelism, _)| parallelism);
        Decision {
            ruling: self.guard.hold(at_seconds, parallelism, cause),
            observed: None,
            shown: None,
            plan: None,
        }
    }

    /// Decides on what was seen; `ordered` is what somebody outside wants.
    pub fn decide(
        &mut self,
        at_seconds: f64,
        sight: &Sight,
        bounds: Bounds,
        ordered: Option<u32>,
    ) -> Decision {
        self.learn(sight);
        let parallelism = self.parallelism(sight);
        let previous = self.previous.replace((at_seconds, sight.queue.submitted));
        let arrived_tasks = self.arrived_tasks(previous, sight);
        let mut observed = self.observed(sight);
        let woken = self.was_woken(sight);
        let gap;
        let interval_seconds = previous.map_or(0.0, |(before, _)| at_seconds - before);
        let blind = match previous {
            None => Some("this is the first look: rates need a second one"),
            Some(_) if interval_seconds > self.gap_seconds => {
                gap = format!(
                    "not looked at for {interval_seconds:.0} s: rates need two fresh looks"
                );
                Some(gap.as_str())
            }
            Some((_, submitted)) if sight.queue.submitted < submitted => {
                Some("the queue was created anew: rates need a second look")
            }
            Some(_) if woken => Some("somebody woke the function: its idle time starts anew"),
            Some(_) => blindness(sight),
        };
        if let Some((before, _)) = previous {
            let seconds = (at_seconds - before).max(1e-3);
            observed.arrival_rate_per_second = arrived_tasks as f64 / seconds;
        }
        if let Some(cause) = blind {
            self.asked
                .get_or_insert((parallelism, sight.replicas.asked));
            let mut ruling = self.guard.hold(at_seconds, parallelism, cause);
            ruling.reasons.extend(refusals(sight));
            return Decision {
                ruling,
                observed: Some(observed),
                shown: None,
                plan: None,
            };
        }
        let mut observation =
            self.observation(at_seconds, interval_seconds, parallelism, sight, &observed);
        observation.ordered_parallelism = ordered;
        self.rule(observation, observed, sight, bounds, 0)
    }

    /// Decides again, because of an order, on what was seen last: queue and times of `last` are
    /// those of the last look, the replicas are of now.
    pub fn obey(
        &mut self,
        at_seconds: f64,
        last: &Observation,
        sight: &Sight,
        bounds: Bounds,
        ordered: Option<u32>,
    ) -> Decision {
        let parallelism = self.parallelism(sight);
        let observed = Observed {
            arrival_rate_per_second: last.arrival_rate_per_second,
            ..self.observed(sight)
        };
        let observation = Observation {
            time_seconds: at_seconds,
            parallelism,
            ordered_parallelism: ordered,
            ..last.clone()
        };
        self.rule(observation, observed, sight, bounds, self.last_change)
    }

    /// Asks the guard; `changed_before` is what orders changed since the last look.
    fn rule(
        &mut self,
        observation: Observation,
        observed: Observed,
        sight: &Sight,
        bounds: Bounds,
        changed_before: i32,
    ) -> Decision {
        let mut ruling = self.guard.decide(&observation);
        if ruling.held {
            return Decision {
                ruling,
                observed: Some(observed),
                shown: None,
                plan: None,
            };
        }
        let plan = self.plan(ruling.target, sight.replicas.available, bounds);
        let change = i64::from(ruling.target).saturating_sub(i64::from(observation.parallelism));
        self.last_change = i64::from(changed_before)
            .saturating_add(change)
            .clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let given = allocate::parallelism(plan.allocation.replicas, plan.allocation.slots);
        if given < ruling.target {
            let Allocation { replicas, slots } = plan.allocation;
            ruling.reasons.push(format!(
                "{given} instead of {}: no more than {replicas} replicas × {slots} slots are allowed",
                ruling.target
            ));
        }
        // What the platform cannot give was not asked for: the next decision starts from there.
        self.asked = Some((ruling.target.min(given), plan.allocation.replicas));
        Decision {
            ruling,
            observed: Some(observed),
            shown: Some(observation),
            plan: Some(plan),
        }
    }

    /// Tasks submitted since the last look.
    fn arrived_tasks(&mut self, previous: Option<(f64, u64)>, sight: &Sight) -> u64 {
        let now = sight.queue.submitted;
        match previous {
            Some((_, before)) if before <= now => {
                let arrived = sight.tasks(now - before);
                self.submitted_tasks = self.submitted_tasks.saturating_add(arrived);
                arrived
            }
            // The first look, or another queue.
            _ => {
                self.submitted_tasks = sight.tasks(now);
                0
            }
        }
    }

    /// Whether somebody gave replicas to a function that slept and was to sleep: the gateway does
    /// for a request, whose tasks may take a moment to appear.
    fn was_woken(&mut self, sight: &Sight) -> bool {
        let awake = sight.replicas.asked > 0;
        let slept = std::mem::replace(&mut self.slept, !awake);
        slept && awake && matches!(self.asked, Some((_, 0)))
    }

    /// What the replicas tell is remembered for when there are none.
    fn learn(&mut self, sight: &Sight) {
        if sight.census.slots_each > 0 {
            self.slots_each = sight.census.slots_each;
        }
        // What the platform takes is not in what a replica counts from its own start.
        let told = sight.census.cold_start_seconds;
        let known = sight.start_up_seconds.unwrap_or(0.0).max(told);
        if known > 0.0 {
            self.cold_start_seconds = known;
        }
    }

    /// Slots of each replica, as far as they are known.
    fn slots(&self, sight: &Sight) -> u32 {
        match (self.slots_max, sight.slots_ordered) {
            (Some(_), Some(ordered)) => ordered,
            _ => self.slots_each,
        }
    }

    /// The parallelism asked for last: ours, unless the gateway has more replicas than we asked
    /// for. Fewer mean a request that got lost, and is repeated; more mean that somebody woke or
    /// raised the function, and is taken as it is.
    fn parallelism(&self, sight: &Sight) -> u32 {
        match self.asked {
            Some((parallelism, replicas)) if sight.replicas.asked <= replicas => parallelism,
            _ => allocate::parallelism(sight.replicas.asked, self.slots(sight)),
        }
    }

    fn plan(&self, parallelism: u32, available: u32, bounds: Bounds) -> Plan {
        let room = Room {
            slots_max: self.slots_max,
            slots_now: self.slots_each,
            replicas_max: bounds.max,
            replicas_min: bounds.min,
        };
        let allocation = allocate::allocate(parallelism, &room);
        Plan {
            allocation,
            slots_now: allocate::cover(parallelism, allocation, available, &room),
        }
    }

    fn observed(&self, sight: &Sight) -> Observed {
        let slots = self.slots(sight);
        Observed {
            backlog_tasks: sight.tasks(sight.queue.backlog),
            in_flight_tasks: sight.tasks(sight.queue.in_flight),
            arrival_rate_per_second: 0.0,
            service_seconds_mean: sight.window.service.mean(),
            service_seconds_max: sight.window.service.max(),
            sojourn_seconds_mean: sight.window.sojourn.mean(),
            qos_ratio: sight.window.qos_ratio(),
            available_parallelism: match sight.census.replicas {
                // Nobody reports yet: what the gateway says is the best there is.
                0 => allocate::parallelism(sight.replicas.available, slots),
                _ => sight.census.slots,
            },
            busy_parallelism: sight.census.busy,
            replicas: sight.replicas.asked,
            available_replicas: sight.replicas.available,
            slots,
        }
    }

    fn observation(
        &self,
        time_seconds: f64,
        interval_seconds: f64,
        parallelism: u32,
        sight: &Sight,
        observed: &Observed,
    ) -> Observation {
        let Sight { queue, window, .. } = sight;
        let unsettled_tasks = sight.tasks(queue.submitted.saturating_sub(queue.settled));
        Observation {
            time_seconds,
            interval_seconds,
            // Splitting a job is one request; what is split is in the queue.
            input_queue: 0,
            backlog_tasks: observed.backlog_tasks,
            in_flight_tasks: observed.in_flight_tasks,
            // The collector keeps up or not: it does not concern the workers.
            result_queue: 0,
            collected_tasks: self.submitted_tasks.saturating_sub(unsettled_tasks),
            submitted_tasks: self.submitted_tasks,
            parallelism,
            available_parallelism: observed.available_parallelism,
            slots: observed.slots,
            arrival_rate_per_second: observed.arrival_rate_per_second,
            service_seconds_mean: observed.service_seconds_mean,
            service_seconds_variance: window.service.variance(),
            service_seconds_max: observed.service_seconds_max,
            sojourn_seconds_mean: observed.sojourn_seconds_mean,
            sojourn_seconds_max: window.sojourn.max(),
            qos_ratio: observed.qos_ratio,
            target_qos_ratio: self.target_qos_ratio,
            deadline_seconds: self.deadline_seconds,
            cold_start_seconds: self.cold_start_seconds,
            last_change: self.last_change,
            ordered_parallelism: None,
        }
    }
}

/// Why this sight is no ground for a decision.
fn blindness(sight: &Sight) -> Option<&'static str> {
    let work = sight.queue.backlog > 0 || sight.queue.in_flight > 0;
    let unheard = sight.census.replicas == 0 && sight.replicas.available > 0;
    (work && unheard).then_some("there is work and there are replicas, but none of them reports")
}

/// That replicas are not as silent as they seem.
fn refusals(sight: &Sight) -> Option<String> {
    let (count, last) = sight
        .census
        .refused
        .filter(|_| sight.census.replicas == 0)?;
    let cause = last.cause();
    Some(match count {
        1 => format!("1 report was refused, because {cause}"),
        _ => format!("{count} reports were refused, the last because {cause}"),
    })
}

#[cfg(test)]
mod tests;
