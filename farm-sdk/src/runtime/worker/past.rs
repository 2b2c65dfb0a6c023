//! How the earlier attempts of a task ended.
//!
//! The server counts deliveries, and a delivery may end in a failure, in a hand-back, or without a
//! word because its replica was lost. Whoever reports an end writes it down here; what nobody
//! reported was lost. So failures alone use up a task's attempts, and a task that takes replicas
//! with it is told from one that only failed.

use farm_core::topology::key;
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use crate::runtime::broker::Broker;
use crate::task_error::chain;

/// Replicas lost with a task before it is a suspect.
const SUSPICIOUS: u64 = 2;

/// Ends that were reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// Attempts in which the worker function failed.
    #[serde(default)]
    pub failed: u64,
    /// Deliveries that were given back to the queue.
    #[serde(default)]
    pub returned: u64,
}

impl Past {
    /// Reads what is known of a task; nothing of one that comes for the first time.
    ///
    /// What cannot be read counts as lost, so that a task has some more attempts rather than fewer.
    pub async fn read(broker: &Broker, delivery: &Delivery) -> Self {
        if delivery.delivered <= 1 {
            return Self::default();
        }
        match broker.attempts.get(name(delivery)).await {
            Ok(json) => json
                .and_then(|json| serde_json::from_slice(&json).ok())
                .unwrap_or_default(),
            Err(error) => {
                tracing::debug!(task = %delivery.task, error = chain(&error), "its past cannot be read");
                Self::default()
            }
        }
    }

    async fn write(self, broker: &Broker, delivery: &Delivery) {
        let Ok(json) = serde_json::to_vec(&self) else {
            return;
        };
        if let Err(error) = broker.attempts.put(name(delivery), json.into()).await {
            tracing::debug!(task = %delivery.task, error = chain(&error), "its past cannot be written");
        }
    }

    /// Writes down one more failed attempt.
    pub async fn note_failed(self, broker: &Broker, delivery: &Delivery) {
        let failed = self.failed + 1;
        Self { failed, ..self }.write(broker, delivery).await;
    }

    /// Writes down one more hand-back.
    pub async fn note_returned(self, broker: &Broker, delivery: &Delivery) {
        let returned = self.returned + 1;
        Self { returned, ..self }.write(broker, delivery).await;
    }

    /// Deliveries before the one numbered `delivered` of which nobody reported the end.
    pub fn lost(self, delivered: u64) -> u64 {
        delivered.saturating_sub(1 + self.failed + self.returned)
    }

    /// Whether the task may be what its replicas were lost to.
    pub fn is_suspect(self, delivered: u64) -> bool {
        self.lost(delivered) >= SUSPICIOUS
    }
}

/// A task that came back from the dead letters starts afresh.
fn name(delivery: &Delivery) -> String {
    key::attempts(&delivery.task, delivery.replay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_reported_makes_a_suspect() {
        let past = Past {
            failed: 2,
            returned: 1,
        };
        assert_eq!((past.lost(4), past.is_suspect(4)), (0, false));
        assert_eq!((past.lost(5), past.is_suspect(5)), (1, false));
        assert_eq!((past.lost(6), past.is_suspect(6)), (2, true));
        assert_eq!(Past::default().lost(1), 0);
    }
}
