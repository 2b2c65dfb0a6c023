//! What becomes of a task that came alone and out of the ordinary: delivered before, replayed, told
//! to wait, or no task at all. The ordinary way is in [`slot`](super::slot).

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use farm_core::TaskId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::delivery::{Delivery, Load};
use super::past::Past;
use super::settle::{HOPELESS, Settled, Settling, end_of};
use super::{Ready, WorkerRole, bundle};
use crate::attempt::attempt;
use crate::clock;
use crate::codec::Encoded;
use crate::context::{TaskFacts, Threads};
use crate::metrics::Computed;
use crate::runtime::outcomes;
use crate::trace::Span;
use crate::verdict::{Verdict, judge, over_ceiling};

/// The life of one delivery in this replica. `freed` is told the service time of what was done, or
/// dropped, as soon as the slot is free.
pub(super) async fn live(
    role: Arc<WorkerRole>,
    ready: Ready,
    task: TaskId,
    freed: oneshot::Sender<Duration>,
) {
    let Ready {
        delivery,
        past,
        hold,
        ..
    } = ready;
    let past = Past::known(past, &role.broker, &delivery).await;
    let span = role
        .tracer
        .attempt(&task, delivery.terms.attempt, delivery.traceparent());
    if delivery.delivered > 1
        && let Ok(Some(stored)) = outcomes::stored(&role.broker, &task).await
        && outcomes::replay_of(&stored) >= delivery.terms.replay
    {
        drop(freed);
        let settling = settling(&role, &delivery, &task, &span, Duration::ZERO);
        settling.finish(&stored).await;
        delivery.remove(&role.broker.client, AckKind::Ack).await;
        role.metrics.settled(Settled::Duplicate.as_str());
        return;
    }
    let started = Instant::now();
    let Some(verdict) = compute(&role, &delivery, &task, past).await else {
        // The process ends in a moment: handing back matters more than the note.
        delivery.hand_back(&role.broker.client, None).await;
        if let Some(past) = past {
            past.note_returned(&role.broker, &delivery).await;
        }
        role.metrics.settled("handed_back");
        return;
    };
    let service = started.elapsed();
    match &verdict {
        // A failure that comes at once says nothing of how long tasks take.
        Verdict::Done(_) => drop(freed.send(service)),
        _ => drop(freed),
    }
    let failure = match &verdict {
        Verdict::Done(_) => None,
        Verdict::Retry { cause, .. } | Verdict::Dead { cause } => Some(cause.clone()),
    };
    let settling = settling(&role, &delivery, &task, &span, service);
    let settled = carry_out(&settling, &delivery, past, verdict).await;
    drop(hold);
    note(&role, &delivery, settled, service, 1);
    span.end(failure.as_deref());
}

pub(super) fn settling<'a>(
    role: &'a WorkerRole,
    delivery: &'a Delivery,
    task: &'a TaskId,
    span: &'a Span,
    service: Duration,
) -> Settling<'a> {
    Settling {
        broker: &role.broker,
        replica: &role.config.replica,
        task,
        body: delivery.body(),
        codec_word: delivery.codec_word().map(str::to_owned),
        terms: &delivery.terms,
        service,
        traceparent: span.traceparent(),
    }
}

/// Stores the outcome and takes the task off the queue, or gives it back for another attempt.
pub(super) async fn carry_out(
    settling: &Settling<'_>,
    delivery: &Delivery,
    past: Option<Past>,
    verdict: Verdict,
) -> Settled {
    let settled = match end_of(verdict) {
        Ok(end) => settling.conclude(end).await,
        Err((delay, cause)) => {
            let (task, delivered) = (settling.task, delivery.delivered);
            tracing::warn!(%task, delivered, cause, ?delay, "a task failed, to be tried again");
            if let Some(past) = past {
                past.note_failed(settling.broker, delivery).await;
            }
            delivery
                .hand_back(&settling.broker.client, Some(delay))
                .await;
            return Settled::Retried;
        }
    };
    match settled {
        None => {
            delivery
                .hand_back(&settling.broker.client, Some(HOPELESS))
                .await;
            Settled::Retried
        }
        Some(settled) => {
            let kind = match settled {
                Settled::Failed => AckKind::Term,
                _ => AckKind::Ack,
            };
            delivery.remove(&settling.broker.client, kind).await;
            settled
        }
    }
}

/// Counts a task that is settled, and the `messages` that brought it: none if its chunk is counted.
pub(super) fn note(
    role: &WorkerRole,
    delivery: &Delivery,
    settled: Settled,
    service: Duration,
    messages: u64,
) {
    role.metrics.settled(settled.as_str());
    if matches!(settled, Settled::Done | Settled::Failed) {
        let task = computed(delivery, service, settled == Settled::Done);
        role.metrics.computed(&task);
        role.sums.count(&task, messages);
    }
}

/// Counts the tasks that are done in a chunk.
pub(super) fn note_chunk(role: &WorkerRole, delivery: &Delivery, settled: &bundle::Settled) {
    let done = computed(delivery, Duration::ZERO, true);
    role.metrics
        .settled_many(Settled::Done.as_str(), settled.done.into());
    role.metrics.computed_many(&settled.services_seconds, &done);
    role.sums.count_chunk(&settled.services_seconds, &done);
}

/// The verdict on one attempt, or `None` if the grace period ended first.
async fn compute(
    role: &WorkerRole,
    delivery: &Delivery,
    task: &TaskId,
    past: Option<Past>,
) -> Option<Verdict> {
    // What is not known is not held against the task.
    let (failed, lost) = past.map_or((0, 0), |past| {
        (past.failed(), past.lost(delivery.counted()))
    });
    let policy = &role.config.retry;
    if let Load::Defective { defect, .. } = &delivery.load {
        return Some(Verdict::Dead {
            cause: defect.clone(),
        });
    }
    if let Some(verdict) = over_ceiling(lost, policy) {
        return Some(verdict);
    }
    let facts = TaskFacts {
        task: task.clone(),
        attempt: delivery.terms.attempt,
        deadline: delivery.terms.due(),
        draining: role.draining.clone(),
        threads: Threads::Of(role.threads.clone()),
    };
    let (worker, codec, bytes) = (
        Arc::clone(&role.worker),
        delivery.terms.codec,
        delivery.body(),
    );
    let computing = role
        .user
        .spawn(async move { attempt(worker.as_ref(), Encoded { codec, bytes }, facts).await });
    let attempts = delivery.failed_before + failed + 1;
    tokio::select! {
        // The join fails only if the user's runtime is shut down under us.
        result = computing => result.ok().map(|result| judge(attempts, result, policy, unit_random)),
        () = role.grace_over.cancelled() => None,
    }
}

/// Randomness for jitter only, from 0 to 1.
pub(super) fn unit_random() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

/// What there is to measure of a task whose outcome is stored now.
fn computed(delivery: &Delivery, service: Duration, done: bool) -> Computed {
    let sojourn_seconds = (clock::now_seconds() - delivery.terms.submitted_seconds).max(0.0);
    let in_time = |deadline: Duration| done && sojourn_seconds <= deadline.as_secs_f64();
    Computed {
        service_seconds: service.as_secs_f64(),
        sojourn_seconds,
        done,
        in_deadline: delivery.terms.deadline.map(in_time),
    }
}
