//! What becomes of one delivery in this replica: attempt, verdict, settlement.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery::Delivery;
use super::past::Past;
use super::settle::{Settled, Settling};
use super::{Ready, Slot, WorkerRole};
use crate::attempt::attempt;
use crate::clock;
use crate::codec::Encoded;
use crate::context::TaskFacts;
use crate::metrics::Computed;
use crate::runtime::outcomes;
use crate::verdict::{Verdict, judge, over_ceiling};

/// The life of one delivery in this replica.
pub(super) async fn live(role: Arc<WorkerRole>, ready: Ready, mut slot: Slot) {
    let Ready {
        delivery,
        past,
        hold,
    } = ready;
    let past = Past::known(past, &role.broker, &delivery).await;
    let span = role
        .tracer
        .attempt(&delivery.task, delivery.delivered, delivery.traceparent());
    let settling = |service| Settling {
        broker: &role.broker,
        replica: &role.config.replica,
        delivery: &delivery,
        past,
        service,
        traceparent: span.traceparent(),
    };
    if delivery.delivered > 1
        && let Ok(Some(stored)) = outcomes::stored(&role.broker, &delivery.task).await
        && outcomes::replay_of(&stored) >= delivery.replay
    {
        settling(Duration::ZERO).finish(&stored).await;
        role.metrics.settled(Settled::Duplicate.as_str());
        return;
    }
    let started = Instant::now();
    let Some(verdict) = compute(&role, &delivery, past).await else {
        // The process ends in a moment: handing back matters more than the note.
        delivery.hand_back(None).await;
        if let Some(past) = past {
            past.note_returned(&role.broker, &delivery).await;
        }
        role.metrics.settled("handed_back");
        return;
    };
    let service = started.elapsed();
    // A failure that comes at once says nothing of how long tasks take.
    slot.service = matches!(verdict, Verdict::Done(_)).then_some(service);
    drop(slot);
    let failure = match &verdict {
        Verdict::Done(_) => None,
        Verdict::Retry { cause, .. } | Verdict::Dead { cause } => Some(cause.clone()),
    };
    let settled = tokio::select! {
        settled = async { settling(service).settle(verdict).await } => settled,
        // NATS does not take the outcome; the task stays with the queue.
        () = role.grace_over.cancelled() => {
            delivery.hand_back(None).await;
            return;
        }
    };
    drop(hold);
    role.metrics.settled(settled.as_str());
    if matches!(settled, Settled::Done | Settled::Failed) {
        let task = computed(&delivery, service, settled == Settled::Done);
        role.metrics.computed(&task);
        role.sums.count(&task);
    }
    span.end(failure.as_deref());
}

/// The verdict on one attempt, or `None` if the grace period ended first.
async fn compute(role: &WorkerRole, delivery: &Delivery, past: Option<Past>) -> Option<Verdict> {
    // What is not known is not held against the task.
    let (failed, lost) = past.map_or((0, 0), |past| {
        (past.failed(), past.lost(delivery.delivered))
    });
    let policy = &role.config.retry;
    if let Some(defect) = &delivery.defect {
        return Some(Verdict::Dead {
            cause: defect.clone(),
        });
    }
    if let Some(verdict) = over_ceiling(lost, policy) {
        return Some(verdict);
    }
    let facts = TaskFacts {
        task: delivery.task.clone(),
        attempt: delivery.delivered,
        deadline: delivery.due(),
        draining: role.draining.clone(),
        threads: Some(role.threads.clone()),
    };
    let (worker, codec, bytes) = (Arc::clone(&role.worker), delivery.codec, delivery.body());
    let computing = role
        .user
        .spawn(async move { attempt(worker.as_ref(), Encoded { codec, bytes }, facts).await });
    tokio::select! {
        result = computing => {
            let unit_random = f64::from(fresh_random()) / f64::from(u32::MAX);
            // The join fails only if the user's runtime is shut down under us.
            result.ok().map(|result| judge(failed + 1, result, policy, unit_random))
        }
        () = role.grace_over.cancelled() => None,
    }
}

/// Randomness for jitter only.
fn fresh_random() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

/// What there is to measure of a task whose outcome is stored now.
fn computed(delivery: &Delivery, service: Duration, done: bool) -> Computed {
    let sojourn_seconds = (clock::now_seconds() - delivery.submitted_seconds).max(0.0);
    let in_time = |deadline: Duration| done && sojourn_seconds <= deadline.as_secs_f64();
    Computed {
        service_seconds: service.as_secs_f64(),
        sojourn_seconds,
        done,
        in_deadline: delivery.deadline.map(in_time),
    }
}
