//! How many tasks to keep at hand: none beyond the free slots for long tasks, many for short ones.

use std::time::Duration;

/// Worth of work to keep ready per slot: covers the way to the server and back.
const READY: Duration = Duration::from_millis(4);
/// Tasks that take this long on average are left to others rather than kept waiting.
const LONG: Duration = Duration::from_millis(50);
/// Most tasks ready per replica.
const MOST: usize = 512;
/// Weight of the newest service time in the mean.
const WEIGHT: f64 = 0.05;

/// Measures service times.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    mean_service_seconds: Option<f64>,
}

impl Pace {
    pub fn observe(&mut self, service: Duration) {
        let seconds = service.as_secs_f64();
        self.mean_service_seconds = Some(match self.mean_service_seconds {
            None => seconds,
            // A task much longer than the mean counts at once: hoarding hurts more than waiting.
            Some(mean) if seconds > 4.0 * mean => (mean + seconds) / 2.0,
            Some(mean) => mean + WEIGHT * (seconds - mean),
        });
    }

    /// Tasks to keep ready beyond those running; none before anything was measured.
    pub fn prefetch(&self, slots: usize) -> usize {
        let Some(mean) = self.mean_service_seconds else {
            return 0;
        };
        let per_slot = READY.as_secs_f64() / mean.max(1e-6);
        // The cast saturates; below one task per slot nothing is kept ready.
        ((per_slot as usize) * slots).min(MOST)
    }

    /// Tasks that may stay ready though that many were not to be asked for: handing a task back
    /// costs a delivery, which only long tasks are worth.
    pub fn most_ready(&self, slots: usize) -> usize {
        match self.mean_service_seconds {
            Some(mean) if mean > LONG.as_secs_f64() => 0,
            _ => slots + 2 * self.prefetch(slots).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(service: Duration, times: usize) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..times {
            pace.observe(service);
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
        assert_eq!(paced(Duration::from_nanos(100), 1).prefetch(2), MOST);
    }

    #[test]
    fn one_long_task_stops_the_hoarding() {
        let mut pace = paced(Duration::from_micros(10), 100);
        assert_eq!(pace.prefetch(4), MOST);
        assert!(pace.most_ready(4) > MOST);
        pace.observe(Duration::from_secs(1));
        assert_eq!((pace.prefetch(4), pace.most_ready(4)), (0, 0));
    }
}
