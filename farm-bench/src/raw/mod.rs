//! The raw loop: what a person who knows NATS well writes for this benchmark and nothing else.
//!
//! Same server, same payloads, same storage, same number of processes as the farm beside it. Tasks go
//! through a work-queue stream and results through a second stream, both with message ids, so that the
//! server drops what is published twice. Everything is pipelined: 4096 publishes wait for their
//! acknowledgements at once, pulls bring 256 messages, a task is acknowledged, without confirmation,
//! once its result is stored, and the collector acknowledges every 256th result for all before it.
//!
//! What it does without, and a farm does not: jobs and their progress, deadlines, retries, dead
//! letters, heartbeats for long tasks, back-pressure, drain, metrics, traces, an HTTP face, JSON of the
//! user's types, and a result that stays the only one of its task for longer than the server's window of
//! two minutes. A message that is refused or lost ends the run.

mod collector;
mod emitter;
mod once;
mod publisher;
mod streams;
mod worker;

use std::io::{BufRead, Write};
use std::ops::Range;

use async_nats::ServerAddr;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncBufReadExt;
use tokio::sync::mpsc;

pub(crate) use collector::collect;
pub(crate) use emitter::emit;
pub(crate) use once::Once;
pub(crate) use streams::{RESULTS, TASK_SUBJECT, create};
pub(crate) use worker::work;

use crate::error::Error;
use crate::task::Work;

/// Publishes on their way at once.
const WINDOW: usize = 4096;
/// The same in bytes: a server refuses what its stream cannot take in, from 128 MiB on.
const WINDOW_BYTES: usize = 32 << 20;
/// Messages a pull brings at most.
const PULL_BATCH: usize = 256;

/// What all parts of one raw run are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// Of the server, or of several with commas between.
    pub(crate) url: String,
    pub(crate) work: Work,
    /// Tasks in one message.
    pub(crate) chunk: u32,
    /// Tasks of a job before the measured one.
    pub(crate) cold_tasks: u64,
    pub(crate) safety: Safety,
}

impl Load {
    /// Numbers of the tasks of each job, one job after the other.
    fn jobs(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        let (cold, all) = (self.cold_tasks, self.cold_tasks + self.work.tasks);
        [0..cold, cold..all]
            .into_iter()
            .filter(|job| !job.is_empty())
    }
}

/// What a raw loop guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Safety {
    pub once: Once,
    pub gathering: Gathering,
}

impl Safety {
    /// Message ids everywhere, every result acknowledged: what the farm is compared with.
    pub const BASELINE: Self = Self {
        once: Once::MessageIds,
        gathering: Gathering::Acknowledged,
    };
}

/// How the collector reads results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Gathering {
    /// Whole, and acknowledged: the server remembers how far it came.
    Acknowledged,
    /// Without their bodies, and without a word back.
    HeadersOnly,
}

/// What the collector of a run has gathered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Gathered {
    /// Results, each task counted once.
    pub tasks: u64,
    /// Results of tasks that had one already.
    pub repeated: u64,
    /// From the intended time of a task until its result was here, in microseconds: value and how often.
    pub latency_microseconds: Vec<(u64, u64)>,
}

/// Connects to the server, or to one of several.
pub(crate) async fn connect(load: &Load) -> Result<async_nats::Client, Error> {
    let servers: Result<Vec<ServerAddr>, _> = load.url.split(',').map(str::parse).collect();
    let servers = servers.map_err(Error::broker("read the addresses of its servers"))?;
    let connected = async_nats::connect(servers).await;
    connected.map_err(Error::broker("connect"))
}

/// Tells the benchmark something.
fn say(line: &str) -> Result<(), Error> {
    let mut output = std::io::stdout();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(Error::io("talk to the benchmark"))
}

/// Hears what the benchmark says, a line each; ends this process when the benchmark is gone.
fn orders() -> mpsc::UnboundedReceiver<()> {
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(());
        }
        std::process::exit(0);
    });
    orders
}

/// Returns when the benchmark says something, or is gone.
async fn told() -> bool {
    let mut line = String::new();
    let mut input = tokio::io::BufReader::new(tokio::io::stdin());
    matches!(input.read_line(&mut line).await, Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_job_goes_on_where_the_one_before_ended() {
        let work = Work {
            tasks: 100,
            task_bytes: 64,
            spin_rounds: 0,
            rate_per_second: None,
        };
        let load = |cold_tasks| Load {
            url: String::new(),
            work,
            chunk: 1,
            cold_tasks,
            safety: Safety::BASELINE,
        };
        assert_eq!(load(20).jobs().collect::<Vec<_>>(), [0..20, 20..120]);
        assert_eq!(load(0).jobs().collect::<Vec<_>>(), vec![0..100]);
    }
}
