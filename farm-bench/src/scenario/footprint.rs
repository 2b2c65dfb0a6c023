//! What a farm costs that does nothing: cold start, memory, wake-ups, many idle workers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::json;

use crate::bench::Bench;
use crate::child::{Process, Talker, guarded};
use crate::error::Error;
use crate::part::Part;
use crate::raw::{self, Load};
use crate::report::{Findings, Table};
use crate::run::{Farm, FarmSetup, encode, ready};
use crate::server::Server;
use crate::statistics::{spread, written};
use crate::task::{PLAIN_BYTES, Task, Work};
use crate::usage::{Usage, resident_bytes};

/// How long a replica that has started may settle before it is watched.
const SETTLE: Duration = Duration::from_secs(2);
/// Idle workers that start at once.
const AT_ONCE: usize = 20;
const START_SECONDS: u64 = 60;
/// Every request of the JetStream API.
const REQUESTS: &str = "$JS.API.>";

/// A function that is measured.
struct Subject {
    name: String,
    program: Option<PathBuf>,
    job: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct ColdStart {
    function: String,
    seconds: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Idle {
    function: String,
    role: &'static str,
    resident_bytes: u64,
    cpu_ratio: f64,
    wake_ups_per_second: f64,
    pulls_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Crowd {
    workers: usize,
    start_seconds: f64,
    workers_resident_bytes: u64,
    workers_cpu_ratio: f64,
    server_resident_bytes: u64,
    server_cpu_ratio: f64,
    connections: u64,
    requests_per_second: f64,
}

pub(super) async fn run(bench: &Bench) -> Result<Findings, Error> {
    let mut starts = vec![raw_cold_start(bench).await?];
    let mut idle = Vec::new();
    for subject in subjects(bench) {
        starts.push(cold_start(bench, &subject).await?);
        idle.extend(idleness(bench, &subject).await?);
    }
    let crowd = crowd(bench).await?;
    let tables = vec![
        start_table(&starts),
        idle_table(&idle, bench),
        crowd_table(&crowd),
    ];
    let runs = json!({ "cold_starts": starts, "idle": idle, "crowd": crowd });
    Ok(Findings::new(tables, Vec::new(), &[runs]))
}

fn subjects(bench: &Bench) -> Vec<Subject> {
    let mut subjects = vec![Subject {
        name: "bench".to_owned(),
        program: None,
        job: encode(&Work::plain(1)),
    }];
    subjects.extend(bench.settings.function.as_ref().map(|program| {
        Subject {
            name: program
                .file_name()
                .map_or_else(String::new, |name| name.display().to_string()),
            program: Some(program.clone()),
            job: bench.settings.function_job.clone().into_bytes(),
        }
    }));
    subjects
}

async fn farm(bench: &Bench, subject: &Subject, workers: usize) -> Result<Farm, Error> {
    Farm::start(FarmSetup {
        program: subject.program.clone(),
        ..FarmSetup::standard(&bench.settings, workers, "auto")
    })
    .await
}

async fn cold_start(bench: &Bench, subject: &Subject) -> Result<ColdStart, Error> {
    bench.say(format!("footprint: cold start of {}", subject.name));
    let farm = farm(bench, subject, 0).await?;
    let stream = farm.topology.results_stream();
    let mut results = stored(&farm.server, &stream).await?;
    let mut seconds = Vec::new();
    for number in 0..bench.settings.pairs {
        farm.submit(subject.job.clone(), false).await?;
        let begun = Instant::now();
        let (worker, _) = farm.worker(number)?;
        guarded("a cold start", START_SECONDS, [&worker], next(&mut results)).await?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Ok(ColdStart {
        function: subject.name.clone(),
        seconds,
    })
}

async fn raw_cold_start(bench: &Bench) -> Result<ColdStart, Error> {
    bench.say("footprint: cold start of the raw loop");
    let server = Server::start(&bench.settings.nats_server).await?;
    let client = server.connect().await?;
    raw::create(
        client.clone(),
        async_nats::jetstream::stream::StorageType::File,
        1,
        raw::Safety::BASELINE,
    )
    .await?;
    let mut results = stored(&server, raw::RESULTS).await?;
    let load = Load {
        url: server.url(),
        work: Work::plain(1),
        chunk: 1,
        cold_tasks: 0,
        safety: raw::Safety::BASELINE,
    };
    let task = serde_json::to_vec(&Task::of_size(0, 0, PLAIN_BYTES)).unwrap_or_default();
    let mut seconds = Vec::new();
    for number in 0..bench.settings.pairs {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", number.to_string());
        let publish = jetstream::new(client.clone());
        let publish = publish.publish_with_headers(raw::TASK_SUBJECT, headers, task.clone().into());
        let stored = publish.await.map_err(Error::broker("publish a task"))?;
        stored.await.map_err(Error::broker("publish a task"))?;
        let begun = Instant::now();
        let part = Part::RawWorker(load.clone());
        let worker = Talker::start("raw-worker", &part, server.folder()).await?;
        let result = next(&mut results);
        guarded("a cold start", START_SECONDS, [&worker.process], result).await?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Ok(ColdStart {
        function: "raw loop".to_owned(),
        seconds,
    })
}

/// Messages of a stream, once they are stored.
async fn stored(server: &Server, stream: &str) -> Result<consumer::push::Ordered, Error> {
    let client = server.connect().await?;
    let stream = jetstream::new(client.clone()).get_stream(stream).await;
    let stream = stream.map_err(Error::broker("find the results"))?;
    let config = consumer::push::OrderedConfig {
        deliver_subject: client.new_inbox(),
        ..consumer::push::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await;
    let consumer = consumer.map_err(Error::broker("watch the results"))?;
    let messages = consumer.messages().await;
    messages.map_err(Error::broker("watch the results"))
}

async fn next(results: &mut consumer::push::Ordered) -> Result<(), Error> {
    match results.next().await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(Error::broker("watch the results")(error)),
        None => Err(Error::Broker {
            action: "watch the results".to_owned(),
            cause: "there are no more".to_owned(),
        }),
    }
}

/// What each role of a farm without work costs.
async fn idleness(bench: &Bench, subject: &Subject) -> Result<Vec<Idle>, Error> {
    let watched_seconds = bench.settings.idle_seconds;
    bench.say(format!(
        "footprint: {} idle for {watched_seconds} s",
        subject.name
    ));
    let farm = farm(bench, subject, 1).await?;
    let replicas = [
        ("worker", farm.workers.first()),
        ("emitter", Some(&farm.emitter)),
    ];
    let replicas = replicas.into_iter().chain([
        ("collector", Some(&farm.collector)),
        ("nats-server", Some(&farm.server.process)),
    ]);
    let replicas: Vec<(&'static str, &Process)> = replicas
        .filter_map(|(role, process)| Some((role, process?)))
        .collect();
    tokio::time::sleep(SETTLE).await;
    let usages = || replicas.iter().map(|(_, process)| process.usage());
    let before: Vec<Usage> = usages().collect::<Result<_, _>>()?;
    let pulls = format!(
        "$JS.API.CONSUMER.MSG.NEXT.{}.>",
        farm.topology.tasks_stream()
    );
    let pulls = requests(&farm.server, pulls, watched_seconds).await?;
    let after: Vec<Usage> = usages().collect::<Result<_, _>>()?;
    let rows = replicas.iter().zip(before.iter().zip(after));
    rows.map(|((role, process), (before, after))| {
        let used = after - *before;
        Ok(Idle {
            function: subject.name.clone(),
            role,
            resident_bytes: resident_bytes(process.id())?,
            cpu_ratio: used.cpu_seconds / watched_seconds,
            wake_ups_per_second: used.sleeps as f64 / watched_seconds,
            pulls_per_second: (*role == "worker").then_some(pulls / watched_seconds),
        })
    })
    .collect()
}

/// Messages on `subject` within that many seconds.
async fn requests(server: &Server, subject: String, seconds: f64) -> Result<f64, Error> {
    let client = server.connect().await?;
    let watching = client.subscribe(subject).await;
    let mut requests = watching.map_err(Error::broker("watch requests"))?;
    let until = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
    let mut count = 0.0;
    while let Ok(Some(_)) = tokio::time::timeout_at(until, requests.next()).await {
        count += 1.0;
    }
    Ok(count)
}

/// Many idle workers on one server.
async fn crowd(bench: &Bench) -> Result<Crowd, Error> {
    let wanted = bench.settings.idle_workers;
    bench.say(format!("footprint: {wanted} idle workers"));
    let Some(subject) = subjects(bench).into_iter().next() else {
        return Err(Error::io("find a function")(
            std::io::ErrorKind::NotFound.into(),
        ));
    };
    let farm = farm(bench, &subject, 0).await?;
    let begun = Instant::now();
    let mut workers = Vec::new();
    while workers.len() < wanted {
        let numbers = workers.len()..wanted.min(workers.len() + AT_ONCE);
        let started: Vec<_> = numbers
            .map(|number| farm.worker(number))
            .collect::<Result<_, _>>()?;
        for (worker, address) in started {
            ready(&farm.server, &farm.http, &worker, &address).await?;
            workers.push(worker);
        }
    }
    let start_seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let watched_seconds = bench.settings.idle_seconds;
    let all = || -> Result<Usage, Error> {
        let usages = workers.iter().map(Process::usage);
        usages.sum::<Result<Usage, Error>>()
    };
    let (before, server_before) = (all()?, farm.server.usage()?);
    let requests = requests(&farm.server, REQUESTS.to_owned(), watched_seconds).await?;
    let (used, server_used) = (all()? - before, farm.server.usage()? - server_before);
    let resident = workers.iter().map(|worker| resident_bytes(worker.id()));
    Ok(Crowd {
        workers: wanted,
        start_seconds,
        workers_resident_bytes: resident.sum::<Result<u64, Error>>()?,
        workers_cpu_ratio: used.cpu_seconds / watched_seconds,
        server_resident_bytes: resident_bytes(farm.server.process.id())?,
        server_cpu_ratio: server_used.cpu_seconds / watched_seconds,
        connections: farm.server.traffic().await?.connections,
        requests_per_second: requests / watched_seconds,
    })
}

fn mebibytes(bytes: u64) -> String {
    written(bytes as f64 / f64::from(1 << 20))
}

fn percent(ratio: f64) -> String {
    format!("{:.3} %", ratio * 100.0)
}

fn start_table(starts: &[ColdStart]) -> Table {
    let heading = ["WORKER OF", "ms"];
    let mut table = Table::new(
        "Process start to first stored result: median (least–most)",
        heading,
    );
    for start in starts {
        let milliseconds = start.seconds.iter().map(|seconds| seconds * 1e3);
        table.row([start.function.clone(), spread(milliseconds)]);
    }
    table
}

fn idle_table(idle: &[Idle], bench: &Bench) -> Table {
    let mut table = Table::new(
        format!("Idle for {} s", bench.settings.idle_seconds),
        [
            "FUNCTION",
            "PART",
            "RSS MiB",
            "CPU OF A CORE",
            "WAKE-UPS/S",
            "PULLS/S",
        ],
    );
    for row in idle {
        table.row([
            row.function.clone(),
            row.role.to_owned(),
            mebibytes(row.resident_bytes),
            percent(row.cpu_ratio),
            written(row.wake_ups_per_second),
            row.pulls_per_second.map_or_else(String::new, written),
        ]);
    }
    table.note("WAKE-UPS: voluntary context switches of all threads. PULLS: for tasks.");
    table
}

fn crowd_table(crowd: &Crowd) -> Table {
    let mut table = Table::new("Many idle workers on one NATS server", ["", ""]);
    let per_worker = crowd.workers_resident_bytes / crowd.workers.max(1) as u64;
    for (name, value) in [
        ("workers", crowd.workers.to_string()),
        ("connections", crowd.connections.to_string()),
        ("start of all, s", written(crowd.start_seconds)),
        ("RSS of a worker, MiB", mebibytes(per_worker)),
        (
            "CPU of all workers, of a core",
            percent(crowd.workers_cpu_ratio),
        ),
        (
            "RSS of the server, MiB",
            mebibytes(crowd.server_resident_bytes),
        ),
        (
            "CPU of the server, of a core",
            percent(crowd.server_cpu_ratio),
        ),
        ("JetStream requests/s", written(crowd.requests_per_second)),
    ] {
        table.row([name.to_owned(), value]);
    }
    table
}
