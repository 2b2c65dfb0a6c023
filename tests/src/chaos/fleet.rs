//! The farm's processes: emitters, collectors, workers, and under `farm up` the autoscaler with the
//! workers that it scales.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinSet;

use super::supervisor::Unit;
use crate::client::Client;
use crate::eventually::eventually;
use crate::farm_up::{FarmUp, Workplace};
use crate::function::Function;
use crate::proxy::Proxy;
use crate::skew::Skew;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Deliveries that end without a word before a task is given up. Far above what a campaign does to
/// one task: a task that is given up nevertheless is a finding.
pub const MAX_DELIVERIES: u64 = 60;
/// Failed attempts before a task is given up.
pub const MAX_ATTEMPTS: u64 = 20;

/// What every process of the campaign is told.
fn settings(replicas: usize) -> Vec<(&'static str, String)> {
    vec![
        ("FARM_ACK_WAIT", "2s".to_owned()),
        ("FARM_BACKOFF", "50ms".to_owned()),
        ("FARM_BACKOFF_MAX", "1s".to_owned()),
        ("FARM_MAX_ATTEMPTS", MAX_ATTEMPTS.to_string()),
        ("FARM_MAX_DELIVERIES", MAX_DELIVERIES.to_string()),
        ("FARM_QUEUE_MAX_BYTES", "64MiB".to_owned()),
        ("FARM_CONNECT_TIMEOUT", "60s".to_owned()),
        ("FARM_GRACE_PERIOD", "5s".to_owned()),
        ("FARM_TELEMETRY_INTERVAL", "200ms".to_owned()),
        ("FARM_REPLICAS", replicas.to_string()),
        ("FARM_LOG", "info".to_owned()),
    ]
}

/// The running farm. Dropping it kills its processes.
pub struct Fleet {
    /// Two processes that take jobs in, one of them in chunks.
    pub emitters: Vec<Arc<Unit>>,
    /// Two processes that count results; one of them leads.
    pub collectors: Vec<Arc<Unit>>,
    /// Three workers: one with many slots, one behind the proxy, one with a clock that is wrong.
    pub workers: Vec<Arc<Unit>>,
    /// Between one worker and NATS.
    pub proxy: Proxy,
    /// The autoscaler and what it scales.
    pub scaled: Option<Scaled>,
    supervisors: JoinSet<()>,
    _skew: Skew,
}

impl Fleet {
    /// Starts everything against the servers on `nats_ports`, and waits until it is ready.
    pub async fn start(
        nats_url: &str,
        nats_ports: Vec<u16>,
        autoscaler: bool,
        keep: Option<&Path>,
    ) -> Self {
        let replicas = nats_ports.len();
        let skew = Skew::compile();
        let proxy = Proxy::start(nats_ports).await;
        let proxy_url = format!("nats://127.0.0.1:{}", proxy.port());
        let keep = keep.map(Path::to_owned);
        let base = settings(replicas)
            .into_iter()
            .fold(Function::sleeper_at(nats_url), |function, (key, value)| {
                function.set(key, value)
            });
        let unit = |name: &str, function: Function| Unit::start(name, function, None, keep.clone());
        let skewed = |name: &str, function: Function, seconds: i64| {
            let clock = skew.clock(name);
            clock.set_seconds(seconds);
            let function = function
                .set("LD_PRELOAD", skew.shim().display())
                .set("SKEW_FILE", clock.file.display());
            Unit::start(name, function, Some(clock), keep.clone())
        };
        let worker = base.clone().roles("worker");
        let collector = base.clone().roles("collector");
        let emitter = base.clone().roles("emitter");
        // The first creates the streams, alone: a cluster needs its time for that.
        let emitters = vec![unit("emitter-0", emitter.clone())];
        await_ready(&emitters).await;
        let mut fleet = Self {
            emitters,
            collectors: vec![
                unit("collector-0", collector.clone()),
                skewed("collector-1", collector, 3600),
            ],
            workers: vec![
                unit("worker-0", worker.clone().set("FARM_SLOTS", 8)),
                unit(
                    "worker-1",
                    worker
                        .clone()
                        .set("FARM_SLOTS", 4)
                        .set("FARM_NATS_URL", proxy_url),
                ),
                skewed("worker-2", worker.set("FARM_SLOTS", 4), 3600),
            ],
            proxy,
            scaled: None,
            supervisors: JoinSet::new(),
            _skew: skew,
        };
        fleet.emitters.push({
            let clock = fleet._skew.clock("emitter-1");
            clock.set_seconds(-3600);
            let function = emitter
                // Its tasks come in chunks, whatever the workers measure.
                .set("FARM_GRANULARITY", 8)
                .set("LD_PRELOAD", fleet._skew.shim().display())
                .set("SKEW_FILE", clock.file.display());
            Unit::start("emitter-1", function, Some(clock), keep.clone())
        });
        for units in [&fleet.emitters, &fleet.collectors, &fleet.workers] {
            await_ready(units).await;
        }
        if autoscaler {
            fleet.scaled = Some(Scaled::start(nats_url, replicas, keep).await);
        }
        for unit in fleet.units() {
            fleet.supervisors.spawn(unit.supervise());
        }
        fleet
    }

    /// All processes that are supervised here.
    pub fn units(&self) -> Vec<Arc<Unit>> {
        let units = [&self.emitters, &self.collectors, &self.workers];
        units.into_iter().flatten().cloned().collect()
    }

    /// The processes whose clocks can be moved.
    pub fn skewed(&self) -> Vec<Arc<Unit>> {
        let mut units = self.units();
        units.retain(|unit| unit.clock.is_some());
        units
    }

    /// Keeps what everything has printed, if anything is kept.
    pub fn keep_output(&self) {
        for unit in self.units() {
            unit.keep_output();
        }
        if let Some(scaled) = &self.scaled {
            scaled.keep_output();
        }
    }
}

async fn await_ready(units: &[Arc<Unit>]) {
    for unit in units {
        let client = Client::new(&unit.base);
        let what = format!("{} is ready", unit.name);
        eventually(&what, STARTS_WITHIN, async || {
            client.is_ready().await.then_some(())
        })
        .await;
    }
}

/// A worker function that the autoscaler scales, under `farm up`.
pub struct Scaled {
    up: FarmUp,
    keep: Option<PathBuf>,
    _workplace: Workplace,
}

impl Scaled {
    async fn start(nats_url: &str, replicas: usize, keep: Option<PathBuf>) -> Self {
        let workplace = Workplace::new();
        workplace.copy("template", "template");
        workplace.copy("examples/sleeper", "sleeper");
        workplace.write("stack.yml", &stack(replicas));
        let up = workplace.up(&["--nats", nats_url, "--logs"]).await;
        Self {
            up,
            keep,
            _workplace: workplace,
        }
    }

    /// The autoscaler's process, if it runs just now.
    pub fn autoscaler(&self) -> Option<u32> {
        let is_autoscaler = |id: &u32| {
            let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            words
                .split(|byte| *byte == 0)
                .any(|word| word == b"autoscaler")
        };
        self.up.descendants().into_iter().find(is_autoscaler)
    }

    /// The processes of the workers that run just now.
    pub fn workers(&self) -> Vec<u32> {
        let is_worker = |id: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            name.trim_end() == "sleeper"
        };
        let mut workers = self.up.descendants();
        workers.retain(is_worker);
        workers
    }

    fn keep_output(&self) {
        if let Some(folder) = &self.keep {
            let output = self.up.process.output();
            std::fs::write(folder.join("farm-up.log"), output).expect("a log can be kept");
        }
    }
}

/// Sends a process a signal, if it still runs.
pub fn signal(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
}

fn stack(replicas: usize) -> String {
    let settings = settings(replicas);
    let settings = settings
        .iter()
        .map(|(key, value)| format!(", {key}: {value:?}"));
    let settings: String = settings.collect();
    format!(
        r#"version: 1.0
provider: {{name: openfaas, gateway: http://127.0.0.1:8080}}
functions:
  sleeper-worker:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {{FARM_NAME: sleeper, FARM_ROLE: worker{settings}}}
    labels: {{com.openfaas.scale.min: "1"}}
    annotations:
      farm.name: sleeper
      farm.policy: queue
      farm.max: "12"
      farm.slots.max: "4"
      farm.interval: 1s
      farm.stabilisation: 3s
  farm-autoscaler:
    lang: dockerfile
    handler: .
    skip_build: true
    image: test/farm-autoscaler:1
    environment: {{FARM_SCALER_INTERVAL: 1s}}
    secrets: [basic-auth]
"#
    )
}
