//! The messages this replica holds, kept alive at the server while it holds them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;

use super::delivery::Delivery;

/// Messages in hand, by delivery.
#[derive(Clone, Default)]
pub(crate) struct Held {
    deliveries: Arc<Mutex<HashMap<u64, Arc<Delivery>>>>,
}

/// A message stays held until this is dropped.
pub(crate) struct Hold {
    held: Held,
    delivery_sequence: u64,
}

impl Held {
    pub fn hold(&self, delivery: &Arc<Delivery>) -> Hold {
        let delivery_sequence = delivery.delivery_sequence;
        self.lock().insert(delivery_sequence, Arc::clone(delivery));
        Hold {
            held: self.clone(),
            delivery_sequence,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Delivery>>> {
        // The map is whole even if a holder of the lock panicked: each change is one call.
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything in hand.
    pub fn all(&self) -> Vec<Arc<Delivery>> {
        self.lock().values().cloned().collect()
    }

    /// Tells the server, three times per ack wait, that the held messages are being worked on.
    ///
    /// Runs beside the worker, so that a worker that blocks its own thread keeps its task.
    pub async fn keep_alive(self, client: Client, ack_wait: Duration) {
        let mut beat = tokio::time::interval(ack_wait / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.tick().await;
        loop {
            beat.tick().await;
            let replies: Vec<Subject> = self
                .lock()
                .values()
                .filter_map(|delivery| delivery.reply().cloned())
                .collect();
            for reply in replies {
                if let Err(error) = client.publish(reply, Bytes::from_static(b"+WPI")).await {
                    tracing::debug!(%error, "a heartbeat could not be sent");
                }
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.lock().remove(&self.delivery_sequence);
    }
}
