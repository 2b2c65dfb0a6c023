//! One run: a fresh server, fresh processes, a job, and what it took.

mod farm;
mod raw;

use async_nats::jetstream::stream::StorageType;
use serde::Serialize;

pub(crate) use farm::{Farm, FarmSetup, encode, ready};
pub(crate) use raw::{RawLoop, RawSetup};

use crate::child::Process;
use crate::error::Error;
use crate::server::{Server, Traffic};
use crate::task::Work;
use crate::usage::{Usage, machine_cpu_seconds};

/// How long a run may take, in seconds; it is meant to take a few.
pub(crate) const LIMIT_SECONDS: u64 = 300;

/// Tasks of a job before the measured one, on both sides: a farm that has seen no task of its kind
/// does not know yet how long they take.
pub(crate) const COLD_TASKS: u64 = 5_000;

/// Where the streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Storage {
    File,
    Memory,
}

impl Storage {
    pub fn name(self) -> &'static str {
        match self {
            Storage::File => "file",
            Storage::Memory => "memory",
        }
    }

    fn nats(self) -> StorageType {
        match self {
            Storage::File => StorageType::File,
            Storage::Memory => StorageType::Memory,
        }
    }
}

/// Processor time by part, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct CpuSeconds {
    pub server: f64,
    pub emitter: f64,
    pub workers: f64,
    pub collector: f64,
}

impl CpuSeconds {
    /// All but the workers, in seconds.
    pub fn but_workers(self) -> f64 {
        self.server + self.emitter + self.collector
    }
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub tasks: u64,
    /// From the start of the submit until all results were counted.
    pub seconds: f64,
    pub tasks_per_second: f64,
    pub cpu_seconds: CpuSeconds,
    /// Processor time of everything else on the machine meanwhile, the benchmark's client included.
    pub foreign_cpu_seconds: f64,
    /// Headers and bodies of messages to and from the server, in bytes; between several at both ends.
    pub wire_bytes: u64,
    /// Messages to and from the server, acknowledgements included.
    pub messages: u64,
    /// Bytes the server wrote to disk.
    pub disk_bytes: u64,
    /// From the intended time until the result was here, in microseconds: value and how often.
    #[serde(skip)]
    pub latency_microseconds: Vec<(u64, u64)>,
}

/// The counts of all parts at one moment.
struct Reading {
    server: Usage,
    emitter: Usage,
    workers: Usage,
    collector: Usage,
    traffic: Traffic,
    machine_cpu_seconds: f64,
}

impl Reading {
    async fn take(
        servers: &[Server],
        emitter: &Process,
        workers: impl IntoIterator<Item = &Process>,
        collector: &Process,
    ) -> Result<Self, Error> {
        let workers = workers.into_iter().map(Process::usage);
        let mut traffics = Vec::new();
        for server in servers {
            traffics.push(server.traffic().await?);
        }
        let servers = servers.iter().map(Server::usage);
        Ok(Self {
            server: servers.sum::<Result<Usage, Error>>()?,
            emitter: emitter.usage()?,
            workers: workers.sum::<Result<Usage, Error>>()?,
            collector: collector.usage()?,
            traffic: traffics.into_iter().sum(),
            machine_cpu_seconds: machine_cpu_seconds()?,
        })
    }

    /// The run that lies between `earlier` and this.
    fn since(&self, earlier: &Self, work: Work, seconds: f64) -> Run {
        let traffic = self.traffic - earlier.traffic;
        let server = self.server - earlier.server;
        let cpu_seconds = CpuSeconds {
            server: server.cpu_seconds,
            emitter: (self.emitter - earlier.emitter).cpu_seconds,
            workers: (self.workers - earlier.workers).cpu_seconds,
            collector: (self.collector - earlier.collector).cpu_seconds,
        };
        let all = self.machine_cpu_seconds - earlier.machine_cpu_seconds;
        Run {
            tasks: work.tasks,
            seconds,
            tasks_per_second: work.tasks as f64 / seconds.max(1e-9),
            cpu_seconds,
            foreign_cpu_seconds: (all - cpu_seconds.but_workers() - cpu_seconds.workers).max(0.0),
            wire_bytes: traffic.in_bytes + traffic.out_bytes,
            messages: traffic.in_msgs + traffic.out_msgs,
            disk_bytes: server.disk_bytes,
            latency_microseconds: Vec::new(),
        }
    }
}
