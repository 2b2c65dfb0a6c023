//! In and out over HTTP: how fast a farm takes NDJSON in, and how fast it streams results.

use std::time::Instant;

use async_nats::jetstream::{self, consumer};
use bytes::Bytes;
use farm_core::envelope::{self, Ending, OutcomeLine};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::json;

use crate::bench::Bench;
use crate::child::guarded;
use crate::error::Error;
use crate::function::Variant;
use crate::report::{Report, Table};
use crate::run::{Farm, FarmSetup, LIMIT_SECONDS, RawLoop, RawSetup, Storage, encode};
use crate::statistics::spread;
use crate::task::{Task, Work};

const TASK_BYTES: usize = 128;
const WORKERS: usize = 4;
const TRIAL_TASKS: u64 = 5_000;
const MOST_TASKS: u64 = 2_000_000;
/// `FARM_GRANULARITY` of the farm, and tasks in a message of the raw loop beside it.
const GRANULARITIES: [(&str, u32); 2] = [("off", 1), ("auto", 1024)];

/// Rates of one granularity, pair by pair.
#[derive(Debug, Serialize)]
struct Rates {
    granularity: &'static str,
    tasks: u64,
    raw_per_second: Vec<f64>,
    farm_per_second: Vec<f64>,
}

/// NDJSON over HTTP, beside publishing alone.
pub(super) async fn ingest(bench: &Bench) -> Result<Report, Error> {
    let mut results = Vec::new();
    for (granularity, chunk) in GRANULARITIES {
        bench.say(format!("ingest: granularity {granularity}: trial"));
        let trial = taken_in(bench, granularity, TRIAL_TASKS).await?;
        let mut rates = Rates::new(granularity, fitting(bench, trial));
        for pair in 0..bench.settings.pairs {
            let (number, of) = (pair + 1, bench.settings.pairs);
            bench.say(format!(
                "ingest: granularity {granularity}: pair {number} of {of}"
            ));
            rates
                .raw_per_second
                .push(published(bench, chunk, rates.tasks).await?);
            let farm = taken_in(bench, granularity, rates.tasks).await?;
            rates.farm_per_second.push(farm);
        }
        results.push(rates);
    }
    let mut table = table(
        "NDJSON taken in over HTTP, one connection, tasks/s",
        "PUBLISH ONLY",
        &results,
    );
    table.note("From the start of the request until 202: every task is stored. No workers.");
    table.note("Publish only: the raw emitter, with ids, 1 or 1024 tasks in a message.");
    Ok(report("ingest", table, &results))
}

/// Results over HTTP, beside a consumer on the same stream.
pub(super) async fn results(bench: &Bench) -> Result<Report, Error> {
    let mut results = Vec::new();
    for (granularity, _) in GRANULARITIES {
        bench.say(format!("results: granularity {granularity}"));
        let trial = farm(bench, granularity, WORKERS, Variant::Split).await?;
        let trial = trial.run(work(TRIAL_TASKS)).await?.tasks_per_second;
        let mut rates = Rates::new(granularity, fitting(bench, trial));
        let farm = farm(bench, granularity, WORKERS, Variant::Split).await?;
        let end = farm.job(encode(&work(rates.tasks)), false).await?;
        for pair in 0..bench.settings.pairs {
            let (number, of) = (pair + 1, bench.settings.pairs);
            bench.say(format!(
                "results: granularity {granularity}: pair {number} of {of}"
            ));
            rates
                .raw_per_second
                .push(consumed(&farm, rates.tasks).await?);
            let streamed = streamed(&farm, end.accepted.job.as_str(), rates.tasks).await?;
            rates.farm_per_second.push(streamed);
        }
        results.push(rates);
    }
    let mut table = table("Results streamed over HTTP, lines/s", "CONSUMER", &results);
    table.note("GET /jobs/{job}/results of a job that has ended, to the last line.");
    table.note("Consumer: an ordered consumer that reads the same messages and does nothing.");
    Ok(report("results", table, &results))
}

impl Rates {
    fn new(granularity: &'static str, tasks: u64) -> Self {
        Self {
            granularity,
            tasks,
            raw_per_second: Vec::new(),
            farm_per_second: Vec::new(),
        }
    }
}

fn fitting(bench: &Bench, per_second: f64) -> u64 {
    let most = bench.settings.max_tasks.unwrap_or(MOST_TASKS);
    ((per_second * bench.settings.run_seconds) as u64).clamp(1, most)
}

fn work(tasks: u64) -> Work {
    Work {
        tasks,
        task_bytes: TASK_BYTES,
        spin_rounds: 0,
        rate_per_second: None,
    }
}

async fn farm(
    bench: &Bench,
    granularity: &str,
    workers: usize,
    variant: Variant,
) -> Result<Farm, Error> {
    Farm::start(FarmSetup {
        nats_server: bench.settings.nats_server.clone(),
        storage: Storage::File,
        workers,
        slots: bench.settings.slots,
        granularity: granularity.to_owned(),
        variant,
        program: None,
    })
    .await
}

async fn taken_in(bench: &Bench, granularity: &str, tasks: u64) -> Result<f64, Error> {
    let farm = farm(bench, granularity, 0, Variant::Direct).await?;
    let mut line = serde_json::to_vec(&Task::of_size(0, 0, TASK_BYTES)).unwrap_or_default();
    line.push(b'\n');
    let body = line.repeat(tasks as usize);
    let begun = Instant::now();
    let submitting = farm.submit(body, true);
    let accepted = guarded("an ingest", LIMIT_SECONDS, farm.processes(), submitting).await?;
    check("the tasks taken in", accepted.accepted, tasks)?;
    Ok(tasks as f64 / begun.elapsed().as_secs_f64())
}

async fn published(bench: &Bench, chunk: u32, tasks: u64) -> Result<f64, Error> {
    let server = &bench.settings.nats_server;
    let setup = RawSetup::baseline(server, Storage::File, 0, chunk);
    let raw = RawLoop::start(setup, work(tasks)).await?;
    raw.publish().await
}

async fn streamed(farm: &Farm, job: &str, tasks: u64) -> Result<f64, Error> {
    let failed = || Error::function("stream the results of a job");
    let begun = Instant::now();
    let reading = async {
        let url = format!("{}/jobs/{job}/results", farm.address);
        let answer = farm.http.get(url).send().await.map_err(failed())?;
        let mut body = answer.error_for_status().map_err(failed())?.bytes_stream();
        let mut lines = 0;
        while let Some(piece) = body.next().await {
            lines += lines_in(&piece.map_err(failed())?);
        }
        Ok(lines)
    };
    let lines = guarded(
        "a stream of results",
        LIMIT_SECONDS,
        farm.processes(),
        reading,
    )
    .await?;
    check("the lines streamed", lines, tasks)?;
    Ok(lines as f64 / begun.elapsed().as_secs_f64())
}

fn lines_in(piece: &Bytes) -> u64 {
    piece.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Reads the messages of all results without HTTP.
async fn consumed(farm: &Farm, tasks: u64) -> Result<f64, Error> {
    let failed = "read the results";
    let client = farm.server.connect().await?;
    let begun = Instant::now();
    let reading = async {
        let jetstream = jetstream::new(client);
        let stream = jetstream.get_stream(farm.topology.results_stream()).await;
        let stream = stream.map_err(Error::broker(failed))?;
        let consumer = stream.create_consumer(consumer::pull::OrderedConfig::default());
        let consumer = consumer.await.map_err(Error::broker(failed))?;
        let mut messages = consumer.messages().await.map_err(Error::broker(failed))?;
        let mut count = 0;
        while count < tasks {
            let message = messages.next().await.transpose();
            let Some(message) = message.map_err(Error::broker(failed))? else {
                break;
            };
            // An outcome of many tasks tells how many are done in it.
            let headers = message.headers.as_ref();
            let line = headers.and_then(|headers| headers.get(envelope::OUTCOME));
            let line = line.and_then(|line| OutcomeLine::parse(line.as_str()));
            count += match line.map(|line| line.ending) {
                Some(Ending::Chunk { done, .. }) => u64::from(done),
                _ => 1,
            };
        }
        Ok(count)
    };
    let count = guarded(
        "a read of results",
        LIMIT_SECONDS,
        farm.processes(),
        reading,
    )
    .await?;
    check("the results read", count, tasks)?;
    Ok(tasks as f64 / begun.elapsed().as_secs_f64())
}

fn check(what: &str, found: u64, expected: u64) -> Result<(), Error> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::Account {
            what: what.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }),
    }
}

fn report(scenario: &str, table: Table, results: &[Rates]) -> Report {
    Report {
        scenario: scenario.to_owned(),
        tables: vec![table],
        figures: Vec::new(),
        runs: results.iter().map(|rates| json!(rates)).collect(),
    }
}

fn table(title: &str, raw: &str, results: &[Rates]) -> Table {
    let title = format!("{title}: median (least–most)");
    let ratio = format!("FARM / {raw}");
    let mut table = Table::new(title, ["GRANULARITY", "TASKS", raw, "FARM", &ratio]);
    for rates in results {
        let pairs = rates.farm_per_second.iter().zip(&rates.raw_per_second);
        table.row([
            rates.granularity.to_owned(),
            rates.tasks.to_string(),
            spread(rates.raw_per_second.iter().copied()),
            spread(rates.farm_per_second.iter().copied()),
            spread(pairs.map(|(farm, raw)| farm / raw)),
        ]);
    }
    table
}
