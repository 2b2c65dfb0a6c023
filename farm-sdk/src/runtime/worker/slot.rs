//! A slot at work: it computes one message after another on the user's runtime, and tells the loop
//! what came of each. The loop stores it; a slot never waits for NATS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farm_core::TaskId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::bundle::{Bundle, Next};
use super::delivery::Load;
use super::life::{live, unit_random};
use super::queue::Queue;
use super::{Ready, WorkerRole};
use crate::attempt::attempt;
use crate::codec::Encoded;
use crate::context::{TaskFacts, Threads};
use crate::trace::Span;
use crate::verdict::{Verdict, judge};

/// What a slot has to say.
pub(super) enum Told {
    /// The verdict on a task that came alone.
    Verdict(Box<Computed>),
    /// A chunk was computed to its end, or up to where it was cut.
    Bundle(Ready),
    /// A message that was looked up is to be computed here.
    Recalled(Ready, Recall),
    /// A task out of the ordinary gave its slot back.
    Lived(Option<Duration>),
    /// The slot is closed: there was nothing more, or there are to be fewer.
    Closed,
}

/// A message that is being looked up and may want a slot: one as long as this is not dropped.
pub(super) type Recall = Arc<()>;

/// A task that was computed, and is to be settled.
pub(super) struct Computed {
    pub ready: Ready,
    pub verdict: Verdict,
    pub service: Duration,
    pub span: Span,
}

pub(super) struct Slot {
    pub role: Arc<WorkerRole>,
    pub queue: Arc<Queue>,
    /// Where what is not ordinary is done beside the loop.
    pub tasks: TaskTracker,
    pub tell: mpsc::UnboundedSender<Told>,
}

impl Slot {
    /// Starts computing on the user's runtime; a plain function keeps a thread while there is
    /// something to compute, instead of getting one for each task.
    pub fn open(self) {
        let user = self.role.user.clone();
        if self.role.worker.blocks() {
            let threads = self.role.threads.clone();
            threads.spawn_blocking(move || user.block_on(self.work()));
        } else {
            user.spawn(self.work());
        }
    }

    async fn work(self) {
        let mut next = self.queue.first();
        while let Some(ready) = next {
            let told = self.compute(ready).await;
            // The loop listens until every slot is closed.
            let _ = self.tell.send(told);
            tokio::task::coop::consume_budget().await;
            next = self.queue.next();
        }
        let _ = self.tell.send(Told::Closed);
    }

    async fn compute(&self, ready: Ready) -> Told {
        let delivery = Arc::clone(&ready.delivery);
        match (&delivery.load, ready.bundle.clone()) {
            (Load::Chunk { .. }, Some(bundle)) => {
                self.compute_chunk(&ready, &bundle).await;
                Told::Bundle(ready)
            }
            (Load::Task(task), None) if delivery.is_plain() => {
                let role = &self.role;
                let attempt = delivery.terms.attempt;
                let span = role.tracer.attempt(task, attempt, delivery.traceparent());
                let started = Instant::now();
                let body = delivery.body();
                let verdict = self.attempt(&ready, task.clone(), body);
                let verdict = verdict.await;
                Told::Verdict(Box::new(Computed {
                    service: started.elapsed(),
                    ready,
                    verdict,
                    span,
                }))
            }
            (Load::Task(task) | Load::Defective { task, .. }, _) => {
                let (freed, free) = oneshot::channel();
                let life = live(Arc::clone(&self.role), ready, task.clone(), freed);
                self.tasks.spawn_on(life, &self.role.threads);
                Told::Lived(free.await.ok())
            }
            // Every chunk that is queued has its bundle.
            (Load::Chunk { .. }, None) => Told::Lived(None),
        }
    }

    async fn compute_chunk(&self, ready: &Ready, bundle: &Bundle) {
        let Load::Chunk { id, tasks, defect } = &ready.delivery.load else {
            return;
        };
        let tracer = &self.role.tracer;
        let mut started = Instant::now();
        let mut next = bundle.begin();
        while let Next::Task(index) = next {
            // A chunk holds as many tasks as it says.
            let body = tasks.get(index as usize).cloned().unwrap_or_default();
            let task = id.task(index);
            let span = tracer.is_on().then(|| {
                let parent = ready.delivery.traceparent();
                tracer.attempt(&task, ready.delivery.terms.attempt, parent)
            });
            let verdict = match defect.clone() {
                Some(cause) => Verdict::Dead { cause },
                None => self.attempt(ready, task, body).await,
            };
            if let Some(span) = span {
                span.end(verdict.failure());
            }
            let ended = Instant::now();
            next = bundle.end(verdict, ended - started);
            started = ended;
        }
    }

    async fn attempt(&self, ready: &Ready, task: TaskId, bytes: Bytes) -> Verdict {
        let terms = &ready.delivery.terms;
        let facts = TaskFacts {
            task,
            attempt: terms.attempt,
            deadline: terms.due(),
            draining: self.role.draining.clone(),
            // This slot has its own thread if the worker is a plain function.
            threads: Threads::Here,
        };
        let codec = terms.codec;
        let worker = self.role.worker.as_ref();
        let result = attempt(worker, Encoded { codec, bytes }, facts).await;
        judge(1, result, &self.role.config.retry, unit_random)
    }
}
