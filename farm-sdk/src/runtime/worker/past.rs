//! How the earlier attempts of a task ended.
//!
//! The server counts deliveries, and a delivery may end in a failure, in a hand-back, or without a
//! word because its replica was lost. Whoever reports an end writes it down here; what nobody
//! reported was lost. So failures alone use up a task's attempts, and a task that takes replicas
//! with it is told from one that only failed.

use std::time::Duration;

use farm_core::topology::key;
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use crate::runtime::broker::Broker;
use crate::task_error::chain;

/// Replicas lost with a task before it is a suspect.
const SUSPICIOUS: u64 = 2;
/// How long to wait for what is only good to know.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the bucket holds of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ends {
    /// Attempts in which the worker function failed.
    #[serde(default)]
    failed: u64,
    /// Deliveries that were given back to the queue.
    #[serde(default)]
    returned: u64,
}

/// Ends that were reported, and where they are written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Past {
    ends: Ends,
    /// Revision to write over: what another replica wrote meanwhile is newer.
    revision: u64,
}

impl Past {
    /// Reads what is known of a task; nothing is of one that comes for the first time. `None` if it
    /// cannot be read: then nothing is held against the task.
    pub async fn read(broker: &Broker, delivery: &Delivery) -> Option<Self> {
        if delivery.delivered <= 1 {
            return Some(Self::default());
        }
        let asked = tokio::time::timeout(PATIENCE, broker.attempts.entry(name(delivery))).await;
        let Ok(Ok(entry)) = asked else {
            tracing::debug!(task = %delivery.load, "its past cannot be read");
            return None;
        };
        Some(entry.map_or_else(Self::default, |entry| Self {
            ends: serde_json::from_slice(&entry.value).unwrap_or_default(),
            revision: entry.revision,
        }))
    }

    /// `past`, or what can be read if it was not read yet.
    pub async fn known(past: Option<Self>, broker: &Broker, delivery: &Delivery) -> Option<Self> {
        match past {
            Some(past) => Some(past),
            None => Self::read(broker, delivery).await,
        }
    }

    async fn write(self, ends: Ends, broker: &Broker, delivery: &Delivery) {
        if delivery.is_part() {
            // Its failures are counted by whoever completes the chunk.
            return;
        }
        let Ok(json) = serde_json::to_vec(&ends) else {
            return;
        };
        let written = broker
            .attempts
            .update(name(delivery), json.into(), self.revision);
        if let Err(error) = written.await {
            tracing::debug!(task = %delivery.load, error = chain(&error), "its past cannot be written");
        }
    }

    /// Writes down one more failed attempt.
    pub async fn note_failed(self, broker: &Broker, delivery: &Delivery) {
        let failed = self.ends.failed + 1;
        let ends = Ends {
            failed,
            ..self.ends
        };
        self.write(ends, broker, delivery).await;
    }

    /// Writes down one more hand-back.
    pub async fn note_returned(self, broker: &Broker, delivery: &Delivery) {
        let returned = self.ends.returned + 1;
        let ends = Ends {
            returned,
            ..self.ends
        };
        self.write(ends, broker, delivery).await;
    }

    /// Attempts in which the worker function failed.
    pub fn failed(self) -> u64 {
        self.ends.failed
    }

    /// Deliveries before the one numbered `delivered` of which nobody reported the end.
    pub fn lost(self, delivered: u64) -> u64 {
        delivered.saturating_sub(1 + self.ends.failed + self.ends.returned)
    }

    /// Whether the task may be what its replicas were lost to.
    pub fn is_suspect(self, delivered: u64) -> bool {
        self.lost(delivered) >= SUSPICIOUS
    }
}

/// A task that came back from the dead letters starts afresh.
fn name(delivery: &Delivery) -> String {
    key::attempts(&delivery.load, delivery.terms.replay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_reported_makes_a_suspect() {
        let past = Past {
            ends: Ends {
                failed: 2,
                returned: 1,
            },
            revision: 7,
        };
        assert_eq!((past.lost(4), past.is_suspect(4)), (0, false));
        assert_eq!((past.lost(5), past.is_suspect(5)), (1, false));
        assert_eq!((past.lost(6), past.is_suspect(6)), (2, true));
        assert_eq!(Past::default().lost(1), 0);
    }
}
