//! In and out over HTTP: how fast a farm takes NDJSON in, and how fast it streams results.

use std::time::Instant;

use async_nats::jetstream::{self, consumer};
use bytes::Bytes;
use farm_core::envelope::{self, Ending, OutcomeLine};
use futures_util::StreamExt;
use serde::Serialize;

use super::turns::{Pairs, fitting, trial_tasks};
use crate::bench::Bench;
use crate::child::guarded;
use crate::error::Error;
use crate::function::Variant;
use crate::report::{Findings, Table};
use crate::run::{Farm, FarmSetup, LIMIT_SECONDS, RawLoop, RawSetup, Storage, encode};
use crate::statistics::spread;
use crate::task::{PLAIN_BYTES, Task, Work};

const WORKERS: usize = 4;
/// A body of more is no ordinary one, and has to fit into memory.
const MOST_TASKS: u64 = 2_000_000;
/// Tasks in a message: not `auto`, as that is one where there are no workers to say how long they take.
const CHUNKS: [u32; 2] = [1, 256];

/// One run.
#[derive(Debug, Clone, Copy, Serialize)]
struct Flow {
    tasks: u64,
    tasks_per_second: f64,
}

impl Flow {
    fn since(begun: Instant, tasks: u64) -> Self {
        Self {
            tasks,
            tasks_per_second: tasks as f64 / begun.elapsed().as_secs_f64(),
        }
    }
}

/// The runs with so many tasks in a message.
#[derive(Debug, Serialize)]
struct Series {
    tasks_per_message: u32,
    #[serde(flatten)]
    pairs: Pairs<Flow>,
}

/// NDJSON over HTTP, beside publishing alone.
pub(super) async fn ingest(bench: &Bench) -> Result<Findings, Error> {
    let mut results = Vec::new();
    for tasks_per_message in CHUNKS {
        let what = format!("ingest: {tasks_per_message} in a message");
        let trial = async |tasks| {
            let taken_in = taken_in(bench, tasks_per_message, tasks).await?;
            Ok(taken_in.tasks_per_second)
        };
        let tasks = fitting(bench, &what, trial_tasks(tasks_per_message), trial).await?;
        let tasks = tasks.min(MOST_TASKS);
        let raw = async || published(bench, tasks_per_message, tasks).await;
        let farm = async || taken_in(bench, tasks_per_message, tasks).await;
        results.push(Series {
            tasks_per_message,
            pairs: Pairs::run(bench, &what, raw, farm).await?,
        });
    }
    let mut table = table(
        "NDJSON taken in over HTTP, one connection, tasks/s",
        "PUBLISH ONLY",
        &results,
    );
    table.note("From the start of the request until 202: every task is stored. No workers.");
    table.note("Publish only: the raw emitter, with ids, as many tasks in a message.");
    Ok(Findings::new(vec![table], Vec::new(), &results))
}

/// Results over HTTP, beside a consumer on the same stream.
pub(super) async fn results(bench: &Bench) -> Result<Findings, Error> {
    let mut results = Vec::new();
    for tasks_per_message in CHUNKS {
        let what = format!("results: {tasks_per_message} in a message");
        let granularity = tasks_per_message.to_string();
        let start = async || {
            let setup = FarmSetup::standard(&bench.settings, WORKERS, &granularity);
            Farm::start(setup).await
        };
        let trial = async |tasks| {
            let run = start().await?.run(Work::plain(tasks)).await?;
            Ok(run.tasks_per_second)
        };
        let tasks = fitting(bench, &what, trial_tasks(tasks_per_message), trial).await?;
        let farm = start().await?;
        let end = farm.job(encode(&Work::plain(tasks)), false).await?;
        let job = end.accepted.job.as_str();
        // Not measured: whoever reads first has the server find the messages.
        consumed(&farm, tasks).await?;
        let raw = async || consumed(&farm, tasks).await;
        let streamed = async || streamed(&farm, job, tasks).await;
        results.push(Series {
            tasks_per_message,
            pairs: Pairs::run(bench, &what, raw, streamed).await?,
        });
    }
    let mut table = table("Results streamed over HTTP, lines/s", "CONSUMER", &results);
    table.note("GET /jobs/{job}/results of a job that has ended, to the last line.");
    table.note("Consumer: an ordered consumer that reads the same messages and does nothing.");
    Ok(Findings::new(vec![table], Vec::new(), &results))
}

async fn taken_in(bench: &Bench, tasks_per_message: u32, tasks: u64) -> Result<Flow, Error> {
    let granularity = tasks_per_message.to_string();
    let setup = FarmSetup {
        variant: Variant::Direct,
        ..FarmSetup::standard(&bench.settings, 0, &granularity)
    };
    let farm = Farm::start(setup).await?;
    let mut line = serde_json::to_vec(&Task::of_size(0, 0, PLAIN_BYTES)).unwrap_or_default();
    line.push(b'\n');
    let body = line.repeat(tasks as usize);
    let begun = Instant::now();
    let submitting = farm.submit(body, true);
    let accepted = guarded("an ingest", LIMIT_SECONDS, farm.processes(), submitting).await?;
    let flow = Flow::since(begun, tasks);
    check("the tasks taken in", accepted.accepted, tasks)?;
    Ok(flow)
}

async fn published(bench: &Bench, tasks_per_message: u32, tasks: u64) -> Result<Flow, Error> {
    let server = &bench.settings.nats_server;
    let setup = RawSetup::baseline(server, Storage::File, 0, tasks_per_message);
    let raw = RawLoop::start(setup, Work::plain(tasks)).await?;
    let tasks_per_second = raw.publish().await?;
    Ok(Flow {
        tasks,
        tasks_per_second,
    })
}

async fn streamed(farm: &Farm, job: &str, tasks: u64) -> Result<Flow, Error> {
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
    let flow = Flow::since(begun, tasks);
    check("the lines streamed", lines, tasks)?;
    Ok(flow)
}

fn lines_in(piece: &Bytes) -> u64 {
    piece.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Reads the messages of all results without HTTP.
async fn consumed(farm: &Farm, tasks: u64) -> Result<Flow, Error> {
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
    let flow = Flow::since(begun, tasks);
    check("the results read", count, tasks)?;
    Ok(flow)
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

fn table(title: &str, raw: &str, results: &[Series]) -> Table {
    let title = format!("{title}: median (least–most)");
    let ratio = format!("FARM / {raw}");
    let mut table = Table::new(title, ["IN A MESSAGE", "TASKS", raw, "FARM", &ratio]);
    for Series {
        tasks_per_message,
        pairs,
    } in results
    {
        let rate = |flow: &Flow| flow.tasks_per_second;
        table.row([
            tasks_per_message.to_string(),
            pairs.farm.first().map_or(0, |flow| flow.tasks).to_string(),
            spread(pairs.raw.iter().map(rate)),
            spread(pairs.farm.iter().map(rate)),
            spread(pairs.ratios(rate)),
        ]);
    }
    table
}
