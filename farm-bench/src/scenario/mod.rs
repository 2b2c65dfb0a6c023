//! What is measured, by name.

mod flow;
mod footprint;
mod granularity;
mod latency;
mod safety;
mod throughput;
mod turns;

use crate::bench::Bench;
use crate::error::Error;
use crate::report::Findings;

/// A thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Tasks a second, by size, storage, workers and tasks in a message.
    Throughput,
    /// What each guarantee costs, on the raw loop.
    Safety,
    /// From the intended submit until the result is collected, at fixed rates.
    Latency,
    /// The share of the workers' time that goes into tasks, by service time.
    Granularity,
    /// Cold start, memory, idle cost, many idle workers.
    Footprint,
    /// How fast NDJSON is taken in over HTTP.
    Ingest,
    /// How fast results are streamed over HTTP.
    Results,
}

impl Scenario {
    /// Every scenario, in the order they run.
    pub const ALL: [Scenario; 7] = [
        Scenario::Throughput,
        Scenario::Safety,
        Scenario::Latency,
        Scenario::Granularity,
        Scenario::Footprint,
        Scenario::Ingest,
        Scenario::Results,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Throughput => "throughput",
            Scenario::Safety => "safety",
            Scenario::Latency => "latency",
            Scenario::Granularity => "granularity",
            Scenario::Footprint => "footprint",
            Scenario::Ingest => "ingest",
            Scenario::Results => "results",
        }
    }

    /// What it measures, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Scenario::Throughput => "tasks a second, by size, storage, workers and granularity",
            Scenario::Safety => "what each guarantee costs, on the raw loop",
            Scenario::Latency => "submit to collected result at fixed rates",
            Scenario::Granularity => "efficiency by service time, 0 to 10 ms",
            Scenario::Footprint => "cold start, memory, idle cost, many idle workers",
            Scenario::Ingest => "NDJSON taken in over HTTP",
            Scenario::Results => "results streamed over HTTP",
        }
    }

    pub(crate) async fn run(self, bench: &Bench) -> Result<Findings, Error> {
        match self {
            Scenario::Throughput => throughput::run(bench).await,
            Scenario::Safety => safety::run(bench).await,
            Scenario::Latency => latency::run(bench).await,
            Scenario::Granularity => granularity::run(bench).await,
            Scenario::Footprint => footprint::run(bench).await,
            Scenario::Ingest => flow::ingest(bench).await,
            Scenario::Results => flow::results(bench).await,
        }
    }
}
