//! One collector leads: it holds a key that expires unless renewed.
//!
//! The lease only saves work: a leader that was suspended and believes it leads finds the progress
//! it wants to write changed by the other, and starts over as a follower.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::CreateErrorKind;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::runtime::broker::Broker;
use crate::runtime::streams::LEASE;

const KEY: &str = "collector";

pub(crate) struct Lease {
    broker: Arc<Broker>,
    holder: Bytes,
    /// Cancelled once the lease is lost or given up.
    pub lost: CancellationToken,
}

/// Waits until the lease is ours.
pub(crate) async fn acquire(broker: &Arc<Broker>, holder: &str) -> Lease {
    let holder = Bytes::from(holder.to_owned());
    loop {
        match broker.lease.create(KEY, holder.clone()).await {
            Ok(revision) => {
                let lost = CancellationToken::new();
                tokio::spawn(renew(
                    Arc::clone(broker),
                    holder.clone(),
                    revision,
                    lost.clone(),
                ));
                return Lease {
                    broker: Arc::clone(broker),
                    holder,
                    lost,
                };
            }
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => tracing::debug!(%error, "the lease cannot be asked for"),
        }
        tokio::time::sleep(LEASE / 6).await;
    }
}

async fn renew(broker: Arc<Broker>, holder: Bytes, mut revision: u64, lost: CancellationToken) {
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = lost.cancelled() => return,
            () = tokio::time::sleep(LEASE / 3) => {}
        }
        let update = broker.lease.update(KEY, holder.clone(), revision);
        match tokio::time::timeout(LEASE / 3, update).await {
            Ok(Ok(newer)) => {
                revision = newer;
                renewed = tokio::time::Instant::now();
            }
            Ok(Err(error))
                if error.kind()
                    == async_nats::jetstream::kv::UpdateErrorKind::WrongLastRevision =>
            {
                tracing::info!("another collector leads now");
                lost.cancel();
            }
            _ if renewed.elapsed() + Duration::from_millis(500) >= LEASE => {
                tracing::info!("the collector's lease ran out");
                lost.cancel();
            }
            _ => {}
        }
    }
}

/// A leader that ends in whatever way stops renewing.
impl Drop for Lease {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

impl Lease {
    /// Lets another collector lead at once.
    pub async fn give_up(self) {
        if self.lost.is_cancelled() {
            return;
        }
        self.lost.cancel();
        let ours =
            matches!(self.broker.lease.get(KEY).await, Ok(Some(holder)) if holder == self.holder);
        if ours && let Err(error) = self.broker.lease.delete(KEY).await {
            tracing::debug!(%error, "the lease is left to expire");
        }
    }
}
