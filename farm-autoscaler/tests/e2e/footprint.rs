//! What the autoscaler costs, and how quickly it decides. A measurement, not a test:
//!
//! ```text
//! cargo test --release -p farm-autoscaler --test e2e footprint -- --ignored --nocapture
//! ```

use std::time::Duration;

use async_nats::jetstream;
use farm_core::FarmName;
use farm_core::decision::{DecisionEvent, Outcome};
use farm_core::telemetry::WorkerTelemetry;
use farm_core::topology::Topology;
use futures_util::StreamExt;
use tokio::time::{Instant, MissedTickBehavior};

use crate::scene::Scene;
use crate::workers::create_streams;

const REPLICAS: u64 = 5;
const TASKS_PER_SECOND: u64 = 5;
const WARM_UP: Duration = Duration::from_secs(10);
/// `USER_HZ` of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of some minutes"]
async fn footprint() {
    println!("| farms | CPU, % of a core | RSS, MB | decide p50, ms | p99, ms | decisions |");
    println!("|---|---|---|---|---|---|");
    // The last one long enough to fill all histories.
    for (farms, seconds) in [(1, 30), (10, 30), (100, 200)] {
        measure(farms, Life::Works, Duration::from_secs(seconds)).await;
    }
    measure(100, Life::Sleeps, Duration::from_secs(30)).await;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Works,
    /// No replicas and no tasks: only somebody who watches for the first one.
    Sleeps,
}

async fn measure(farms: usize, life: Life, time: Duration) {
    let scene = Scene::open().await;
    let client = scene.nats.client().await;
    let mut crowds = Vec::new();
    for number in 0..farms {
        let name = format!("farm-{number}");
        scene.gateway.deploy(&name, &annotations(life));
        let replicas = if life == Life::Works { REPLICAS } else { 0 };
        {
            let mut platform = scene.gateway.platform();
            let function = platform.functions.get_mut(&name).expect("just deployed");
            (function.replicas, function.available_replicas) = (replicas, replicas);
        }
        match life {
            Life::Works => crowds.push(tokio::spawn(live(client.clone(), name))),
            Life::Sleeps => {
                let topology = Topology::new(FarmName::new(name).unwrap());
                create_streams(&jetstream::new(client.clone()), &topology).await;
            }
        }
    }
    let mut events = client.subscribe(Topology::ALL_DECISIONS).await.unwrap();
    let scaler = scene.autoscaler_with("measured", &[("FARM_SCALER_INTERVAL", "2s")]);
    scaler.leads().await;
    tokio::time::sleep(WARM_UP).await;

    let process = scaler.process.id();
    let (begun, cpu) = (Instant::now(), cpu_seconds(process));
    let mut latencies = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout_at(begun + time, events.next()).await {
        let event: DecisionEvent = serde_json::from_slice(&message.payload).unwrap();
        if event.outcome != Outcome::Held {
            latencies.push(event.observe_seconds + event.decide_seconds + event.act_seconds);
        }
    }
    let share = (cpu_seconds(process) - cpu) / begun.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| 1e3 * latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "| {farms} ({life:?}) | {:.2} | {:.1} | {:.2} | {:.2} | {} |",
        100.0 * share,
        resident_megabytes(process),
        at(0.5),
        at(0.99),
        latencies.len(),
    );
    crowds.iter().for_each(tokio::task::JoinHandle::abort);
}

fn annotations(life: Life) -> [(&'static str, &'static str); 6] {
    [
        ("farm.policy", "predictive"),
        ("farm.min", if life == Life::Works { "1" } else { "0" }),
        ("farm.idle", "1s"),
        ("farm.max", "20"),
        ("farm.slots.max", "4"),
        ("farm.deadline", "2s"),
    ]
}

/// A farm at work: tasks come and go, and its replicas report once a second.
async fn live(client: async_nats::Client, name: String) {
    let topology = Topology::new(FarmName::new(name).unwrap());
    let jetstream = jetstream::new(client.clone());
    let workers = create_streams(&jetstream, &topology).await;
    let mut report = WorkerTelemetry {
        slots: 4,
        ..WorkerTelemetry::default()
    };
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for number in 0..TASKS_PER_SECOND {
            let subject = format!("farm.{}.task.{number}", topology.farm());
            client.publish(subject, "7".into()).await.unwrap();
        }
        let mut batch = workers.fetch().max_messages(20).messages().await.unwrap();
        while let Some(Ok(message)) = batch.next().await {
            message.ack().await.unwrap();
            report.service.observe(0.1);
            report.sojourn.observe(0.2);
            report.with_deadline += 1;
            report.in_deadline += 1;
        }
        report.sequence += 1;
        for replica in 0..REPLICAS {
            report.replica = format!("{}-6d4cf56db6-{replica:05}", topology.farm());
            let payload = serde_json::to_vec(&report).unwrap();
            let subject = topology.telemetry_subject();
            client.publish(subject, payload.into()).await.unwrap();
        }
    }
}

/// Processor time a process has used.
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: f64 = ticks.map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / TICKS_PER_SECOND
}

fn resident_megabytes(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<f64>().unwrap() * 1_024.0 / 1e6
}
