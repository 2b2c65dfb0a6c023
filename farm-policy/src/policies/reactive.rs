//! `reactive-average` and `reactive-maximum`: the two rules of the paper.

use crate::observation::PAPER_COMPLETION_SECONDS;
use crate::{Action, Observation, Policy, PolicyError};

/// Which completion time a [`Reactive`] rule takes for the service time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionTime {
    /// `reactive-average`: the window's mean.
    Mean,
    /// `reactive-maximum`: the window's longest.
    Longest,
}

/// The policies `reactive-average` and `reactive-maximum` of arXiv 2602.06555.
///
/// With λ the arrival rate, `q` the backlog, `w` the workers, `s` the estimate of the service time
/// and `h = max(interval, s, 1)` the horizon, all in seconds and tasks:
///
/// ```text
/// s      = max(mean completion time, 0.1)                        reactive-average, k = 0.5
/// s      = max(longest completion time, mean, 0.1)               reactive-maximum, k = 1
/// target = max(1, λ s + q s / h)
/// active = submitted − q − results waiting − collected
/// busy   = min(w, active − 1)                                    at least 0
/// free   = w − k · busy · s / h
/// gap    = target − free
/// wanted = w + round(gap)
/// ```
///
/// | parameter | unit | default |
/// |---|---|---|
/// | `step` | `one` (as published: +1 if gap ≥ 0.5, −1 if gap ≤ −0.5) or `free` (the whole gap) | one |
///
/// In a window without completions the paper takes 1.5 s for the completion time, and so does
/// `one`. That would shrink a farm of long tasks while it works, so `free` keeps the last one
/// that was seen.
///
/// Source: arXiv 2602.06555, its published code and logs (interval 8 s there). The completion time
/// contains the waiting, so a backlog counts twice, and the rule aims at `busy` workers without a
/// margin: with steps of one it misses half of the deadlines of the paper's workload, and it never
/// comes to rest by itself; the guard's damping is what calms it.
///
/// Choose it to compare with the paper. The free form of `reactive-average` is the fallback of the
/// guard, since it needs no model and no deadline.
#[derive(Debug, Clone)]
pub struct Reactive {
    completion: CompletionTime,
    /// Whether a window without completions leaves the estimate alone.
    remembers: bool,
    mean_seconds: f64,
    longest_seconds: f64,
    reason: String,
}

impl Reactive {
    /// The rule in its free form.
    pub fn new(completion: CompletionTime) -> Self {
        Self {
            completion,
            remembers: true,
            mean_seconds: PAPER_COMPLETION_SECONDS,
            longest_seconds: 0.0,
            reason: "nothing seen yet".to_owned(),
        }
    }

    /// The rule as published, but for its steps: [`OneStep`](super::OneStep) adds these.
    pub fn published(completion: CompletionTime) -> Self {
        Self {
            remembers: false,
            ..Self::new(completion)
        }
    }

    fn learn(&mut self, observation: &Observation) {
        if !self.remembers {
            (self.mean_seconds, self.longest_seconds) = (PAPER_COMPLETION_SECONDS, 0.0);
        }
        if let Some(seconds) = observation.sojourn_seconds_mean {
            self.mean_seconds = seconds;
            self.longest_seconds = observation.sojourn_seconds_max.unwrap_or(seconds);
        }
    }

    /// The estimate s and the weight k.
    fn estimate(&self) -> (f64, f64) {
        match self.completion {
            CompletionTime::Mean => (self.mean_seconds.max(0.1), 0.5),
            CompletionTime::Longest => (self.longest_seconds.max(self.mean_seconds).max(0.1), 1.0),
        }
    }
}

impl Policy for Reactive {
    fn name(&self) -> &'static str {
        match self.completion {
            CompletionTime::Mean => "reactive-average",
            CompletionTime::Longest => "reactive-maximum",
        }
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        self.learn(observation);
        let (service, weight) = self.estimate();
        let rate = observation.arrival_rate_per_second;
        let backlog = observation.backlog_tasks as f64;
        let workers = f64::from(observation.parallelism);
        let horizon = observation.interval_seconds.max(service).max(1.0);

        let target = (rate * service + backlog * service / horizon).max(1.0);
        let settled = observation
            .backlog_tasks
            .saturating_add(observation.result_queue)
            .saturating_add(observation.collected_tasks);
        let active = observation.submitted_tasks.saturating_sub(settled);
        let busy = (active.saturating_sub(1) as f64).min(workers);
        let free = workers - weight * busy * service / horizon;
        let gap = target - free;
        // `round` goes away from zero at a half, as the paper's thresholds do.
        let wanted = (workers + gap.round()).max(0.0) as u32;

        self.reason = format!(
            "{rate:.1} tasks/s × {service:.2} s and {backlog} waiting need {target:.1} workers, \
             {free:.1} of {workers} count as free: {wanted}"
        );
        Ok(Action {
            parallelism: wanted,
        })
    }

    fn reason(&self) -> String {
        self.reason.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed() -> Observation {
        Observation {
            arrival_rate_per_second: 5.0,
            backlog_tasks: 8,
            submitted_tasks: 100,
            collected_tasks: 80,
            result_queue: 1,
            sojourn_seconds_mean: Some(2.0),
            sojourn_seconds_max: Some(4.0),
            ..Observation::idle(80.0, 12)
        }
    }

    fn wanted(completion: CompletionTime, observation: &Observation) -> u32 {
        let mut rule = Reactive::new(completion);
        rule.decide(observation).unwrap().parallelism
    }

    #[test]
    fn the_rules_compute_what_the_paper_writes() {
        // active 11, busy 10, horizon 8.
        // mean: target 10 + 2 = 12, free 12 − 0.5·10·2/8 = 10.75, gap 1.25
        assert_eq!(wanted(CompletionTime::Mean, &observed()), 13);
        // longest: target 20 + 4 = 24, free 12 − 10·4/8 = 7, gap 17
        assert_eq!(wanted(CompletionTime::Longest, &observed()), 29);
    }

    #[test]
    fn half_a_worker_is_a_step_and_less_is_none() {
        let with_rate = |rate| Observation {
            arrival_rate_per_second: rate,
            backlog_tasks: 0,
            submitted_tasks: 0,
            collected_tasks: 0,
            result_queue: 0,
            ..observed()
        };
        // Nothing active: gap = 2 λ − 12.
        let rule = |rate| wanted(CompletionTime::Mean, &with_rate(rate));
        assert_eq!(
            [rule(6.25), rule(6.24), rule(5.75), rule(5.76)],
            [13, 12, 11, 12]
        );
    }

    #[test]
    fn a_farm_of_long_tasks_does_not_shrink_while_it_works() {
        let mut rule = Reactive::new(CompletionTime::Mean);
        let busy = Observation {
            arrival_rate_per_second: 0.2,
            backlog_tasks: 0,
            submitted_tasks: 91,
            sojourn_seconds_mean: Some(50.0),
            sojourn_seconds_max: Some(60.0),
            ..observed()
        };
        let first = rule.decide(&busy).unwrap();
        let silent = Observation {
            sojourn_seconds_mean: None,
            sojourn_seconds_max: None,
            ..busy
        };
        assert_eq!(rule.decide(&silent).unwrap(), first);

        // As published it takes 1.5 s: 12 − 0.5 · 10 · 1.5/8 are free, one is needed.
        let mut published = Reactive::published(CompletionTime::Mean);
        assert_eq!(published.decide(&busy).unwrap(), first);
        assert_eq!(published.decide(&silent).unwrap().parallelism, 2);
    }
}
