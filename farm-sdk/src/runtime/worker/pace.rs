//! How many messages to keep at hand: none beyond the free slots for long tasks, many for short ones.

use std::time::Duration;

/// Worth of work to keep ready per slot: covers the way to the server and back.
const READY: Duration = Duration::from_millis(4);
/// Tasks that take this long on average are left to others rather than kept waiting.
const LONG: Duration = Duration::from_millis(50);
/// Most messages ready per replica.
const MOST: usize = 512;
/// The same in bytes, judged by their mean.
const MOST_BYTES: f64 = 16e6;
/// What a short message that was kept waiting for its processor counts for, beside the mean.
const BLIP_SECONDS: f64 = 100e-6;
/// Weight of the newest message in the means.
const WEIGHT: f64 = 0.05;

/// Measures what messages take to compute, and how large they are.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    mean: Option<Mean>,
}

#[derive(Debug, Clone, Copy)]
struct Mean {
    service_seconds: f64,
    tasks: f64,
    bytes: f64,
}

impl Pace {
    /// Notes a message of `tasks` that took `service` together.
    pub fn observe(&mut self, service: Duration, tasks: usize, bytes: usize) {
        let seconds = service.as_secs_f64();
        let (tasks, bytes) = (tasks as f64, bytes as f64);
        self.mean = Some(match self.mean {
            None => Mean {
                service_seconds: seconds,
                tasks,
                bytes,
            },
            Some(mean) => Mean {
                service_seconds: match seconds > 4.0 * mean.service_seconds {
                    // A long message counts at once: hoarding hurts more than waiting.
                    true if seconds >= LONG.as_secs_f64() => (mean.service_seconds + seconds) / 2.0,
                    // Any other may have been short but for the scheduler: several in a row tell.
                    true => toward(
                        mean.service_seconds,
                        4.0 * mean.service_seconds + BLIP_SECONDS,
                    ),
                    false => toward(mean.service_seconds, seconds),
                },
                tasks: toward(mean.tasks, tasks),
                bytes: toward(mean.bytes, bytes).max(bytes / 2.0),
            },
        });
    }

    /// Messages to keep ready beyond those computed; none before anything was measured.
    pub fn prefetch(&self, slots: usize) -> usize {
        let Some(mean) = self.mean else {
            return 0;
        };
        let seconds = mean.service_seconds.max(1e-6);
        // The casts saturate; below one message per slot nothing is kept ready.
        let mut per_slot = (READY.as_secs_f64() / seconds) as usize;
        if mean.tasks >= 2.0 && seconds < LONG.as_secs_f64() {
            // A chunk can be cut: one that waits for a slot keeps its tasks from nobody for long.
            per_slot = per_slot.max(1);
        }
        let most_by_bytes = (MOST_BYTES / mean.bytes.max(1.0)) as usize;
        (per_slot * slots).min(MOST).min(most_by_bytes)
    }

    /// Messages to ask for beyond the free slots though none are known to wait: while one is computed
    /// the next may come. Of short tasks only, which keep another worker's idle slot waiting for no
    /// longer than the way to the server takes.
    pub fn eager(&self, slots: usize) -> usize {
        match self.prefetch(slots) >= 4 * slots {
            true => slots,
            false => 0,
        }
    }

    /// Messages that may stay ready though that many were not to be asked for: handing one back
    /// costs a delivery, which only long tasks are worth.
    pub fn most_ready(&self, slots: usize) -> usize {
        let long = LONG.as_secs_f64();
        match self.mean {
            Some(mean) if mean.service_seconds > long => 0,
            // Less than a long task's worth keeps nobody waiting for long.
            Some(mean) => slots * (long / mean.service_seconds.max(1e-6)) as usize,
            None => 3 * slots,
        }
    }
}

fn toward(mean: f64, newest: f64) -> f64 {
    mean + WEIGHT * (newest - mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(service: Duration, times: usize) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..times {
            pace.observe(service, 1, 100);
        }
        pace
    }

    #[test]
    fn nothing_is_kept_ready_for_long_tasks() {
        assert_eq!(Pace::default().prefetch(8), 0);
        assert_eq!(paced(Duration::from_millis(5), 1).prefetch(8), 0);
        assert_eq!(paced(Duration::from_secs(10), 1).prefetch(8), 0);
    }

    #[test]
    fn short_tasks_are_kept_ready() {
        assert_eq!(paced(Duration::from_millis(1), 1).prefetch(2), 8);
        assert_eq!(paced(Duration::from_millis(1), 1).eager(2), 2);
        assert_eq!(paced(Duration::from_millis(3), 1).eager(2), 0);
        assert_eq!(paced(Duration::from_nanos(100), 1).prefetch(2), MOST);
    }

    #[test]
    fn a_chunk_is_kept_ready_for_each_slot() {
        let mut pace = Pace::default();
        pace.observe(Duration::from_millis(5), 500, 20_000);
        assert_eq!(pace.prefetch(2), 2);
        pace.observe(Duration::from_secs(1), 500, 20_000);
        assert_eq!(pace.prefetch(2), 0);
    }

    #[test]
    fn large_messages_are_not_many() {
        let mut pace = Pace::default();
        pace.observe(Duration::from_nanos(100), 1, 1_000_000);
        assert_eq!(pace.prefetch(2), 16);
    }

    #[test]
    fn a_blip_changes_little_and_a_slower_kind_of_task_is_noticed() {
        let mut pace = paced(Duration::from_micros(10), 100);
        pace.observe(Duration::from_millis(5), 1, 100);
        assert!(pace.prefetch(4) > 400 && pace.most_ready(4) > MOST);
        for _ in 0..100 {
            pace.observe(Duration::from_millis(5), 1, 100);
        }
        assert_eq!(pace.prefetch(4), 0);
        assert!(pace.most_ready(4) <= 4 * 20, "{}", pace.most_ready(4));
    }

    #[test]
    fn one_long_task_stops_the_hoarding() {
        let mut pace = paced(Duration::from_micros(10), 100);
        assert_eq!(pace.prefetch(4), MOST);
        assert!(pace.most_ready(4) > MOST);
        pace.observe(Duration::from_secs(1), 1, 100);
        assert_eq!((pace.prefetch(4), pace.most_ready(4)), (0, 0));
    }
}
