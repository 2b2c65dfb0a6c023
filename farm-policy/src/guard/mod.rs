//! Keeps a policy from doing harm.

mod damping;
mod evidence;

use crate::policies::{CompletionTime, Reactive};
use crate::recent::RecentMaximum;
use crate::{Limits, Observation, Policy};
use damping::FlapDamping;

/// What is to be, after the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The policy that decided: the one asked for, or the fallback that stood in.
    pub policy: &'static str,
    /// The parallelism it wanted; `None` if it was not asked.
    pub wanted: Option<u32>,
    /// The parallelism that is to be, within the limits.
    pub target: u32,
    /// True if nothing was decided, because the farm could not be seen.
    pub held: bool,
    /// True if the policy failed and the fallback stood in.
    pub fell_back: bool,
    /// Why, in sentences: the policy's reason first, then what the guard changed.
    pub reasons: Vec<String>,
}

/// A policy within [`Limits`].
///
/// In this order:
///
/// 1. **Blind**: on an observation that is nonsense (not finite, negative, absurdly large), no newer
///    than the last, or from before it, the present parallelism stays. So it does when the caller
///    could not observe and says so by [`hold`](Self::hold).
/// 2. **Fallback**: when the policy errs, the free `reactive-average` decides, until it recovers.
/// 3. **Zero**: with `min` 0, a farm that was seen without work for `idle_seconds`, without a gap,
///    goes to zero, whatever the policy wants. Otherwise at least one worker stays, and a farm at
///    zero has one at once when a task waits.
/// 4. **Stabilisation**: a fall goes no lower than the most that was wanted in the last
///    `stabilisation_seconds`, nor than what was there while it was held in that time. A rise that
///    comes soon after a fall makes the next fall of that size wait four times as long, up to 64
///    times but no longer than a quarter of an hour; quiet takes that back (flap damping, as routers do:
///    RFC 2439), and so does the end of the load. So a policy that never comes to rest does so here.
/// 5. **Cooldown**: after a change there is no other for `cooldown_seconds`, except a rise from zero
///    and a rise while the target QoS is missed.
/// 6. **Workers in need**: no fall while there is work and not one worker is to be seen, and none
///    below the tasks under way while these are longer than an interval.
/// 7. **Steps**: at most `step_up` more and `step_down` fewer.
/// 8. **Bounds**: `min` to `max`, above everything else.
///
/// Equal sequences of calls give equal rulings.
pub struct Guard {
    policy: Box<dyn Policy>,
    fallback: Reactive,
    limits: Limits,
    failing: bool,
    last_time_seconds: Option<f64>,
    /// Since when the farm has been seen without work.
    idle_since_seconds: Option<f64>,
    last_target: Option<u32>,
    last_change_seconds: Option<f64>,
    wanted: RecentMaximum,
    /// What was there while nobody could see.
    held: RecentMaximum,
    damping: FlapDamping,
}

/// More intervals than this between two observations are a time without sight.
const GAP_INTERVALS: f64 = 3.0;

impl Guard {
    /// Guards `policy`. Limits that fail [`Limits::check`] are kept as far as they make sense: `max`
    /// goes before `min`.
    pub fn new(policy: Box<dyn Policy>, limits: Limits) -> Self {
        Self {
            policy,
            fallback: Reactive::new(CompletionTime::Mean),
            limits,
            failing: false,
            last_time_seconds: None,
            idle_since_seconds: None,
            last_target: None,
            last_change_seconds: None,
            wanted: RecentMaximum::default(),
            held: RecentMaximum::default(),
            damping: FlapDamping::default(),
        }
    }

    /// The limits it keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Asks the policy, and rules.
    pub fn decide(&mut self, observation: &Observation) -> Ruling {
        if let Err(cause) = self.believe(observation) {
            let parallelism = self.believable_parallelism(observation);
            return self.hold(observation.time_seconds, parallelism, &cause);
        }
        self.notice(observation);
        let Some(verdict) = self.consult(observation) else {
            let cause = "neither the policy nor its fallback could decide";
            return self.hold(observation.time_seconds, observation.parallelism, cause);
        };
        let mut plan = Plan {
            target: verdict.wanted,
            reasons: verdict.reasons,
        };
        self.apply_limits(observation, &mut plan);
        self.remember_target(observation.time_seconds, plan.target);
        Ruling {
            policy: verdict.policy,
            wanted: Some(verdict.wanted),
            target: plan.target,
            held: false,
            fell_back: verdict.fell_back,
            reasons: plan.reasons,
        }
    }

    /// Rules without sight: what is, stays, within `min` and `max`.
    ///
    /// `parallelism` is what was asked for last; `cause` ends up in the reasons.
    pub fn hold(&mut self, time_seconds: f64, parallelism: u32, cause: &str) -> Ruling {
        let target = self.bounded(parallelism);
        self.idle_since_seconds = None;
        if time_seconds.is_finite() {
            self.start_over_if_set_back(time_seconds);
            self.last_time_seconds = Some(time_seconds);
            self.held
                .push(time_seconds, target, self.limits.stabilisation_seconds);
            self.remember_target(time_seconds, target);
        }
        let mut reasons = vec![format!("held at {target}: {cause}")];
        if target != parallelism {
            reasons.push(format!("{parallelism} is outside the limits"));
        }
        Ruling {
            policy: self.policy.name(),
            wanted: None,
            target,
            held: true,
            fell_back: false,
            reasons,
        }
    }

    fn believe(&self, observation: &Observation) -> Result<(), String> {
        evidence::check(observation)?;
        let now = observation.time_seconds;
        match self.last_time_seconds {
            Some(last) if now < last => {
                let back = last - now;
                Err(format!("the clock was set back by {back:.1} s"))
            }
            Some(last) if now == last => Err("nothing new was observed".to_owned()),
            _ => Ok(()),
        }
    }

    fn believable_parallelism(&self, observation: &Observation) -> u32 {
        match self.last_target {
            Some(last) if !evidence::is_believable(observation.parallelism) => last,
            _ => observation.parallelism,
        }
    }

    /// Keeps the account of time, of gaps and of idleness.
    fn notice(&mut self, observation: &Observation) {
        let now = observation.time_seconds;
        let longest_gap = GAP_INTERVALS * observation.interval_seconds;
        let seen = self
            .last_time_seconds
            .is_some_and(|last| now - last <= longest_gap);
        self.last_time_seconds = Some(now);
        if !seen {
            self.idle_since_seconds = None;
            let window = self.limits.stabilisation_seconds;
            self.held.push(now, observation.parallelism, window);
        }
        if observation.is_loaded() {
            self.idle_since_seconds = None;
        } else {
            self.idle_since_seconds.get_or_insert(now);
        }
    }

    fn consult(&mut self, observation: &Observation) -> Option<Verdict> {
        // The fallback sees everything, so that it knows the farm on the day it is needed.
        let stand_in = self.fallback.decide(observation);
        match self.policy.decide(observation) {
            Ok(action) => {
                let mut reasons = vec![self.policy.reason()];
                if std::mem::take(&mut self.failing) {
                    reasons.push(format!("{} decides again", self.policy.name()));
                }
                Some(Verdict {
                    policy: self.policy.name(),
                    wanted: action.parallelism,
                    fell_back: false,
                    reasons,
                })
            }
            Err(error) => {
                self.failing = true;
                let policy = self.fallback.name();
                let instead = format!("{error}; {policy} decides until it recovers");
                Some(Verdict {
                    policy,
                    wanted: stand_in.ok()?.parallelism,
                    fell_back: true,
                    reasons: vec![instead, self.fallback.reason()],
                })
            }
        }
    }

    fn apply_limits(&mut self, observation: &Observation, plan: &mut Plan) {
        let to_zero = self.may_be_zero(observation);
        if to_zero {
            let idle = format!("no work for {:.0} s", self.limits.idle_seconds);
            plan.change(0, &idle);
        } else {
            plan.change(plan.target.max(1), "a farm that is not idle keeps a worker");
            plan.change(self.bounded(plan.target), "limits");
            self.stabilise(observation, plan);
        }
        self.cool_down(observation, plan);
        keep_workers_in_need(observation, plan);
        self.limit_step(observation, plan);
        plan.change(self.bounded(plan.target), "limits");
        if !to_zero {
            let (now, present) = (observation.time_seconds, observation.parallelism);
            let base = self.limits.stabilisation_seconds;
            self.damping.observe(now, present, plan.target, base);
        }
    }

    /// Whether nobody would miss the last worker, or nobody misses it already.
    fn may_be_zero(&self, observation: &Observation) -> bool {
        let idle = self
            .idle_since_seconds
            .map(|since| observation.time_seconds - since);
        let at_zero = observation.parallelism == 0;
        self.limits.min == 0
            && idle.is_some_and(|seconds| at_zero || seconds >= self.limits.idle_seconds)
    }

    fn stabilise(&mut self, observation: &Observation, plan: &mut Plan) {
        let (now, present) = (observation.time_seconds, observation.parallelism);
        let base = self.limits.stabilisation_seconds;
        self.wanted
            .push(now, plan.target, self.longest_window_seconds());
        let window = self.window_of_fall_seconds(observation, plan.target);
        let (most, why) = self.most_wanted(now, plan.target, window);
        plan.change(plan.target.max(most.min(present)), &why);
        let since = self.damping.since_fall_seconds(now);
        if plan.target < present && window > base && since < base {
            plan.change(present, &format!("fell only {since:.0} s ago"));
        }
        let unseen = self.held.maximum(now, base).unwrap_or(0).min(present);
        let why = format!("not seen all the time within {base:.0} s");
        plan.change(plan.target.max(unseen), &why);
    }

    /// How long a fall to `target` has to have been wanted.
    fn window_of_fall_seconds(&self, observation: &Observation, target: u32) -> f64 {
        let (now, present) = (observation.time_seconds, observation.parallelism);
        let base = self.limits.stabilisation_seconds;
        // A load that ended is no noise.
        if self
            .idle_since_seconds
            .is_some_and(|since| now - since >= base)
        {
            return base;
        }
        let (most, _) = self.most_wanted(now, target, self.damping.window_seconds(base));
        self.damping.window_of_fall_seconds(present, most, base)
    }

    /// The most that was wanted in a window, and that in words.
    fn most_wanted(&self, now_seconds: f64, wanted: u32, window_seconds: f64) -> (u32, String) {
        let most = self.wanted.maximum(now_seconds, window_seconds);
        let most = most.unwrap_or(wanted);
        let why = format!("up to {most} were wanted within {window_seconds:.0} s");
        (most, why)
    }

    fn cool_down(&self, observation: &Observation, plan: &mut Plan) {
        let (Some(last), Some(changed)) = (self.last_target, self.last_change_seconds) else {
            return;
        };
        let since = observation.time_seconds - changed;
        let missed = observation
            .qos_ratio
            .is_some_and(|qos| qos < observation.target_qos_ratio);
        let urgent = plan.target > last && (last == 0 || observation.parallelism == 0 || missed);
        if since < self.limits.cooldown_seconds && !urgent {
            // Somebody else may have raised it meanwhile.
            let rest = last.max(observation.parallelism);
            plan.change(rest, &format!("changed only {since:.0} s ago"));
        }
    }

    fn limit_step(&self, observation: &Observation, plan: &mut Plan) {
        let present = observation.parallelism;
        let up = self.limits.step_up.unwrap_or(u32::MAX);
        let down = self.limits.step_down.unwrap_or(u32::MAX);
        let within = plan
            .target
            .clamp(present.saturating_sub(down), present.saturating_add(up));
        plan.change(within, "step limit");
    }

    fn remember_target(&mut self, time_seconds: f64, target: u32) {
        if self.last_target.is_some_and(|last| last != target) {
            self.last_change_seconds = Some(time_seconds);
        }
        self.last_target = Some(target);
    }

    /// After the clock was set back, times that were noted mean nothing.
    fn start_over_if_set_back(&mut self, time_seconds: f64) {
        if self
            .last_time_seconds
            .is_some_and(|last| time_seconds < last)
        {
            self.wanted.clear();
            self.held.clear();
            self.last_change_seconds = None;
            self.damping = FlapDamping::default();
        }
    }

    fn bounded(&self, parallelism: u32) -> u32 {
        parallelism.max(self.limits.min).min(self.limits.max)
    }

    fn longest_window_seconds(&self) -> f64 {
        FlapDamping::longest_window_seconds(self.limits.stabilisation_seconds)
    }
}

/// No fall below the workers that are needed for what is under way.
fn keep_workers_in_need(observation: &Observation, plan: &mut Plan) {
    let present = observation.parallelism;
    if observation.is_loaded() && observation.available_parallelism == 0 {
        let floor = plan.target.max(present);
        plan.change(floor, "there is work and no worker is to be seen");
    }
    // A short task is finished before its worker goes; a long one would begin again elsewhere.
    let long = observation
        .service_seconds_mean
        .is_none_or(|seconds| seconds > observation.interval_seconds);
    let in_hand = u32::try_from(observation.in_flight_tasks).unwrap_or(u32::MAX);
    if long {
        let floor = plan.target.max(in_hand.min(present));
        plan.change(floor, &format!("{in_hand} long tasks are under way"));
    }
}

/// What the policy or its fallback said.
struct Verdict {
    policy: &'static str,
    wanted: u32,
    fell_back: bool,
    reasons: Vec<String>,
}

/// A target on its way through the limits.
struct Plan {
    target: u32,
    reasons: Vec<String>,
}

impl Plan {
    fn change(&mut self, target: u32, why: &str) {
        if target != self.target {
            self.reasons
                .push(format!("{} instead of {}: {why}", target, self.target));
            self.target = target;
        }
    }
}

#[cfg(test)]
mod tests;
