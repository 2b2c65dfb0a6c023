//! How many requests a second: a bucket of tokens that fills steadily.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bound on a rate. A second's worth may come at once.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Rate {
    /// `per_second` requests a second, above zero.
    #[must_use]
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            bucket: Mutex::new(Bucket {
                tokens: per_second.max(1.0),
                filled: Instant::now(),
            }),
        }
    }

    /// Lets one request through.
    ///
    /// # Errors
    /// The rate is exceeded; how long until the next may come.
    pub fn admit(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.filled = now;
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.per_second.max(1.0));
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait_seconds = (1.0 - bucket.tokens) / self.per_second;
        Err(Duration::try_from_secs_f64(wait_seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seconds_worth_comes_at_once_and_then_one_at_a_time() {
        let rate = Rate::new(10.0);
        assert!((0..10).all(|_| rate.admit().is_ok()));
        let wait = rate.admit().unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        tokio::time::advance(wait + Duration::from_millis(1)).await;
        assert!(rate.admit().is_ok());
        assert!(rate.admit().is_err());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..100).filter(|_| rate.admit().is_ok()).count(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn less_than_one_a_second_is_possible() {
        let rate = Rate::new(0.1);
        assert!(rate.admit().is_ok());
        assert_eq!(rate.admit().unwrap_err().as_secs_f64().round(), 10.0);
    }
}
