//! What is measured, by name.

mod throughput;

use crate::bench::Bench;
use crate::error::Error;
use crate::report::Report;

/// A thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Tasks a second, by size, storage, workers and tasks in a message.
    Throughput,
}

impl Scenario {
    /// Every scenario, in the order they run.
    pub const ALL: [Scenario; 1] = [Scenario::Throughput];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Throughput => "throughput",
        }
    }

    /// What it measures, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Scenario::Throughput => "tasks a second, by size, storage, workers and granularity",
        }
    }

    pub(crate) async fn run(self, bench: &Bench) -> Result<Report, Error> {
        match self {
            Scenario::Throughput => throughput::run(bench).await,
        }
    }
}
