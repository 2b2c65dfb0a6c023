//! A run of the farm under test.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv};
use farm_core::http::{Accepted, NDJSON};
use farm_core::job::JobProgress;
use farm_core::telemetry::WorkerTelemetry;
use farm_core::topology::Topology;
use farm_core::{FarmName, JobId};
use futures_util::StreamExt;

use super::{LIMIT_SECONDS, Reading, Run, Storage};
use crate::bench::Settings;
use crate::child::{Process, guarded, itself};
use crate::error::Error;
use crate::function::Variant;
use crate::part::Part;
use crate::server::{Server, free_ports};
use crate::task::Work;

const NAME: &str = "bench";
const READY_SECONDS: u64 = 30;
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How a farm is set up for a run.
#[derive(Debug, Clone)]
pub(crate) struct FarmSetup {
    pub nats_server: PathBuf,
    pub storage: Storage,
    pub workers: usize,
    pub slots: usize,
    /// `off`, `auto` or tasks in a message.
    pub granularity: String,
    pub variant: Variant,
    /// The program of the function; this one itself if absent.
    pub program: Option<PathBuf>,
}

impl FarmSetup {
    /// A farm whose jobs are split, in file storage.
    pub fn standard(settings: &Settings, workers: usize, granularity: &str) -> Self {
        Self {
            nats_server: settings.nats_server.clone(),
            storage: Storage::File,
            workers,
            slots: settings.slots,
            granularity: granularity.to_owned(),
            variant: Variant::Split,
            program: None,
        }
    }
}

/// A farm with one emitter, one collector and some workers, all ready.
pub(crate) struct Farm {
    pub server: Server,
    pub emitter: Process,
    pub workers: Vec<Process>,
    pub collector: Process,
    pub address: String,
    pub http: reqwest::Client,
    pub jobs: kv::Store,
    pub topology: Topology,
    setup: FarmSetup,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct JobEnd {
    pub accepted: Accepted,
    /// From the start of the submit until the collector had counted every result.
    pub ended_seconds: f64,
    pub progress: JobProgress,
}

impl Farm {
    /// Starts a server and all replicas, and waits until they are ready.
    pub async fn start(setup: FarmSetup) -> Result<Self, Error> {
        let server = Server::start(&setup.nats_server).await?;
        let http = reqwest::Client::new();
        let (emitter, address) = replica(&setup, &server, "emitter", 0)?;
        ready(&server, &http, &emitter, &address).await?;
        let (collector, collector_address) = replica(&setup, &server, "collector", 0)?;
        ready(&server, &http, &collector, &collector_address).await?;
        let name = FarmName::new(NAME).map_err(Error::function("name the farm"))?;
        let topology = Topology::new(name);
        let jetstream = jetstream::new(server.connect().await?);
        let jobs = jetstream.get_key_value(topology.jobs_bucket()).await;
        let mut farm = Self {
            jobs: jobs.map_err(Error::broker("find the jobs of the farm"))?,
            workers: Vec::new(),
            server,
            emitter,
            collector,
            address,
            http,
            topology,
            setup,
        };
        let mut addresses = Vec::new();
        for number in 0..farm.setup.workers {
            let (worker, address) = farm.worker(number)?;
            farm.workers.push(worker);
            addresses.push(address);
        }
        for (worker, address) in farm.workers.iter().zip(&addresses) {
            ready(&farm.server, &farm.http, worker, address).await?;
        }
        Ok(farm)
    }

    /// Starts one more worker, and tells where its HTTP face will be.
    pub fn worker(&self, number: usize) -> Result<(Process, String), Error> {
        replica(&self.setup, &self.server, "worker", number)
    }

    /// All its processes and the server's.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let roles = [&self.server.process, &self.emitter, &self.collector];
        self.workers.iter().chain(roles)
    }

    /// Submits a job and waits for its end.
    pub async fn job(&self, body: Vec<u8>, lines: bool) -> Result<JobEnd, Error> {
        let watching = self.jobs.watch_all().await;
        let mut changes = watching.map_err(Error::broker("watch the jobs of the farm"))?;
        let running = async {
            let begun = Instant::now();
            let submitting = self.submit(body, lines);
            tokio::pin!(submitting);
            // A job may end before its submit is answered, and only the answer names it.
            let mut ended = HashMap::new();
            let accepted = loop {
                tokio::select! {
                    accepted = &mut submitting => break accepted?,
                    entry = next_change(&mut changes) => {
                        ended.extend(end_of_job(&entry?, begun));
                    }
                }
            };
            loop {
                if let Some((ended_seconds, progress)) = ended.remove(accepted.job.as_str()) {
                    return Ok(JobEnd {
                        accepted,
                        ended_seconds,
                        progress,
                    });
                }
                let entry = next_change(&mut changes).await?;
                ended.extend(end_of_job(&entry, begun));
            }
        };
        let end = guarded(
            "a run of the farm",
            LIMIT_SECONDS,
            self.processes(),
            running,
        )
        .await?;
        self.check(&end)?;
        Ok(end)
    }

    /// Submits a job and returns once every task of it is stored.
    pub async fn submit(&self, body: Vec<u8>, lines: bool) -> Result<Accepted, Error> {
        let failed = || Error::function("submit a job");
        let content = if lines { NDJSON } else { "application/json" };
        let request = self.http.post(&self.address).body(body);
        let answer = request.header("content-type", content).send().await;
        let answer = answer.map_err(failed())?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed())?;
        serde_json::from_str(&text).map_err(|_| Error::Function {
            action: "submit a job".to_owned(),
            cause: format!("{status}: {text}"),
        })
    }

    /// Runs a job that is not measured, if it has tasks, and returns once the workers have reported
    /// how long those took: the next job is split by that.
    pub async fn warm_up(&self, work: Work) -> Result<(), Error> {
        if work.tasks == 0 {
            return Ok(());
        }
        let failed = "hear the workers' reports";
        let client = self.server.connect().await?;
        let reports = client.subscribe(self.topology.telemetry_subject()).await;
        let mut reports = reports.map_err(Error::broker(failed))?;
        self.job(encode(&work), false).await?;
        let reported = async {
            let mut done = HashMap::new();
            while done.values().sum::<u64>() < work.tasks {
                let Some(report) = reports.next().await else {
                    break;
                };
                let report = serde_json::from_slice(&report.payload);
                let report: WorkerTelemetry = report.map_err(Error::function(failed))?;
                done.insert(report.replica, report.tasks_done);
            }
            Ok(())
        };
        let what = "the reports of the workers";
        guarded(what, READY_SECONDS, self.processes(), reported).await
    }

    /// Runs one job.
    pub async fn run(&self, work: Work) -> Result<Run, Error> {
        let before = self.reading().await?;
        let end = self.job(encode(&work), false).await?;
        let after = self.reading().await?;
        Ok(after.since(&before, work, end.ended_seconds))
    }

    /// The id of the next job, once its submit has begun.
    pub async fn next_job(&self) -> Result<impl Future<Output = Result<JobId, Error>>, Error> {
        let watching = self.jobs.watch_all().await;
        let mut changes = watching.map_err(Error::broker("watch the jobs of the farm"))?;
        Ok(async move {
            loop {
                let entry = next_change(&mut changes).await?;
                if let Some(job) = entry.key.strip_suffix(".spec") {
                    return JobId::new(job).map_err(Error::function("name its job"));
                }
            }
        })
    }

    async fn reading(&self) -> Result<Reading, Error> {
        Reading::take(
            std::slice::from_ref(&self.server),
            &self.emitter,
            &self.workers,
            &self.collector,
        )
        .await
    }

    fn check(&self, end: &JobEnd) -> Result<(), Error> {
        let (done, failed) = (end.progress.done, end.progress.failed);
        if done == end.accepted.accepted && failed == 0 {
            return Ok(());
        }
        Err(Error::Account {
            what: "the farm".to_owned(),
            found: format!("{done} results and {failed} failures"),
            expected: format!("{} results", end.accepted.accepted),
        })
    }
}

/// A job in JSON.
pub(crate) fn encode(work: &Work) -> Vec<u8> {
    // Numbers can always be written.
    serde_json::to_vec(work).unwrap_or_default()
}

async fn next_change(changes: &mut kv::Watch) -> Result<kv::Entry, Error> {
    let change = changes.next().await.ok_or_else(|| Error::Broker {
        action: "watch the jobs of the farm".to_owned(),
        cause: "the watch has ended".to_owned(),
    })?;
    change.map_err(Error::broker("watch the jobs of the farm"))
}

/// The job that has ended, how long after `begun`, in seconds, and with what.
fn end_of_job(entry: &kv::Entry, begun: Instant) -> Option<(String, (f64, JobProgress))> {
    let job = entry.key.strip_suffix(".progress")?;
    let progress: JobProgress = serde_json::from_slice(&entry.value).ok()?;
    progress.ended_seconds?;
    Some((job.to_owned(), (begun.elapsed().as_secs_f64(), progress)))
}

/// Starts a replica, and tells where its HTTP face will be.
fn replica(
    setup: &FarmSetup,
    server: &Server,
    role: &str,
    number: usize,
) -> Result<(Process, String), Error> {
    let [http_port, metrics_port] = free_ports()?;
    let mut command = match &setup.program {
        Some(program) => program_at(program),
        None => itself(&Part::Farm(setup.variant))?,
    };
    command
        .env_clear()
        .env("FARM_NAME", NAME)
        .env("FARM_ROLE", role)
        .env("FARM_NATS_URL", server.url())
        .env("FARM_BIND_ADDRESS", "127.0.0.1")
        .env("FARM_HTTP_PORT", http_port.to_string())
        .env("FARM_METRICS_PORT", metrics_port.to_string())
        .env("FARM_SLOTS", setup.slots.to_string())
        .env("FARM_GRANULARITY", &setup.granularity)
        .env("FARM_STORAGE", setup.storage.name())
        // What is measured is the way through the farm, not its bounds.
        .env("FARM_QUEUE_MAX_TASKS", "1000000000")
        .env("FARM_MAX_BODY", "16GiB")
        .env("FARM_LOG", "warn");
    let process = Process::start(&format!("{role}-{number}"), &mut command, server.folder())?;
    Ok((process, format!("http://127.0.0.1:{http_port}")))
}

fn program_at(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Waits until a replica says that it is ready.
pub(crate) async fn ready(
    server: &Server,
    http: &reqwest::Client,
    process: &Process,
    address: &str,
) -> Result<(), Error> {
    let url = format!("{address}/_/ready");
    let answering = async {
        loop {
            if let Ok(answer) = http.get(&url).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    guarded(
        "the start of a replica",
        READY_SECONDS,
        [process, &server.process],
        answering,
    )
    .await
}
