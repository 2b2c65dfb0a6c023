//! The worker role: pull, compute, settle; and on a drain, hand back.

mod delivery;
#[cfg(test)]
mod fuzz;
mod held;
mod life;
mod orders;
mod pace;
mod past;
mod quarantine;
mod report;
mod settle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use farm_core::topology::Topology;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::runtime::broker::Broker;
use crate::runtime::pull::{Arrival, Pull};
use crate::trace::Tracer;
use crate::worker::ErasedWorker;

use delivery::Delivery;
use held::{Held, Hold};
use life::live;
use orders::Orders;
use pace::Pace;
use past::Past;
use quarantine::{Quarantine, SUSPECT_WAITS};
pub(crate) use report::Sums;

/// Outcomes that may be on their way to the server before the next task starts.
const MAX_SETTLING: usize = 1024;
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
    pub sums: Sums,
    pub started: Instant,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    /// Cancelled when this replica is to take no more tasks.
    pub draining: CancellationToken,
    /// Cancelled when the grace period is over.
    pub grace_over: CancellationToken,
}

/// A slot in use; says so when it is free again.
struct Slot {
    freed: mpsc::UnboundedSender<Option<Duration>>,
    service: Option<Duration>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The loop that listens ends only after every slot is free.
        let _ = self.freed.send(self.service);
    }
}

struct Ready {
    delivery: Delivery,
    /// `None` if it was not read, or could not be.
    past: Option<Past>,
    hold: Hold,
}

impl Ready {
    fn is_suspect(&self) -> bool {
        let delivered = self.delivery.delivered;
        self.past.is_some_and(|past| past.is_suspect(delivered))
    }

    /// Lets another replica have the task, and does not count that against it.
    async fn give_back(self, broker: &Broker, delay: Option<Duration>) {
        if let Some(past) = Past::known(self.past, broker, &self.delivery).await {
            past.note_returned(broker, &self.delivery).await;
        }
        self.delivery.hand_back(delay).await;
    }
}

struct Loop {
    role: Arc<WorkerRole>,
    intake: Pull,
    held: Held,
    pace: Pace,
    ready: VecDeque<Ready>,
    quarantine: Quarantine,
    /// When to ask for the past of tasks again, if it could not be read.
    past_after: Instant,
    busy: usize,
    last_start: Instant,
    pending: u64,
    slots: watch::Receiver<u32>,
    tasks: TaskTracker,
    freed: mpsc::UnboundedSender<Option<Duration>>,
}

/// Works until `draining`, then until the tasks in hand are settled or handed back.
pub(crate) async fn run(role: Arc<WorkerRole>) -> Result<(), async_nats::SubscribeError> {
    let held = Held::default();
    // The consumer's own: another function of the farm may have set it.
    let ack_wait = role.broker.workers.cached_info().config.ack_wait;
    let client = role.broker.client.clone();
    let mut orders = Orders::open(Arc::clone(&role)).await?;
    tokio::select! {
        () = orders.catch_up() => {}
        () = role.draining.cancelled() => {}
    }
    // These go on while the worker drains, and stop when it is done.
    let mut beside = JoinSet::new();
    beside.spawn(held.clone().keep_alive(client, ack_wait));
    beside.spawn(orders.follow());
    let (freed, mut frees) = mpsc::unbounded_channel();
    let mut work = Loop {
        intake: pull_tasks(&role.broker).await?,
        role: Arc::clone(&role),
        held,
        pace: Pace::default(),
        ready: VecDeque::new(),
        quarantine: Quarantine::default(),
        past_after: Instant::now(),
        busy: 0,
        last_start: Instant::now(),
        pending: 0,
        slots: role.slots.subscribe(),
        tasks: TaskTracker::new(),
        freed,
    };
    role.sums.started(role.started.elapsed());
    beside.spawn(report::keep_reporting(Arc::clone(&role)));
    work.pull(&mut frees).await;
    work.drain(frees).await;
    report::send(&role).await;
    Ok(())
}

async fn pull_tasks(broker: &Broker) -> Result<Pull, async_nats::SubscribeError> {
    let stream = broker.topology.tasks_stream();
    Pull::open(&broker.client, &stream, Topology::WORKERS_CONSUMER).await
}

impl Loop {
    async fn pull(&mut self, frees: &mut mpsc::UnboundedReceiver<Option<Duration>>) {
        let role = Arc::clone(&self.role);
        let mut connections = role.broker.link.connections();
        // Only what comes after counts: no request was lost with the first connection.
        connections.mark_unchanged();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_ready();
            self.ask().await;
            tokio::select! {
                () = role.draining.cancelled() => return,
                Some(service) = frees.recv() => {
                    self.note_free(service);
                    self.hand_back_surplus().await;
                }
                arrival = self.intake.next() => match arrival {
                    Arrival::Message(message) => self.take(message).await,
                    Arrival::Nothing => {}
                    Arrival::Refused => tracing::warn!("NATS gives no tasks at the moment"),
                    Arrival::Closed => return,
                },
                Ok(()) = self.slots.changed() => self.note_slots().await,
                Ok(()) = connections.changed() => self.intake.reset(),
                _ = tick.tick() => self.note_time().await,
            }
        }
    }

    fn slots(&self) -> usize {
        *self.slots.borrow() as usize
    }

    /// Outcomes on their way to the server.
    fn settling(&self) -> usize {
        self.tasks.len().saturating_sub(self.busy)
    }

    fn note_free(&mut self, service: Option<Duration>) {
        self.busy -= 1;
        self.quarantine.running = false;
        if let Some(service) = service {
            self.pace.observe(service);
        }
        self.role.metrics.set_busy_slots(self.busy);
    }

    /// More slots fill by themselves. With fewer, tasks that were asked for may find no place.
    async fn note_slots(&mut self) {
        let free = self.slots().saturating_sub(self.busy + self.ready.len());
        if self.intake.outstanding() > free {
            for message in self.intake.take_back().await {
                self.take(message).await;
            }
        }
        self.hand_back_surplus().await;
    }

    /// Asks for what the free slots can take, and for short tasks some more to have ready.
    async fn ask(&mut self) {
        if self.quarantine.is_occupied() {
            return;
        }
        if self.quarantine.wary {
            if self.busy + self.ready.len() == 0 {
                self.intake.ask(1, false).await;
            }
            return;
        }
        let free = self.slots().saturating_sub(self.busy + self.ready.len());
        let waiting = self.pending > 0;
        let ahead = if waiting {
            let known = usize::try_from(self.pending).unwrap_or(usize::MAX);
            let prefetch = self.pace.prefetch(self.slots());
            prefetch.saturating_sub(self.ready.len()).min(known)
        } else {
            0
        };
        // Asking for each slot as it frees would cost a request a task.
        let worthwhile = free > 0 || ahead >= self.pace.prefetch(self.slots()) / 2;
        if worthwhile && self.settling() < MAX_SETTLING {
            self.intake.ask(free + ahead, waiting).await;
        }
    }

    async fn take(&mut self, message: Message) {
        let Some(ready) = self.read(message).await else {
            return;
        };
        self.pending = ready.delivery.pending;
        if self.quarantine.is_occupied() {
            return self.give_back(ready, None);
        }
        if ready.is_suspect() {
            return self.isolate(ready).await;
        }
        self.quarantine.wary = false;
        self.ready.push_back(ready);
        self.hand_back_surplus().await;
    }

    /// Makes room for a suspect: what has started may finish, and nothing else is in hand.
    async fn isolate(&mut self, suspect: Ready) {
        tracing::warn!(
            task = %suspect.delivery.task,
            delivered = suspect.delivery.delivered,
            "replicas were lost with this task: it runs alone"
        );
        self.quarantine.waiting = Some((suspect, Instant::now()));
        self.quarantine.wary = true;
        for ready in std::mem::take(&mut self.ready) {
            self.give_back(ready, None);
        }
        for message in self.intake.take_back().await {
            if let Some(ready) = self.read(message).await {
                self.give_back(ready, None);
            }
        }
    }

    /// Gives a task back beside the loop, which has others to attend to.
    fn give_back(&self, ready: Ready, delay: Option<Duration>) {
        let role = Arc::clone(&self.role);
        self.tasks
            .spawn(async move { ready.give_back(&role.broker, delay).await });
    }

    /// A suspect does not hold up the other slots of a replica whose tasks are long.
    fn give_up_waiting(&mut self) {
        let waits_too_long = |(_, since): &mut (Ready, Instant)| since.elapsed() > SUSPECT_WAITS;
        if let Some((suspect, _)) = self.quarantine.waiting.take_if(waits_too_long) {
            self.quarantine.wary = false;
            self.give_back(suspect, Some(SUSPECT_WAITS / 2));
        }
    }

    /// Tasks that turn out longer than those before are not what this was asked to keep ready:
    /// lets others have them.
    async fn hand_back_surplus(&mut self) {
        let free = self.slots().saturating_sub(self.busy);
        let most = free + self.pace.most_ready(self.slots());
        // Once: every hand-back counts as an attempt at the server.
        while self.ready.len() > most
            && let Some(surplus) = self
                .ready
                .pop_back_if(|ready| ready.delivery.delivered == 1)
        {
            surplus.delivery.hand_back(None).await;
        }
    }

    /// A task that is not finished yet is long already.
    async fn note_time(&mut self) {
        self.intake.forget_overdue();
        self.give_up_waiting();
        let running = self.last_start.elapsed();
        if self.busy >= self.slots() && running >= TICK {
            self.pace.observe(running);
            self.hand_back_surplus().await;
        }
    }

    async fn read(&mut self, message: Message) -> Option<Ready> {
        let broker = &self.role.broker;
        let reply = message.reply.clone();
        let deadline = self.role.config.deadline;
        match Delivery::read(message, &broker.jetstream, &broker.topology, deadline) {
            Ok(delivery) => {
                let hold = self.held.hold(delivery.delivery_sequence, reply);
                let past = match delivery.delivered {
                    // Of no suspect yet: whoever needs to know will read it.
                    2 => None,
                    0 | 1 => Some(Past::default()),
                    _ if Instant::now() < self.past_after => None,
                    _ => {
                        let past = Past::read(broker, &delivery).await;
                        if past.is_none() {
                            self.past_after = Instant::now() + PAST_REST;
                        }
                        past
                    }
                };
                Some(Ready {
                    hold,
                    past,
                    delivery,
                })
            }
            Err(error) => {
                tracing::warn!(error, "ignored a message");
                None
            }
        }
    }

    fn start_ready(&mut self) {
        // Not even outcomes on their way to the server may go down with it.
        if self.tasks.is_empty()
            && let Some((suspect, _)) = self.quarantine.waiting.take()
        {
            self.quarantine.running = true;
            return self.start(suspect);
        }
        if self.quarantine.is_occupied() {
            return;
        }
        while self.busy < self.slots() && self.settling() < MAX_SETTLING {
            let Some(ready) = self.ready.pop_front() else {
                return;
            };
            self.start(ready);
        }
    }

    fn start(&mut self, ready: Ready) {
        self.busy += 1;
        self.last_start = Instant::now();
        self.role.metrics.set_busy_slots(self.busy);
        let slot = Slot {
            freed: self.freed.clone(),
            service: None,
        };
        self.tasks.spawn(live(Arc::clone(&self.role), ready, slot));
    }

    /// Hands back what has not started, and gives what has the grace period to finish.
    async fn drain(self, mut frees: mpsc::UnboundedReceiver<Option<Duration>>) {
        let Loop {
            role,
            intake,
            held,
            mut ready,
            quarantine,
            mut busy,
            tasks,
            freed,
            ..
        } = self;
        let started = Instant::now();
        ready.extend(quarantine.waiting.map(|(suspect, _)| suspect));
        let unfinished = tasks.len();
        let mut handed_back = ready.len();
        for ready in ready {
            let role = Arc::clone(&role);
            tasks.spawn(async move { ready.give_back(&role.broker, None).await });
        }
        for message in intake.close().await {
            let broker = &role.broker;
            let reply = message.reply.clone();
            if let Ok(delivery) = Delivery::read(message, &broker.jetstream, &broker.topology, None)
            {
                let hold = held.hold(delivery.delivery_sequence, reply);
                let past = None;
                let late = Ready {
                    delivery,
                    past,
                    hold,
                };
                let role = Arc::clone(&role);
                tasks.spawn(async move { late.give_back(&role.broker, None).await });
                handed_back += 1;
            }
        }
        drop(held);
        tasks.close();
        drop(freed);
        let settled = tasks.wait();
        tokio::pin!(settled);
        loop {
            tokio::select! {
                () = &mut settled => break,
                Some(_) = frees.recv() => {
                    busy -= 1;
                    role.metrics.set_busy_slots(busy);
                }
            }
        }
        role.metrics.set_busy_slots(0);
        tracing::info!(
            handed_back,
            unfinished,
            seconds = started.elapsed().as_secs_f64(),
            in_grace = !role.grace_over.is_cancelled(),
            "drained"
        );
    }
}
