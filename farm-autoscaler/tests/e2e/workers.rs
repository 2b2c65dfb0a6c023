//! The workers of a farm, made up: they take real tasks off a real queue, wait as long as the
//! task says, report, and follow orders and the gateway's replicas.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy};
use async_nats::jetstream::{self, Message};
use farm_core::FarmName;
use farm_core::control::SlotsOrder;
use farm_core::telemetry::WorkerTelemetry;
use farm_core::topology::Topology;
use farm_tests::NatsServer;
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::gateway::{Platform, lock};

const TICK: Duration = Duration::from_millis(20);

/// One farm on NATS with all of its workers. Dropping it ends them.
pub struct Farm {
    pub topology: Topology,
    pub jetstream: jetstream::Context,
    mute: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl Farm {
    /// Starts as many workers as the platform has replicas of `function`, each with one slot.
    pub async fn start(nats: &NatsServer, platform: Arc<Mutex<Platform>>, name: &str) -> Self {
        let topology = Topology::new(FarmName::new(name).expect("a farm name"));
        let client = nats.client().await;
        let jetstream = jetstream::new(client.clone());
        let consumer = create_streams(&jetstream, &topology).await;
        let orders = client
            .subscribe(topology.control_slots_subject())
            .await
            .expect("a subscription");
        let mute = Arc::new(AtomicBool::new(false));
        let crew = Crew {
            client,
            topology: topology.clone(),
            consumer,
            platform,
            function: name.to_owned(),
            mute: Arc::clone(&mute),
            slots: 1,
            replicas: Vec::new(),
            hired: 0,
        };
        Self {
            topology,
            jetstream,
            mute,
            running: tokio::spawn(crew.work(orders)),
        }
    }

    /// Submits `count` tasks that take `service` each, due `deadline` later.
    pub async fn submit(&self, count: usize, service: Duration) {
        for number in 0..count {
            let subject = format!("farm.{}.task.{number}", self.topology.farm());
            let body = service.as_millis().to_string();
            let stored = self.jetstream.publish(subject, body.into()).await;
            stored.expect("published").await.expect("stored");
        }
    }

    /// Ends all reports, while the work goes on.
    pub fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::Relaxed);
    }

    /// The order to the workers that is in force.
    pub async fn slots_ordered(&self) -> Option<u32> {
        let name = self.topology.control_stream();
        let stream = self.jetstream.get_stream(name).await.ok()?;
        let subject = self.topology.control_slots_subject();
        let last = stream
            .get_last_raw_message_by_subject(&subject)
            .await
            .ok()?;
        let order: SlotsOrder = serde_json::from_slice(&last.payload).ok()?;
        Some(order.slots)
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub async fn create_streams(jetstream: &jetstream::Context, topology: &Topology) -> PullConsumer {
    let tasks = stream::Config {
        name: topology.tasks_stream(),
        subjects: vec![topology.task_wildcard()],
        retention: RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    let control = stream::Config {
        name: topology.control_stream(),
        subjects: vec![topology.control_wildcard()],
        max_messages_per_subject: 1,
        ..Default::default()
    };
    let tasks = jetstream.get_or_create_stream(tasks).await.expect("tasks");
    jetstream
        .get_or_create_stream(control)
        .await
        .expect("control");
    let workers = pull::Config {
        durable_name: Some(Topology::WORKERS_CONSUMER.to_owned()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: -1,
        ..Default::default()
    };
    tasks
        .get_or_create_consumer(Topology::WORKERS_CONSUMER, workers)
        .await
        .expect("workers")
}

struct Crew {
    client: async_nats::Client,
    topology: Topology,
    consumer: PullConsumer,
    platform: Arc<Mutex<Platform>>,
    function: String,
    mute: Arc<AtomicBool>,
    slots: u32,
    replicas: Vec<Replica>,
    hired: u32,
}

struct Replica {
    report: WorkerTelemetry,
    in_hand: Vec<Task>,
}

struct Task {
    message: Message,
    begun: Instant,
    service: Duration,
}

impl Crew {
    async fn work(mut self, mut orders: async_nats::Subscriber) {
        loop {
            let deadline = Instant::now() + TICK;
            while let Ok(Some(order)) = tokio::time::timeout_at(deadline, orders.next()).await {
                let order: SlotsOrder = serde_json::from_slice(&order.payload).expect("an order");
                self.slots = order.slots;
            }
            self.follow_the_platform();
            self.settle().await;
            self.take().await;
            if !self.mute.load(Ordering::Relaxed) {
                self.report().await;
            }
        }
    }

    fn follow_the_platform(&mut self) {
        let mut platform = lock(&self.platform);
        let Some(function) = platform.functions.get_mut(&self.function) else {
            self.replicas.clear();
            return;
        };
        function.available_replicas = function.replicas;
        let wanted = usize::try_from(function.replicas).expect("a small number");
        // What a lost replica has in hand is delivered again after the server's ack wait: too
        // long for a test, so the last one keeps working until its hands are empty.
        while self.replicas.len() > wanted
            && self
                .replicas
                .last()
                .is_some_and(|last| last.in_hand.is_empty())
        {
            self.replicas.pop();
        }
        while self.replicas.len() < wanted {
            self.hired += 1;
            let report = WorkerTelemetry {
                replica: format!("{}-{}", self.function, self.hired),
                cold_start_seconds: 0.05,
                ..WorkerTelemetry::default()
            };
            self.replicas.push(Replica {
                report,
                in_hand: Vec::new(),
            });
        }
    }

    async fn settle(&mut self) {
        for replica in &mut self.replicas {
            let mut rest = Vec::new();
            for task in std::mem::take(&mut replica.in_hand) {
                let took = task.begun.elapsed();
                if took < task.service || task.message.ack().await.is_err() {
                    rest.push(task);
                    continue;
                }
                replica.report.tasks_done += 1;
                replica.report.service.observe(took.as_secs_f64());
                replica.report.sojourn.observe(took.as_secs_f64());
                replica.report.with_deadline += 1;
                replica.report.in_deadline += 1;
            }
            replica.in_hand = rest;
        }
    }

    async fn take(&mut self) {
        let slots = self.slots as usize;
        let free: usize = self
            .replicas
            .iter()
            .map(|replica| slots.saturating_sub(replica.in_hand.len()))
            .sum();
        if free == 0 {
            return;
        }
        let batch = self.consumer.fetch().max_messages(free);
        let Ok(mut batch) = batch.messages().await else {
            return;
        };
        while let Some(Ok(message)) = batch.next().await {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            let task = Task {
                begun: Instant::now(),
                service: Duration::from_millis(text.parse().expect("milliseconds")),
                message,
            };
            let idlest = self.replicas.iter_mut().min_by_key(|r| r.in_hand.len());
            idlest.expect("a replica").in_hand.push(task);
        }
    }

    async fn report(&mut self) {
        for replica in &mut self.replicas {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let report = &mut replica.report;
            report.sequence += 1;
            report.sent_seconds = now.expect("after 1970").as_secs_f64();
            report.slots = self.slots;
            report.busy_slots = u32::try_from(replica.in_hand.len()).expect("few");
            let payload = serde_json::to_vec(report).expect("JSON");
            report.service.recent_max_seconds = 0.0;
            report.sojourn.recent_max_seconds = 0.0;
            let subject = self.topology.telemetry_subject();
            let _ = self.client.publish(subject, payload.into()).await;
        }
    }
}
