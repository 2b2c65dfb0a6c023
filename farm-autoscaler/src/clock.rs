//! Two clocks: one that never goes back, for control, and the wall's, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells how long the autoscaler has been running, and what time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_wall_seconds: f64,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            started_wall_seconds: wall_seconds(),
        }
    }

    /// Seconds since the start: never goes back, whatever happens to the wall clock.
    pub fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.started).as_secs_f64()
    }

    /// The latest it can be now, in seconds since 1970: a wall clock that was set back makes
    /// nothing that others say a thing of the future.
    pub fn latest_wall_seconds(&self) -> f64 {
        let counted = self.started_wall_seconds + self.seconds(Instant::now());
        wall_seconds().max(counted)
    }
}

/// Seconds since 1970 by the wall clock: to show, never to control by.
pub(crate) fn wall_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

/// The time of day of `wall_seconds`, for a sentence.
pub(crate) fn time_of_day(wall_seconds: f64) -> String {
    let second = wall_seconds as u64 % 86_400;
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02} UTC", second % 60)
}
