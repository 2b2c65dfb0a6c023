//! The account of outcomes: how many, how long, and whether each task came exactly once.

use std::collections::HashSet;
use std::time::Duration;

use farm_core::envelope::Outcome;
use farm_core::http::TaskOutcome;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::failure::Failure;

const LONGEST_MICROSECONDS: u64 = 7 * 86_400 * 1_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// Keys that are numbers below this take one bit each, 32 MiB in all; others are kept as text.
const DENSE_KEYS: u64 = 1 << 28;

/// What was seen of the outcomes of one or many jobs.
pub struct Tally {
    /// Tasks with a result.
    pub done: u64,
    /// Tasks in the dead letters.
    pub failed: u64,
    /// Outcomes of tasks that already had one.
    pub duplicates: u64,
    in_deadline: u64,
    with_deadline: u64,
    sojourn_microseconds: Histogram<u64>,
}

/// Sojourn times, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SojournSeconds {
    /// Half of the tasks took at most this.
    pub p50: f64,
    /// 95 % took at most this.
    pub p95: f64,
    /// 99 % took at most this.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Tally {
    /// An account without entries.
    ///
    /// # Errors
    /// Only if the bounds above contradicted each other.
    pub fn new() -> Result<Self, Failure> {
        let sojourn_microseconds =
            Histogram::new_with_bounds(1, LONGEST_MICROSECONDS, SIGNIFICANT_DIGITS)
                .map_err(|e| Failure::Failed(format!("no histogram: {e}")))?;
        Ok(Self {
            done: 0,
            failed: 0,
            duplicates: 0,
            in_deadline: 0,
            with_deadline: 0,
            sojourn_microseconds,
        })
    }

    /// Enters one outcome; `delay` is what the task waited before it was submitted.
    pub fn record(&mut self, outcome: &TaskOutcome, seen: &mut SeenKeys, delay: Duration) {
        if !seen.insert(&outcome.task) {
            self.duplicates += 1;
            return;
        }
        match outcome.outcome {
            Outcome::Done => self.done += 1,
            Outcome::Failed => self.failed += 1,
        }
        self.with_deadline += u64::from(outcome.in_deadline.is_some());
        self.in_deadline += u64::from(outcome.in_deadline == Some(true));
        let sojourn_seconds = outcome.sojourn_seconds.max(0.0) + delay.as_secs_f64();
        // The cast saturates, and no time at all counts as the shortest the histogram knows.
        let microseconds = (sojourn_seconds * 1e6).round() as u64;
        self.sojourn_microseconds
            .saturating_record(microseconds.max(1));
    }

    /// Share of the outcomes with a deadline that met it; `None` if none had one.
    pub fn qos_ratio(&self) -> Option<f64> {
        (self.with_deadline > 0).then(|| self.in_deadline as f64 / self.with_deadline as f64)
    }

    /// Percentiles of the sojourn times; `None` if there is none.
    pub fn sojourn(&self) -> Option<SojournSeconds> {
        if self.sojourn_microseconds.is_empty() {
            return None;
        }
        let at = |quantile| self.sojourn_microseconds.value_at_quantile(quantile) as f64 / 1e6;
        let max = self.sojourn_microseconds.max() as f64 / 1e6;
        // A percentile is the upper edge of its bucket, which may lie above the greatest value.
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| at(quantile).min(max));
        Some(SojournSeconds { p50, p95, p99, max })
    }
}

/// The task keys of one job that already had their outcome.
#[derive(Default)]
pub struct SeenKeys {
    dense: Vec<u64>,
    other: HashSet<Box<str>>,
}

impl SeenKeys {
    /// Adds a key; false if it was there.
    fn insert(&mut self, key: &str) -> bool {
        // "007" and "7" are two keys.
        let number = key
            .parse::<u64>()
            .ok()
            .filter(|n| *n < DENSE_KEYS && n.to_string() == key);
        let Some(number) = number else {
            return self.other.insert(key.into());
        };
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.dense.len() {
            self.dense.resize(word + 1, 0);
        }
        let is_new = self.dense[word] & bit == 0;
        self.dense[word] |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn outcome(task: &str, sojourn_seconds: f64, in_deadline: Option<bool>) -> TaskOutcome {
        TaskOutcome {
            task: task.to_owned(),
            outcome: Outcome::Done,
            cursor: 1,
            attempt: 1,
            worker: "w".to_owned(),
            service_seconds: 0.0,
            sojourn_seconds,
            in_deadline,
            output: None,
            output_base64: None,
            error: None,
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut tally = Tally::new().unwrap();
        let mut seen = SeenKeys::default();
        for i in 1..=1000_u32 {
            let outcome = outcome(&i.to_string(), f64::from(i) / 1000.0, Some(i <= 900));
            tally.record(&outcome, &mut seen, Duration::ZERO);
        }
        let sojourn = tally.sojourn().unwrap();
        for (seen, expected) in [
            (sojourn.p50, 0.5),
            (sojourn.p95, 0.95),
            (sojourn.p99, 0.99),
            (sojourn.max, 1.0),
        ] {
            assert!(
                (seen - expected).abs() <= expected * 0.002,
                "{seen} instead of {expected}"
            );
        }
        assert_eq!(tally.qos_ratio(), Some(0.9));
    }

    #[test]
    fn what_a_task_waited_before_it_was_sent_counts() {
        let mut tally = Tally::new().unwrap();
        tally.record(
            &outcome("0", 1.0, None),
            &mut SeenKeys::default(),
            Duration::from_secs(2),
        );
        assert!((tally.sojourn().unwrap().max - 3.0).abs() < 0.01);
        assert_eq!(tally.qos_ratio(), None);
    }

    #[test]
    fn a_key_seen_twice_is_a_duplicate_and_counts_once() {
        let mut tally = Tally::new().unwrap();
        let mut seen = SeenKeys::default();
        for key in ["7", "007", "a", "7", "a", "99999999999999999999"] {
            tally.record(&outcome(key, 0.1, None), &mut seen, Duration::ZERO);
        }
        assert_eq!((tally.done, tally.duplicates), (4, 2));
    }

    #[test]
    fn an_empty_account_has_no_percentiles() {
        assert_eq!(Tally::new().unwrap().sojourn(), None);
    }
}
