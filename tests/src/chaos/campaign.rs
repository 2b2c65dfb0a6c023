//! One campaign from start to verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use farm_core::FarmName;
use farm_core::topology::Topology;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::checker::{self, Rules};
use super::fleet::{Fleet, MAX_ATTEMPTS, MAX_DELIVERIES};
use super::generator::Generator;
use super::history::{History, What};
use super::nemesis::Nemesis;
use super::plan;
use super::reads::{self, Reads};
use super::recovery;
use super::report::Report;
use super::schedule::{self, Kind};
use crate::client::Client;
use crate::nats_cluster::{self, NatsCluster};

/// What a server may keep: a filler fills it in seconds, and a campaign does not.
const MAX_FILE_STORE_BYTES: u64 = 400 << 20;
/// How long the farm may take to settle everything once all is healed.
const SETTLES_WITHIN: Duration = Duration::from_secs(180);
/// How long its accounts may take after that.
const COUNTS_WITHIN: Duration = Duration::from_secs(60);

/// What to do to which farm.
#[derive(Debug, Clone)]
pub struct Options {
    /// Chooses tasks and faults.
    pub seed: u64,
    /// Tasks to submit, at least.
    pub tasks: u64,
    /// Faults to inject.
    pub faults: usize,
    /// Time over which tasks and faults are spread.
    pub span: Duration,
    /// NATS servers: 1, or 3 that form a cluster.
    pub servers: usize,
    /// Whether there is an autoscaler, under `farm up`, with workers of its own.
    pub autoscaler: bool,
    /// Where history and logs are kept.
    pub keep: Option<PathBuf>,
}

impl Options {
    /// The faults that such a farm can have.
    pub fn kinds(&self) -> Vec<Kind> {
        let cluster = if self.servers > 1 { Kind::CLUSTER } else { &[] };
        let mut kinds = [Kind::SINGLE, cluster].concat();
        kinds.retain(|kind| self.autoscaler || !kind.needs_autoscaler());
        kinds
    }
}

/// Runs a campaign.
///
/// # Panics
/// If its own machinery fails: processes that cannot be started, servers that do not come back.
pub async fn run(options: &Options) -> Report {
    let servers = NatsCluster::start(options.servers, MAX_FILE_STORE_BYTES).await;
    let (nats_url, ports) = (servers.url(), servers.ports());
    let keep = options.keep.as_deref();
    let fleet = Fleet::start(&nats_url, ports, options.autoscaler, keep).await;
    let fleet = Arc::new(fleet);
    let file = keep.map(|folder| folder.join("history.jsonl"));
    let history = Arc::new(History::new(file.as_deref()));
    let topology = Topology::new(FarmName::new("sleeper").expect("a usable name"));
    let emitters: Vec<Client> = fleet
        .emitters
        .iter()
        .map(|unit| Client::new(&unit.base))
        .collect();
    let generator = Arc::new(Generator {
        seed: options.seed,
        emitters: emitters.clone(),
        history: Arc::clone(&history),
        jetstream: connect(&nats_url).await,
        topology: topology.clone(),
    });
    let nemesis = Nemesis {
        servers: Arc::new(Mutex::new(servers)),
        nats_url: nats_url.clone(),
        fleet: Arc::clone(&fleet),
        history: Arc::clone(&history),
        jetstream: connect(&nats_url).await,
        topology: topology.clone(),
    };
    let span_seconds = options.span.as_secs_f64();
    let schedule = schedule::schedule(options.seed, options.faults, span_seconds, &options.kinds());
    let plan = plan::submits(options.seed, options.tasks);

    let start = Instant::now();
    let generating = tokio::spawn(generator.run(plan, start, options.span));
    let (generated, ()) = tokio::join!(generating, nemesis.run(schedule, start));
    generated.expect("the generator goes on");
    let healed = Instant::now();
    let jetstream = connect(&nats_url).await;
    settle(&jetstream, &topology).await;
    let settled = Instant::now();

    let events = history.events();
    let mut reads = reads::stored(&jetstream, &topology).await;
    reads.accounts = reads::accounts(&emitters, jobs(&events, &reads), COUNTS_WITHIN).await;
    history.flush();
    fleet.keep_output();
    let rules = Rules {
        seed: options.seed,
        max_deliveries: MAX_DELIVERIES,
        max_attempts: MAX_ATTEMPTS,
    };
    let verdict = checker::check(&events, &reads, &rules);
    let faults = recovery::recoveries(&events, &reads);
    let units = fleet.units();
    Report {
        seed: options.seed,
        servers: options.servers,
        elapsed_seconds: (settled - start).as_secs_f64(),
        drain_seconds: (settled - healed).as_secs_f64(),
        restarts: units
            .iter()
            .map(|unit| (unit.name.clone(), unit.starts() - 1))
            .collect(),
        tally: verdict.tally,
        kinds: recovery::by_kind(&faults),
        slowest: recovery::slowest(&events, &reads),
        faults,
        violations: verdict.violations,
    }
}

async fn connect(nats_url: &str) -> jetstream::Context {
    let client = nats_cluster::connect(nats_url).await;
    jetstream::new(client.expect("NATS lets us in"))
}

/// Waits until no task is left, or for as long as that may take.
async fn settle(jetstream: &jetstream::Context, topology: &Topology) {
    let give_up = Instant::now() + SETTLES_WITHIN;
    while Instant::now() < give_up {
        if reads::tasks_left(jetstream, topology).await == Some(0) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The jobs that were accepted, with the outcomes that are stored of each.
fn jobs(events: &[super::history::Event], reads: &Reads) -> BTreeMap<String, u64> {
    let accepted = events.iter().filter_map(|event| match &event.what {
        What::Accepted { job, .. } => Some((job.clone(), 0)),
        _ => None,
    });
    let mut jobs: BTreeMap<String, u64> = accepted.collect();
    for outcome in &reads.outcomes {
        if let Some(count) = jobs.get_mut(&outcome.job) {
            *count += 1;
        }
    }
    jobs
}
