//! Where a task waits and runs that may be what its replicas were lost to.

use std::time::Duration;

use tokio::time::Instant;

use super::Ready;

/// How long a suspect waits for the tasks beside it before another replica may have it.
pub(super) const SUSPECT_WAITS: Duration = Duration::from_secs(30);

/// Keeps a task that may kill its replica from taking others with it: it runs alone.
#[derive(Default)]
pub(super) struct Quarantine {
    /// Waits until the replica is empty, since when.
    pub waiting: Option<(Ready, Instant)>,
    /// Whether the running task is a suspect.
    pub running: bool,
    /// Whether the next task may be a suspect, too: then one is asked for at a time.
    pub wary: bool,
}

impl Quarantine {
    pub fn is_occupied(&self) -> bool {
        self.waiting.is_some() || self.running
    }
}
