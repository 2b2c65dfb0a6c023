//! The benchmark as a whole: what it is set to, and scenario after scenario.

use std::path::PathBuf;
use std::time::Instant;

use crate::error::Error;
use crate::machine::Machine;
use crate::report::{Document, Report};
use crate::scenario::Scenario;

/// What to measure and how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The NATS server to start.
    pub nats_server: PathBuf,
    /// Runs of either side for every figure.
    pub pairs: usize,
    /// How long a run of the faster side is meant to take, in seconds.
    pub run_seconds: f64,
    /// Tasks of a run at most; as many as fit into the time if absent.
    pub max_tasks: Option<u64>,
    /// `FARM_SLOTS` of the workers.
    pub slots: usize,
    /// Every combination, not only those that tell most.
    pub all: bool,
    /// Of the throughput, only combinations whose name holds one of these; all if there are none.
    pub only: Vec<String>,
    /// How long to watch idle workers, in seconds.
    pub idle_seconds: f64,
    /// How many idle workers to start at once.
    pub idle_workers: usize,
    /// Another function, whose cold start and memory are measured too.
    pub function: Option<PathBuf>,
    /// A job for that function, as JSON.
    pub function_job: String,
}

/// A benchmark, one scenario at a time.
pub struct Bench {
    pub(crate) settings: Settings,
    machine: Machine,
    progress: Box<dyn Fn(&str) + Send + Sync>,
}

impl Bench {
    /// A benchmark that tells `progress` what it does.
    pub fn new(settings: Settings, progress: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            machine: Machine::describe(&settings.nats_server),
            settings,
            progress: Box::new(progress),
        }
    }

    /// The machine, as it was before the first run.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs one scenario.
    ///
    /// # Errors
    /// A process cannot be started or ends early, or tasks are lost or come twice.
    pub async fn run(&self, scenario: Scenario) -> Result<Report, Error> {
        let begun = Instant::now();
        let findings = scenario.run(self).await?;
        Ok(Report {
            scenario: scenario.name(),
            elapsed_seconds: begun.elapsed().as_secs_f64(),
            findings,
        })
    }

    /// Where reports come from, for them to be added.
    pub fn document(&self) -> Document {
        Document {
            machine: self.machine.clone(),
            pairs: self.settings.pairs,
            run_seconds: self.settings.run_seconds,
            slots: self.settings.slots,
            scenarios: Vec::new(),
        }
    }

    pub(crate) fn say(&self, words: impl AsRef<str>) {
        (self.progress)(words.as_ref());
    }
}
