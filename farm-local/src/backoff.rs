//! How long to wait before something that ended by itself is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// Health that lasted this long makes up for earlier failures.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// Delays that double with every failure.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The delay after a failure that followed `healthy_for` of health.
    pub(crate) fn after_failure(&mut self, healthy_for: Duration) -> Duration {
        if healthy_for >= FORGIVEN_AFTER {
            *self = Self::new();
        }
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_limit_and_health_forgives() {
        let mut backoff = Backoff::new();
        let delays: Vec<_> = (0..9)
            .map(|_| backoff.after_failure(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(
            delays,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(backoff.after_failure(FORGIVEN_AFTER), FIRST);
    }
}
