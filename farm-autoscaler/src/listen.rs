//! Hears what is told on NATS: reports of workers, decisions of the replica that leads.

use std::sync::Arc;

use async_nats::Subscriber;
use farm_core::topology::Topology;
use futures_util::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lease::Standing;
use crate::shared::Shared;

/// Takes the reports of all workers in.
pub(crate) async fn reports(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut reports = subscribe(&shared, Topology::ALL_TELEMETRY).await;
    while let Some(message) = next(&mut reports, &stopping).await {
        let Some(farm) = Topology::farm_of_subject(&message.subject) else {
            continue;
        };
        let latest = shared.clock.latest_wall_seconds();
        let taken = shared
            .reports
            .take_in(&farm, &message.payload, Instant::now(), latest);
        if let Err(reason) = taken {
            shared.metrics.refused(reason);
            tracing::debug!(%farm, reason = reason.name(), "refused a worker's report");
        }
    }
}

/// Takes the decisions of other replicas in, so that a standby's page shows them too.
pub(crate) async fn decisions(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut decisions = subscribe(&shared, Topology::ALL_DECISIONS).await;
    while let Some(message) = next(&mut decisions, &stopping).await {
        if let Some(farm) = Topology::farm_of_subject(&message.subject) {
            shared.board.overhear(farm.as_str(), &message.payload);
        }
    }
}

/// Shows who leads.
pub(crate) async fn standing(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut standing = shared.standing.clone();
    loop {
        let now = standing.borrow_and_update().clone();
        shared
            .metrics
            .leads(matches!(now, Standing::Leading { .. }));
        shared.board.led_by(match now {
            Standing::Leading { .. } => Some(shared.config.replica.clone()),
            Standing::Following { leader } => Some(leader),
            Standing::Unknown { .. } => None,
        });
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = standing.changed() => if changed.is_err() { return },
        }
    }
}

/// The client subscribes again by itself whenever it has connected again.
async fn subscribe(shared: &Shared, subject: &'static str) -> Option<Subscriber> {
    match shared.broker.client.subscribe(subject).await {
        Ok(subscriber) => Some(subscriber),
        Err(error) => {
            tracing::error!(subject, %error, "cannot subscribe");
            None
        }
    }
}

async fn next(
    subscriber: &mut Option<Subscriber>,
    stopping: &CancellationToken,
) -> Option<async_nats::Message> {
    tokio::select! {
        () = stopping.cancelled() => None,
        message = subscriber.as_mut()?.next() => message,
    }
}
