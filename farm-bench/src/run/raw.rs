//! A run of the raw loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;

use super::{LIMIT_SECONDS, Reading, Run, Storage};
use crate::child::{Process, Talker, guarded};
use crate::error::Error;
use crate::part::Part;
use crate::raw::{Gathered, Load, Safety, connect, create};
use crate::server::{Durability, Server};
use crate::task::Work;

/// How a raw loop is set up for a run.
#[derive(Debug, Clone)]
pub(crate) struct RawSetup {
    pub nats_server: PathBuf,
    pub storage: Storage,
    pub workers: usize,
    /// Tasks in one message.
    pub chunk: u32,
    /// Tasks of a job before the measured one.
    pub cold_tasks: u64,
    pub safety: Safety,
    pub durability: Durability,
}

impl RawSetup {
    /// The loop that farms are compared with.
    pub fn baseline(nats_server: &Path, storage: Storage, workers: usize, chunk: u32) -> Self {
        Self {
            nats_server: nats_server.to_owned(),
            storage,
            workers,
            chunk,
            cold_tasks: 0,
            safety: Safety::BASELINE,
            durability: Durability::Process,
        }
    }
}

/// The raw loop, ready to begin.
pub(crate) struct RawLoop {
    servers: Vec<Server>,
    emitter: Talker,
    workers: Vec<Talker>,
    collector: Talker,
    load: Load,
    /// What the parts print, for as long as they run.
    _logs: TempDir,
}

impl RawLoop {
    /// Starts its servers and all parts, and waits until they are ready.
    pub async fn start(setup: RawSetup, work: Work) -> Result<Self, Error> {
        let servers = setup.durability.start(&setup.nats_server).await?;
        let load = Load {
            url: servers
                .iter()
                .map(Server::url)
                .collect::<Vec<_>>()
                .join(","),
            work,
            chunk: setup.chunk,
            cold_tasks: setup.cold_tasks,
            safety: setup.safety,
        };
        let (storage, replicas) = (setup.storage.nats(), setup.durability.replicas());
        create(connect(&load).await?, storage, replicas, setup.safety).await?;
        let logs = tempfile::tempdir().map_err(Error::io("create a folder for the run"))?;
        let folder = logs.path();
        let starting = async {
            let mut started = Vec::new();
            for number in 0..setup.workers {
                let part = Part::RawWorker(load.clone());
                started.push(Talker::start(&format!("raw-worker-{number}"), &part, folder).await?);
            }
            let collector = Part::RawCollector(load.clone());
            let collector = Talker::start("raw-collector", &collector, folder).await?;
            let emitter = Part::RawEmitter(load.clone());
            let emitter = Talker::start("raw-emitter", &emitter, folder).await?;
            Ok((started, collector, emitter))
        };
        let what = "the start of the raw loop";
        let started = guarded(what, LIMIT_SECONDS, processes(&servers), starting).await;
        let (workers, collector, emitter) = started?;
        Ok(Self {
            servers,
            emitter,
            workers,
            collector,
            load,
            _logs: logs,
        })
    }

    /// Runs it once, and measures the last job.
    pub async fn run(mut self) -> Result<Run, Error> {
        if self.load.cold_tasks > 0 {
            self.job().await?;
        }
        let before = self.reading().await?;
        let seconds = self.job().await?;
        let after = self.reading().await?;
        let gathered = self.collector.hear().await?;
        let gathered: Gathered = serde_json::from_str(&gathered).map_err(|_| Error::Account {
            what: "the raw loop".to_owned(),
            found: gathered.clone(),
            expected: "what its collector has gathered".to_owned(),
        })?;
        self.check(&gathered)?;
        Ok(Run {
            latency_microseconds: gathered.latency_microseconds,
            ..after.since(&before, self.load.work, seconds)
        })
    }

    /// Runs the next job: from the word to begin until every result is gathered, in seconds.
    async fn job(&mut self) -> Result<f64, Error> {
        let begun = Instant::now();
        self.emitter.go().await?;
        let parts = self.workers.iter().map(|worker| &worker.process);
        let parts = parts.chain([&self.emitter.process]);
        let parts = parts.chain(processes(&self.servers));
        let gathered = self.collector.hear();
        guarded("a run of the raw loop", LIMIT_SECONDS, parts, gathered).await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Publishes all tasks and waits until they are stored: tasks a second.
    pub async fn publish(mut self) -> Result<f64, Error> {
        let begun = Instant::now();
        self.emitter.go().await?;
        let stored = self.emitter.hear();
        let servers = processes(&self.servers);
        guarded("publishing", LIMIT_SECONDS, servers, stored).await?;
        Ok(self.load.work.tasks as f64 / begun.elapsed().as_secs_f64())
    }

    fn check(&self, gathered: &Gathered) -> Result<(), Error> {
        let expected = self.load.cold_tasks + self.load.work.tasks;
        if gathered.tasks == expected && gathered.repeated == 0 {
            return Ok(());
        }
        let (tasks, repeated) = (gathered.tasks, gathered.repeated);
        Err(Error::Account {
            what: "the raw loop".to_owned(),
            found: format!("{tasks} results and {repeated} more"),
            expected: format!("{expected} results"),
        })
    }

    async fn reading(&self) -> Result<Reading, Error> {
        let workers = self.workers.iter().map(|worker| &worker.process);
        let (emitter, collector) = (&self.emitter.process, &self.collector.process);
        Reading::take(&self.servers, emitter, workers, collector).await
    }
}

fn processes(servers: &[Server]) -> impl Iterator<Item = &Process> {
    servers.iter().map(|server| &server.process)
}
