//! Injects the faults of a schedule, and heals them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::fleet::{Fleet, signal};
use super::history::{History, What};
use super::schedule::{Fault, Kind};
use super::supervisor::Unit;
use crate::nats_cluster::NatsCluster;
use crate::process::Signal;
use crate::proxy::Link;

/// How long to ask who leads before anybody is struck.
const ASK: Duration = Duration::from_secs(1);
/// How long the servers of a cluster may take to copy all streams to one that lost its disk.
const COPIED_WITHIN: Duration = Duration::from_secs(120);
const FILLER: &str = "filler";
const FILLER_BYTES: usize = 900_000;
/// Filler messages on their way at once.
const FILLER_WINDOW: usize = 16;
/// Above the default `max_payload` of 1 MiB.
const OVERSIZED_BYTES: usize = 2 << 20;

/// Who strikes.
pub struct Nemesis {
    /// The servers; held while one of them is struck.
    pub servers: Arc<Mutex<NatsCluster>>,
    /// Where clients connect to them.
    pub nats_url: String,
    /// The processes.
    pub fleet: Arc<Fleet>,
    /// The record.
    pub history: Arc<History>,
    /// A connection to look who leads, and to fill the store.
    pub jetstream: jetstream::Context,
    /// The farm's streams.
    pub topology: farm_core::topology::Topology,
}

impl Nemesis {
    /// Injects all of `schedule`, counted from `start`; returns when all is healed.
    pub async fn run(&self, schedule: Vec<Fault>, start: Instant) {
        let total = schedule.len();
        let faults = schedule.into_iter().map(|fault| async move {
            sleep_until(start + Duration::from_secs_f64(fault.begin_seconds)).await;
            let target = self.strike(&fault).await;
            self.history.note(What::FaultEnd { fault: fault.fault });
            let (seconds, kind) = (start.elapsed().as_secs_f64(), fault.kind.name());
            let number = fault.fault + 1;
            println!("{seconds:7.1} s  fault {number}/{total}  {kind}  {target}: healed");
        });
        join_all(faults).await;
    }

    fn begin(&self, fault: &Fault, target: &str) {
        self.history.note(What::FaultBegin {
            fault: fault.fault,
            kind: fault.kind,
            target: target.to_owned(),
        });
    }

    /// Injects a fault and heals it; returns whom it struck.
    async fn strike(&self, fault: &Fault) -> String {
        match fault.kind {
            Kind::KillWorker | Kind::KillEmitter | Kind::KillCollector => {
                let unit = self.unit(fault).await;
                self.signal(fault, &unit, Signal::KILL)
            }
            Kind::TerminateWorker | Kind::TerminateEmitter | Kind::TerminateCollector => {
                let unit = self.unit(fault).await;
                self.signal(fault, &unit, Signal::TERM)
            }
            Kind::FreezeWorker | Kind::FreezeCollector => {
                let unit = self.unit(fault).await;
                self.freeze(fault, unit).await
            }
            Kind::KillScaledWorker
            | Kind::KillAutoscaler
            | Kind::TerminateAutoscaler
            | Kind::FreezeAutoscaler => self.strike_platform(fault).await,
            Kind::ResetLink => self.cut(fault, Link::Reset).await,
            Kind::BlackHoleLink => self.cut(fault, Link::BlackHole).await,
            Kind::RestartServer
            | Kind::KillServer
            | Kind::FreezeServer
            | Kind::KillTasksLeader
            | Kind::KillResultsLeader
            | Kind::FreezeTasksLeader
            | Kind::WipeServer => self.strike_server(fault).await,
            Kind::FullStore => self.fill_store(fault).await,
            Kind::OversizedMessage => self.send_oversized(fault).await,
            Kind::ClockJump => self.move_clock(fault),
        }
    }

    fn signal(&self, fault: &Fault, unit: &Unit, signal: Signal) -> String {
        self.begin(fault, &unit.name);
        unit.signal(signal);
        unit.name.clone()
    }

    /// The process that is struck.
    async fn unit(&self, fault: &Fault) -> Arc<Unit> {
        match fault.kind {
            Kind::KillEmitter | Kind::TerminateEmitter => chosen(&self.fleet.emitters, fault),
            Kind::KillCollector | Kind::TerminateCollector | Kind::FreezeCollector => {
                self.leader(fault).await
            }
            _ => chosen(&self.fleet.workers, fault),
        }
    }

    async fn freeze(&self, fault: &Fault, unit: Arc<Unit>) -> String {
        self.begin(fault, &unit.name);
        unit.signal(Signal::STOP);
        last(fault).await;
        unit.signal(Signal::CONT);
        unit.name.clone()
    }

    /// The collector that leads; any, if nobody can say.
    async fn leader(&self, fault: &Fault) -> Arc<Unit> {
        let collectors = &self.fleet.collectors;
        let asked = timeout(ASK, async {
            let lease = self.topology.lease_bucket();
            let lease = self.jetstream.get_key_value(lease).await.ok()?;
            let holder = lease.get("collector").await.ok()??;
            let holder = String::from_utf8_lossy(&holder).into_owned();
            let leads = |unit: &&Arc<Unit>| holder.starts_with(&unit.name);
            collectors.iter().find(leads).cloned()
        });
        let leader = asked.await.ok().flatten();
        leader.unwrap_or_else(|| chosen(collectors, fault))
    }

    async fn strike_platform(&self, fault: &Fault) -> String {
        let Some(scaled) = &self.fleet.scaled else {
            return "nobody".to_owned();
        };
        let (name, process) = match fault.kind {
            Kind::KillScaledWorker => {
                let workers = scaled.workers();
                let index = fault.choice as usize % workers.len().max(1);
                ("scaled worker", workers.get(index).copied())
            }
            _ => ("autoscaler", scaled.autoscaler()),
        };
        self.begin(fault, name);
        // None while it is being started again.
        if let Some(process) = process {
            match fault.kind {
                Kind::TerminateAutoscaler => signal(process, Signal::TERM),
                Kind::FreezeAutoscaler => {
                    signal(process, Signal::STOP);
                    last(fault).await;
                    signal(process, Signal::CONT);
                }
                _ => signal(process, Signal::KILL),
            }
        }
        name.to_owned()
    }

    async fn cut(&self, fault: &Fault, link: Link) -> String {
        self.begin(fault, "worker-1");
        self.fleet.proxy.set(link);
        last(fault).await;
        self.fleet.proxy.set(Link::Whole);
        "worker-1".to_owned()
    }

    async fn strike_server(&self, fault: &Fault) -> String {
        let mut servers = self.servers.lock().await;
        let any = fault.choice as usize % servers.len();
        let node = match fault.kind {
            Kind::KillTasksLeader | Kind::FreezeTasksLeader => {
                self.stream_leader(&servers, self.topology.tasks_stream())
                    .await
            }
            Kind::KillResultsLeader => {
                self.stream_leader(&servers, self.topology.results_stream())
                    .await
            }
            _ => None,
        };
        let node = node.unwrap_or(any);
        let name = servers.name(node);
        if fault.kind == Kind::WipeServer {
            self.copies_are_complete().await;
        }
        self.begin(fault, &name);
        match fault.kind {
            Kind::FreezeServer | Kind::FreezeTasksLeader => {
                servers.signal(node, Signal::STOP);
                last(fault).await;
                servers.signal(node, Signal::CONT);
            }
            Kind::RestartServer => {
                servers.stop(node).await;
                last(fault).await;
                servers.start_again(node);
            }
            Kind::WipeServer => {
                servers.kill(node);
                servers.wipe(node);
                last(fault).await;
                servers.start_again(node);
                servers.ready().await;
                self.copies_are_complete().await;
            }
            _ => {
                servers.kill(node);
                last(fault).await;
                servers.start_again(node);
            }
        }
        servers.ready().await;
        name
    }

    /// Waits until every server has all of every stream, so that the disk of one can be spared.
    async fn copies_are_complete(&self) {
        let complete = |info: &jetstream::stream::Info| {
            let replicas = info.cluster.as_ref().map(|cluster| &cluster.replicas);
            replicas.is_some_and(|all| all.iter().all(|one| one.current && !one.offline))
        };
        let give_up = Instant::now() + COPIED_WITHIN;
        while Instant::now() < give_up {
            let listed = timeout(ASK, self.jetstream.streams().try_collect::<Vec<_>>()).await;
            if let Ok(Ok(streams)) = listed
                && streams.iter().all(complete)
            {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
        panic!("a server does not get its copies of the streams back");
    }

    /// The server that leads a stream; none outside a cluster.
    async fn stream_leader(&self, servers: &NatsCluster, stream: String) -> Option<usize> {
        let asked = timeout(ASK, async {
            let stream = self.jetstream.get_stream(stream).await.ok()?;
            stream.cached_info().cluster.clone()?.leader
        });
        let leader = asked.await.ok().flatten()?;
        (0..servers.len()).find(|node| servers.name(*node) == leader)
    }

    async fn fill_store(&self, fault: &Fault) -> String {
        let servers = self.servers.lock().await;
        self.begin(fault, "store");
        let filler = jetstream::stream::Config {
            name: FILLER.to_owned(),
            subjects: vec![FILLER.to_owned()],
            num_replicas: servers.len(),
            ..Default::default()
        };
        let mut note = "could not be filled";
        if self.jetstream.create_stream(filler).await.is_ok() {
            let most = servers.max_file_store_bytes() as usize / FILLER_BYTES + FILLER_WINDOW;
            if self.fill(most).await {
                note = "full";
            }
            last(fault).await;
        }
        // It may be gone though the answer that said so was lost.
        while self.jetstream.delete_stream(FILLER).await.is_err() && !self.is_gone(FILLER).await {
            sleep(Duration::from_millis(200)).await;
        }
        servers.ready().await;
        format!("store ({note})")
    }

    async fn is_gone(&self, stream: &str) -> bool {
        let found = self.jetstream.get_stream(stream).await;
        found.is_err_and(|error| {
            matches!(error.kind(), GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
        })
    }

    /// Publishes until the store is full; says whether it came to that.
    async fn fill(&self, most: usize) -> bool {
        let body = bytes::Bytes::from(vec![b'x'; FILLER_BYTES]);
        for _ in 0..most.div_ceil(FILLER_WINDOW) {
            let mut publishes = JoinSet::new();
            for _ in 0..FILLER_WINDOW {
                let (jetstream, body) = (self.jetstream.clone(), body.clone());
                publishes.spawn(async move {
                    match jetstream.publish(FILLER, body).await {
                        Ok(stored) => stored.await.is_ok(),
                        Err(_) => false,
                    }
                });
            }
            if publishes.join_all().await.contains(&false) {
                return true;
            }
        }
        false
    }

    /// As a client does that does not look at `max_payload`: the server closes its connection.
    async fn send_oversized(&self, fault: &Fault) -> String {
        let ports = self.servers.lock().await.ports();
        let port = ports[fault.choice as usize % ports.len()];
        self.begin(fault, "server");
        let subject = self.topology.task_wildcard().replace('*', "oversized");
        let head = format!("CONNECT {{\"verbose\":false}}\r\nPUB {subject} {OVERSIZED_BYTES}\r\n");
        let sending = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b'x'; OVERSIZED_BYTES]).await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let _ = timeout(Duration::from_secs(2), sending).await;
        "server".to_owned()
    }

    fn move_clock(&self, fault: &Fault) -> String {
        let units = self.fleet.skewed();
        let unit = chosen(&units, fault);
        self.begin(fault, &unit.name);
        let hours = (fault.choice >> 32) as i64 % 5 - 2;
        if let Some(clock) = &unit.clock {
            clock.set_seconds(hours * 3600);
        }
        format!("{} ({hours:+} h)", unit.name)
    }
}

fn chosen(units: &[Arc<Unit>], fault: &Fault) -> Arc<Unit> {
    Arc::clone(&units[fault.choice as usize % units.len()])
}

async fn last(fault: &Fault) {
    sleep(Duration::from_secs_f64(fault.duration_seconds)).await;
}
