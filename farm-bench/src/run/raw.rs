//! A run of the raw loop.

use std::path::Path;
use std::time::Instant;

use super::{LIMIT_SECONDS, Reading, Run, Storage};
use crate::child::{Talker, guarded};
use crate::error::Error;
use crate::part::Part;
use crate::raw::{Gathered, Load, create};
use crate::server::Server;
use crate::task::Work;

/// The raw loop, ready to begin.
pub(crate) struct RawLoop {
    server: Server,
    emitter: Talker,
    workers: Vec<Talker>,
    collector: Talker,
    work: Work,
}

impl RawLoop {
    /// Starts a server and all parts, and waits until they are ready.
    pub async fn start(
        nats_server: &Path,
        storage: Storage,
        workers: usize,
        chunk: u32,
        work: Work,
    ) -> Result<Self, Error> {
        let server = Server::start(nats_server).await?;
        create(server.connect().await?, storage.nats()).await?;
        let load = Load {
            url: server.url(),
            work,
            chunk,
        };
        let folder = server.folder();
        let starting = async {
            let mut started = Vec::new();
            for number in 0..workers {
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
        let started = guarded(what, LIMIT_SECONDS, [&server.process], starting).await;
        let (workers, collector, emitter) = started?;
        Ok(Self {
            server,
            emitter,
            workers,
            collector,
            work,
        })
    }

    /// Runs it once.
    pub async fn run(mut self) -> Result<Run, Error> {
        let before = self.reading().await?;
        let begun = Instant::now();
        self.emitter.go().await?;
        let parts = self.workers.iter().map(|worker| &worker.process);
        let parts = parts.chain([&self.server.process, &self.emitter.process]);
        let gathered = self.collector.hear();
        guarded("a run of the raw loop", LIMIT_SECONDS, parts, gathered).await?;
        let seconds = begun.elapsed().as_secs_f64();
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
            ..after.since(&before, self.work, seconds)
        })
    }

    /// Publishes all tasks and waits until they are stored: tasks a second.
    pub async fn publish(mut self) -> Result<f64, Error> {
        let begun = Instant::now();
        self.emitter.go().await?;
        let stored = self.emitter.hear();
        let server = [&self.server.process];
        guarded("publishing", LIMIT_SECONDS, server, stored).await?;
        Ok(self.work.tasks as f64 / begun.elapsed().as_secs_f64())
    }

    fn check(&self, gathered: &Gathered) -> Result<(), Error> {
        if gathered.tasks == self.work.tasks && gathered.repeated == 0 {
            return Ok(());
        }
        let (tasks, repeated) = (gathered.tasks, gathered.repeated);
        Err(Error::Account {
            what: "the raw loop".to_owned(),
            found: format!("{tasks} results and {repeated} more"),
            expected: format!("{} results", self.work.tasks),
        })
    }

    async fn reading(&self) -> Result<Reading, Error> {
        let workers = self.workers.iter().map(|worker| &worker.process);
        let (emitter, collector) = (&self.emitter.process, &self.collector.process);
        Reading::take(&self.server, emitter, workers, collector).await
    }
}
