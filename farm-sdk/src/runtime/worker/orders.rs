//! Obeys the orders of how many slots to have.
//!
//! An order is published once, and stays as the last message of a stream. Who runs hears it; who
//! starts, or may have missed it, reads it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::stream::DirectGetErrorKind;
use bytes::Bytes;
use farm_core::control::{MAX_SLOTS, SlotsOrder};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::WorkerRole;
use crate::task_error::chain;

/// When to read again after NATS did not answer.
const RETRY: Duration = Duration::from_millis(250);
/// How often to read though nothing seems amiss: inside a cluster of NATS servers an order may be
/// lost without this connection being lost.
const READ_AGAIN: Duration = Duration::from_secs(15);
/// How much of an order that makes no sense is shown.
const SHOWN_CHARS: usize = 100;

pub(crate) struct Orders {
    role: Arc<WorkerRole>,
    subscriber: Subscriber,
    connections: watch::Receiver<u64>,
    /// The newest order, whether or not it made sense.
    last: Option<Bytes>,
}

impl Orders {
    /// Listens from now on, so that no order is missed between a reading and the listening.
    pub async fn open(role: Arc<WorkerRole>) -> Result<Self, async_nats::SubscribeError> {
        let mut connections = role.broker.link.connections();
        connections.mark_unchanged();
        let subject = role.broker.topology.control_slots_subject();
        Ok(Self {
            subscriber: role.broker.client.subscribe(subject).await?,
            connections,
            role,
            last: None,
        })
    }

    /// Obeys the order that holds, if there is one; waits until NATS says which.
    pub async fn catch_up(&mut self) {
        while !self.read().await {
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Obeys every order that comes.
    pub async fn follow(mut self) {
        let mut look = tokio::time::interval_at(Instant::now() + READ_AGAIN, READ_AGAIN);
        loop {
            tokio::select! {
                Some(message) = self.subscriber.next() => {
                    self.obey(message.payload);
                    continue;
                }
                Ok(()) = self.connections.changed() => {}
                _ = look.tick() => {}
            }
            if !self.read().await {
                look.reset_after(RETRY);
            }
        }
    }

    /// Whether NATS answered.
    async fn read(&mut self) -> bool {
        let broker = &self.role.broker;
        let subject = broker.topology.control_slots_subject();
        match broker.control.direct_get_last_for_subject(subject).await {
            Ok(order) => {
                self.obey(order.payload);
                true
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => true,
            Err(error) => {
                tracing::debug!(error = chain(&error), "the orders could not be read yet");
                false
            }
        }
    }

    fn obey(&mut self, order: Bytes) {
        // Mostly it is read again, or read after it was heard.
        if self.last.as_ref() == Some(&order) {
            return;
        }
        match parse(&order) {
            Ok(SlotsOrder { slots, by }) => {
                let before = self.role.slots.send_replace(slots);
                self.role.metrics.set_slots(slots);
                if slots != before {
                    tracing::info!(slots, before, by, "another number of slots was ordered");
                }
            }
            Err(reason) => {
                let text = String::from_utf8_lossy(&order);
                let order: String = text.chars().take(SHOWN_CHARS).collect();
                let slots = *self.role.slots.borrow();
                tracing::warn!(order, reason, slots, "ignored an order of slots");
            }
        }
        self.last = Some(order);
    }
}

pub(super) fn parse(order: &[u8]) -> Result<SlotsOrder, String> {
    let order: SlotsOrder = serde_json::from_slice(order).map_err(|error| error.to_string())?;
    if (1..=MAX_SLOTS).contains(&order.slots) {
        return Ok(order);
    }
    Err(format!("slots is not from 1 to {MAX_SLOTS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_number_of_slots_within_bounds() {
        assert_eq!(parse(br#"{"slots":1}"#).unwrap().slots, 1);
        let most = parse(br#"{"slots":10000,"by":"me","later":{}}"#).unwrap();
        assert_eq!((most.slots, most.by.as_str()), (MAX_SLOTS, "me"));
        for bad in ["", "7", "{}", r#"{"slots":-1}"#, r#"{"slots":2.5}"#] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for slots in [0, MAX_SLOTS + 1] {
            let reason = parse(format!(r#"{{"slots":{slots}}}"#).as_bytes()).unwrap_err();
            assert!(reason.contains("1 to 10000"), "{reason}");
        }
    }
}
