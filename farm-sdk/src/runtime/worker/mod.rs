//! The worker role: pull, compute, settle; and on a drain, hand back.
//!
//! One loop talks to NATS: it fetches messages, and stores the outcomes of those that were computed.
//! Between lie the [`queue`] and the [`slot`]s that take from it, on the user's runtime. A task that
//! came alone and for the first time goes straight through; everything else has a [`life`] of its own
//! beside the loop. A message of many tasks is computed as a [`bundle`], and what does not end in it is
//! settled [`apart`].

mod apart;
mod bundle;
mod cancelled;
mod completing;
mod delivery;
#[cfg(test)]
mod fuzz;
mod held;
mod intake;
mod life;
mod orders;
mod outcome;
mod pace;
mod past;
mod quarantine;
mod queue;
mod report;
mod settle;
mod slot;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::AckKind;
use farm_core::topology::Topology;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::runtime::broker::Broker;
use crate::runtime::publishing::Publishing;
use crate::runtime::pull::{Arrival, Pull};
use crate::task_error::chain;
use crate::trace::Tracer;
use crate::verdict::Verdict;
use crate::worker::ErasedWorker;

use apart::{Beside, Kept};
use bundle::Bundle;
use delivery::{Delivery, Load};
use held::{Held, Hold};
use orders::Orders;
use pace::Pace;
use past::Past;
use quarantine::{Quarantine, SUSPECT_WAITS};
use queue::Queue;
pub(crate) use report::Sums;
use slot::{Computed, Recall, Slot, Told};
use window::{Sent, Window};

/// Outcomes that may be on their way to the server before the next task starts.
const MAX_SETTLING: usize = 1024;
/// The same in bytes of their bodies.
const MAX_SETTLING_BYTES: usize = 16 << 20;
/// How long not to ask for the past of tasks after it could not be read.
const PAST_REST: Duration = Duration::from_secs(5);
/// How often the loop looks at what does not announce itself.
const TICK: Duration = Duration::from_secs(1);

/// What every task of this replica is computed with.
pub(crate) struct WorkerRole {
    pub config: Arc<Config>,
    pub broker: Arc<Broker>,
    pub worker: Arc<dyn ErasedWorker>,
    /// Where the user's code runs: apart from the connection and the heartbeats.
    pub user: Handle,
    /// Whose threads plain functions run on: as many as there can be slots.
    pub threads: Handle,
    /// How many tasks to compute at once.
    pub slots: watch::Sender<u32>,
    pub sums: Arc<Sums>,
    pub started: Instant,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    /// Cancelled when this replica is to take no more tasks.
    pub draining: CancellationToken,
    /// Cancelled when the grace period is over.
    pub grace_over: CancellationToken,
}

/// A message in hand, from its arrival to its end.
#[derive(Clone)]
struct Ready {
    delivery: Arc<Delivery>,
    /// `None` if it was not read, or could not be.
    past: Option<Past>,
    hold: Arc<Hold>,
    /// Where a chunk is, once it is to be computed.
    bundle: Option<Arc<Bundle>>,
}

impl Ready {
    fn is_suspect(&self) -> bool {
        let delivered = self.delivery.counted();
        self.past.is_some_and(|past| past.is_suspect(delivered))
    }

    /// Lets another replica have the task, and does not count that against it.
    async fn give_back(&self, broker: &Broker, delay: Option<Duration>) {
        if let Some(delay) = self.delivery.delay_to_keep() {
            // A delivery that only serves to wait counts as none, and so does its end.
            return self.delivery.hand_back(&broker.client, Some(delay)).await;
        }
        if let Some(past) = Past::known(self.past, broker, &self.delivery).await {
            past.note_returned(broker, &self.delivery).await;
        }
        self.delivery.hand_back(&broker.client, delay).await;
    }
}

struct Loop {
    role: Arc<WorkerRole>,
    intake: Pull,
    window: Window,
    held: Held,
    pace: Pace,
    queue: Arc<Queue>,
    /// Chunks that are queued or computed, by delivery.
    bundles: HashMap<u64, Ready>,
    /// Cloned for each chunk that is being looked up and may want a slot.
    recalls: Recall,
    quarantine: Quarantine,
    /// When to ask for the past of tasks again, if it could not be read.
    past_after: Instant,
    pending: u64,
    slots: watch::Receiver<u32>,
    /// What is done beside the loop.
    tasks: TaskTracker,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
}

/// Works until `draining`, then until the tasks in hand are settled or handed back.
pub(crate) async fn run(role: Arc<WorkerRole>) -> Result<(), Error> {
    let stopped = |cause: String| Error::Runtime(cause);
    let held = Held::default();
    // The consumer's own: another function of the farm may have set it.
    let ack_wait = role.broker.workers.cached_info().config.ack_wait;
    let client = role.broker.client.clone();
    let mut orders = Orders::open(Arc::clone(&role))
        .await
        .map_err(|error| stopped(chain(&error)))?;
    tokio::select! {
        () = orders.catch_up() => {}
        () = role.draining.cancelled() => {}
    }
    // These go on while the worker drains, and stop when it is done.
    let mut beside = JoinSet::new();
    beside.spawn(held.clone().keep_alive(client.clone(), ack_wait));
    beside.spawn(orders.follow());
    let publishing = Publishing::open(&client).await;
    let publishing = publishing.map_err(|refusal| stopped(format!("{refusal:?}")))?;
    let intake = pull_tasks(&role.broker).await;
    let (tell, told) = mpsc::unbounded_channel();
    let mut work = Loop {
        intake: intake.map_err(|error| stopped(chain(&error)))?,
        window: Window::new(publishing),
        held,
        pace: Pace::default(),
        queue: Arc::new(Queue::new(*role.slots.borrow() as usize)),
        bundles: HashMap::new(),
        recalls: Arc::new(()),
        quarantine: Quarantine::default(),
        past_after: Instant::now(),
        pending: 0,
        slots: role.slots.subscribe(),
        tasks: TaskTracker::new(),
        tell,
        told,
        role: Arc::clone(&role),
    };
    role.sums.started(role.started.elapsed());
    beside.spawn(report::keep_reporting(Arc::clone(&role)));
    work.pull().await;
    work.drain().await;
    report::send(&role).await;
    Ok(())
}

async fn pull_tasks(broker: &Broker) -> Result<Pull, async_nats::SubscribeError> {
    let stream = broker.topology.tasks_stream();
    Pull::open(&broker.client, &stream, Topology::WORKERS_CONSUMER).await
}

impl Loop {
    fn beside(&self) -> Beside {
        Beside {
            role: Arc::clone(&self.role),
            tell: self.tell.clone(),
        }
    }

    async fn pull(&mut self) {
        let role = Arc::clone(&self.role);
        let mut connections = role.broker.link.connections();
        // Only what comes after counts: no request was lost with the first connection.
        connections.mark_unchanged();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(bundle::LONGEST / 2);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rests = false;
        // Once: to register for it anew in every turn takes the locks of the token.
        let mut draining = std::pin::pin!(role.draining.cancelled());
        loop {
            self.start_ready();
            self.ask().await;
            if rests && !self.is_idle() {
                rests = false;
                tick.reset();
            }
            tokio::select! {
                () = &mut draining => return,
                Some(told) = self.told.recv() => self.hear_all(told).await,
                Some((sent, answer)) = self.window.next() => self.note_answers(sent, answer).await,
                arrival = self.intake.next() => match arrival {
                    Arrival::Message(message) => self.take_all(message).await,
                    Arrival::Nothing => {}
                    Arrival::Refused => tracing::warn!("NATS gives no tasks at the moment"),
                    Arrival::Closed => return,
                },
                Ok(()) = self.slots.changed() => self.note_slots().await,
                Ok(()) = connections.changed() => self.intake.reset(),
                _ = look.tick(), if !self.bundles.is_empty() => self.cut_long(bundle::LONGEST).await,
                _ = tick.tick() => {
                    self.note_time().await;
                    if self.is_idle() {
                        // By then the server should have said something.
                        tick.reset_at(self.intake.silent_at().max(Instant::now() + TICK));
                        rests = true;
                    }
                }
            }
        }
    }

    /// Whether nothing is in hand: then there is nothing to look at before something comes.
    fn is_idle(&self) -> bool {
        self.queue.busy() == 0 && self.settling() == 0 && self.quarantine.waiting.is_none()
    }

    fn slots(&self) -> usize {
        *self.slots.borrow() as usize
    }

    /// Outcomes on their way to the server.
    fn settling(&self) -> usize {
        self.window.len() + self.tasks.len()
    }

    /// Whether the server is to answer first before more is computed.
    fn is_behind(&self) -> bool {
        self.settling() >= MAX_SETTLING || self.window.bytes() >= MAX_SETTLING_BYTES
    }

    /// Opens slots for what waits.
    fn start_ready(&mut self) {
        if self.quarantine.waiting.is_some() {
            // Not even outcomes on their way to the server may go down with it.
            if self.queue.busy() > 0 || self.settling() > 0 || !self.told.is_empty() {
                return;
            }
            if let Some((suspect, _)) = self.quarantine.waiting.take() {
                self.quarantine.running = true;
                self.queue.push(suspect);
            }
        }
        self.queue.pause(self.window.bytes() >= MAX_SETTLING_BYTES);
        for _ in 0..self.queue.ready() {
            if !self.queue.open_slot() {
                break;
            }
            let slot = Slot {
                role: Arc::clone(&self.role),
                queue: Arc::clone(&self.queue),
                tasks: self.tasks.clone(),
                tell: self.tell.clone(),
            };
            slot.open();
        }
        self.role.metrics.set_busy_slots(self.queue.busy());
    }

    /// Hands back what has not started, and gives what has the grace period to finish.
    async fn drain(mut self) {
        let started = Instant::now();
        let role = Arc::clone(&self.role);
        let mut not_started = self.queue.take_all();
        not_started.extend(self.quarantine.waiting.take().map(|(suspect, _)| suspect));
        for ready in &not_started {
            self.bundles.remove(&ready.delivery.delivery_sequence);
        }
        self.cut_long(Duration::ZERO).await;
        let unfinished = self.queue.busy() + self.settling();
        for message in self.intake.close().await {
            not_started.extend(self.read(message, None).await);
        }
        let handed_back = not_started.len();
        for ready in not_started {
            self.give_back(ready, None);
        }
        let in_grace = tokio::select! {
            () = self.finish() => true,
            () = role.grace_over.cancelled() => false,
        };
        if !in_grace {
            self.abandon().await;
        }
        role.metrics.set_busy_slots(0);
        tracing::info!(
            handed_back,
            unfinished,
            seconds = started.elapsed().as_secs_f64(),
            in_grace,
            "drained"
        );
    }

    /// Settles what was in hand, to the last.
    async fn finish(&mut self) {
        let mut tick = tokio::time::interval(bundle::LONGEST);
        while self.queue.busy() > 0 || self.settling() > 0 || !self.told.is_empty() {
            // What ended beside the loop does not say so.
            let beside = self.tasks.clone();
            let ended = async {
                beside.close();
                beside.wait().await;
            };
            tokio::select! {
                Some(told) = self.told.recv() => self.hear_all(told).await,
                Some((sent, answer)) = self.window.next() => self.note_answers(sent, answer).await,
                () = ended, if !self.tasks.is_empty() => {}
                _ = tick.tick() => {
                    self.cut_long(bundle::LONGEST).await;
                    self.note_overdue();
                }
            }
            self.role.metrics.set_busy_slots(self.queue.busy());
        }
    }

    /// Gives everything back that is still in hand: the process ends in a moment.
    async fn abandon(&self) {
        let deliveries = self.held.all();
        // Handing back matters more than the note that it was not lost.
        for delivery in &deliveries {
            delivery.hand_back(&self.role.broker.client, None).await;
        }
        let broker = &self.role.broker;
        for delivery in &deliveries {
            if let Some(past) = Past::read(broker, delivery).await {
                past.note_returned(broker, delivery).await;
            }
            self.role.metrics.settled("handed_back");
        }
    }
}
