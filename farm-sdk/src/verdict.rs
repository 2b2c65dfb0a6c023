//! What the farm does with a task after an attempt: the whole table, in one function.
//!
//! | the worker | verdict |
//! |---|---|
//! | returned a result | [`Verdict::Done`] |
//! | failed, transient, attempts left | [`Verdict::Retry`] after its own delay or a backoff |
//! | failed, transient, attempts used up | [`Verdict::Dead`] |
//! | failed, permanent (a task that does not decode, a panic) | [`Verdict::Dead`] |
//! | never got the task: lost with it too often | [`Verdict::Dead`], see [`over_ceiling`] |
//!
//! The server's own `max_deliver` is left unlimited: past it a task stays in the stream and is
//! never delivered nor counted again.

use std::time::Duration;

use crate::codec::Encoded;
use crate::task_error::TaskError;

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Store the result, then acknowledge the task.
    Done(Encoded),
    /// Deliver the task again after this long.
    Retry { delay: Duration, cause: String },
    /// Keep the task as a dead letter with this cause, then stop delivering it.
    Dead { cause: String },
}

impl Verdict {
    /// What went wrong, if something did.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Verdict::Done(_) => None,
            Verdict::Retry { cause, .. } | Verdict::Dead { cause } => Some(cause),
        }
    }
}

/// How often and how soon a failed task is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RetryPolicy {
    /// Attempts after which a transient failure is final.
    pub max_attempts: u64,
    /// Replicas lost with a task after which it is not even tried: it probably kills them.
    pub max_deliveries: u64,
    /// Delay before the second attempt; doubles with each further one.
    pub backoff: Duration,
    /// The longest backoff.
    pub backoff_max: Duration,
}

/// Decides about an attempt, of which `attempt - 1` failed before; `unit_random` gives 0..1 to jitter
/// the backoff.
pub(crate) fn judge(
    attempt: u64,
    result: Result<Encoded, TaskError>,
    policy: &RetryPolicy,
    unit_random: impl FnOnce() -> f64,
) -> Verdict {
    let error = match result {
        Ok(output) => return Verdict::Done(output),
        Err(error) => error,
    };
    let cause = error.to_string();
    match error {
        TaskError::Permanent { .. } => Verdict::Dead { cause },
        TaskError::Transient { .. } if attempt >= policy.max_attempts => Verdict::Dead {
            cause: format!("{cause} (gave up after {attempt} attempts)"),
        },
        TaskError::Transient { retry_after, .. } => Verdict::Retry {
            delay: retry_after.unwrap_or_else(|| backoff(attempt, policy, unit_random())),
            cause,
        },
    }
}

/// Whether so many replicas were lost with a task that trying it again would be reckless.
pub(crate) fn over_ceiling(lost: u64, policy: &RetryPolicy) -> Option<Verdict> {
    (lost >= policy.max_deliveries).then(|| Verdict::Dead {
        cause: format!(
            "delivered {lost} times without a result: it probably kills the replicas that take it"
        ),
    })
}

/// Exponential with equal jitter: between half of the doubled delay and all of it.
fn backoff(attempt: u64, policy: &RetryPolicy, unit_random: f64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(32);
    let full = policy
        .backoff
        .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .min(policy.backoff_max);
    full.mul_f64(0.5 + 0.5 * unit_random)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_attempts: 3,
        max_deliveries: 6,
        backoff: Duration::from_secs(1),
        backoff_max: Duration::from_secs(10),
    };

    #[test]
    fn a_result_is_done_whatever_the_attempt() {
        let one = Encoded::json(&b"1"[..]);
        let verdict = judge(99, Ok(one.clone()), &POLICY, || 0.0);
        assert_eq!(verdict, Verdict::Done(one));
    }

    #[test]
    fn a_transient_failure_is_retried_until_its_attempts_are_used_up() {
        for attempt in 1..3 {
            let verdict = judge(
                attempt,
                Err(TaskError::transient("no network")),
                &POLICY,
                || 0.0,
            );
            assert!(matches!(verdict, Verdict::Retry { .. }), "{attempt}");
        }
        let verdict = judge(3, Err(TaskError::transient("no network")), &POLICY, || 0.0);
        let cause = "no network (gave up after 3 attempts)".to_owned();
        assert_eq!(verdict, Verdict::Dead { cause });
    }

    #[test]
    fn a_permanent_failure_is_never_retried() {
        let verdict = judge(1, Err(TaskError::permanent("bad")), &POLICY, || 0.0);
        assert_eq!(
            verdict,
            Verdict::Dead {
                cause: "bad".to_owned()
            }
        );
    }

    #[test]
    fn the_workers_own_delay_wins() {
        let delay = Duration::from_secs(77);
        let verdict = judge(
            1,
            Err(TaskError::retry_after(delay, "busy")),
            &POLICY,
            || 0.0,
        );
        assert_eq!(
            verdict,
            Verdict::Retry {
                delay,
                cause: "busy".to_owned()
            }
        );
    }

    #[test]
    fn a_task_is_tried_until_the_ceiling() {
        assert_eq!(over_ceiling(5, &POLICY), None);
        let dead = over_ceiling(6, &POLICY);
        assert!(matches!(dead, Some(Verdict::Dead { .. })));
    }

    proptest! {
        #[test]
        fn a_backoff_stays_within_its_bounds(attempt in 1u64.., random in 0.0f64..1.0) {
            let delay = backoff(attempt, &POLICY, random);
            prop_assert!(delay >= POLICY.backoff / 2 && delay <= POLICY.backoff_max);
        }
    }
}
