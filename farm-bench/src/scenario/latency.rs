//! From the moment a task should have been submitted until its result is here, at fixed rates.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use farm_core::http::TaskOutcome;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::turns::Pairs;
use crate::bench::Bench;
use crate::child::guarded;
use crate::error::Error;
use crate::report::{Curve, Figure, Findings, Table};
use crate::run::{Farm, FarmSetup, LIMIT_SECONDS, RawLoop, RawSetup, Storage, encode};
use crate::statistics::spread;
use crate::task::{PLAIN_BYTES, Work, epoch_nanoseconds};

const RATES_PER_SECOND: [f64; 4] = [100.0, 1_000.0, 5_000.0, 10_000.0];
const WORKERS: usize = 4;
/// A run is so many times as long as one of the throughput.
const LONGER: f64 = 3.0;
/// Longest latency that is told apart, in microseconds.
const LONGEST_MICROSECONDS: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Quantiles of one run, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Quantiles {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    most_ms: f64,
    tasks: u64,
}

impl Quantiles {
    fn of(counts: &[(u64, u64)]) -> Result<Self, Error> {
        let unusable = || Error::function("count latencies");
        let histogram = Histogram::<u64>::new_with_max(LONGEST_MICROSECONDS, SIGNIFICANT_DIGITS);
        let mut histogram = histogram.map_err(unusable())?;
        for (microseconds, count) in counts {
            histogram.saturating_record_n(*microseconds, *count);
        }
        let quantile = |q| histogram.value_at_quantile(q) as f64 / 1e3;
        Ok(Self {
            p50_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            most_ms: histogram.max() as f64 / 1e3,
            tasks: histogram.len(),
        })
    }
}

/// The runs at one rate.
#[derive(Debug, Serialize)]
struct Series {
    rate_per_second: f64,
    #[serde(flatten)]
    pairs: Pairs<Quantiles>,
}

pub(super) async fn run(bench: &Bench) -> Result<Findings, Error> {
    let mut results = Vec::new();
    for rate_per_second in RATES_PER_SECOND {
        let what = format!("latency: {rate_per_second} tasks/s");
        let work = work(bench, rate_per_second);
        let (raw, farm) = (
            async || raw(bench, work).await,
            async || farm(bench, work).await,
        );
        results.push(Series {
            rate_per_second,
            pairs: Pairs::run(bench, &what, raw, farm).await?,
        });
    }
    let (table, figure) = (table(&results), figure(&results));
    Ok(Findings::new(vec![table], vec![figure], &results))
}

fn work(bench: &Bench, rate_per_second: f64) -> Work {
    let tasks = rate_per_second * bench.settings.run_seconds * LONGER;
    let counted = (tasks as u64).clamp(1, bench.settings.max_tasks.unwrap_or(u64::MAX));
    let mut work = Work {
        rate_per_second: Some(rate_per_second),
        ..Work::plain(counted)
    };
    work.tasks += work.warm_up_tasks();
    work
}

async fn raw(bench: &Bench, work: Work) -> Result<Quantiles, Error> {
    let server = &bench.settings.nats_server;
    let setup = RawSetup::baseline(server, Storage::File, WORKERS, 1);
    let raw = RawLoop::start(setup, work).await?;
    Quantiles::of(&raw.run().await?.latency_microseconds)
}

async fn farm(bench: &Bench, work: Work) -> Result<Quantiles, Error> {
    let setup = FarmSetup::standard(&bench.settings, WORKERS, "auto");
    let farm = Farm::start(setup).await?;
    let job = farm.next_job().await?;
    let following = async {
        let job = job.await?;
        follow(&farm, job.as_str(), work.warm_up_tasks()).await
    };
    let submitting = farm.submit(encode(&work), false);
    let both = async { tokio::try_join!(submitting, following) };
    let what = "a run of the farm at a fixed rate";
    let (_, latencies) = guarded(what, LIMIT_SECONDS, farm.processes(), both).await?;
    let counted = work.tasks - work.warm_up_tasks();
    match latencies.len() as u64 == counted {
        true => Quantiles::of(&latencies),
        false => Err(Error::Account {
            what: "the farm at a fixed rate".to_owned(),
            found: format!("{} results", latencies.len()),
            expected: format!("{counted} results"),
        }),
    }
}

/// Reads the results of a job, live, to its end: the latency of each in microseconds, but of the
/// first `warm_up` tasks.
async fn follow(farm: &Farm, job: &str, warm_up: u64) -> Result<Vec<(u64, u64)>, Error> {
    let failed = || Error::function("follow the results of a job");
    let url = format!("{}/jobs/{job}/results", farm.address);
    let answer = loop {
        let answer = farm.http.get(&url).send().await.map_err(failed())?;
        if answer.status() != reqwest::StatusCode::NOT_FOUND {
            break answer.error_for_status().map_err(failed())?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let mut body = answer.bytes_stream();
    let (mut buffer, mut latencies) = (BytesMut::new(), Vec::new());
    while let Some(piece) = body.next().await {
        buffer.extend_from_slice(&piece.map_err(failed())?);
        let now = epoch_nanoseconds();
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end);
            buffer.advance(1);
            if let Some((task, intended)) = intended(&line)
                && task >= warm_up
            {
                latencies.push((now.saturating_sub(intended) / 1000, 1));
            }
        }
    }
    Ok(latencies)
}

/// The number of a line's task and when it was meant to be submitted; `None` for what is no result.
fn intended(line: &[u8]) -> Option<(u64, u64)> {
    let outcome: TaskOutcome = serde_json::from_slice(line).ok()?;
    let intended = outcome.output?.get().parse().ok()?;
    Some((outcome.task.parse().ok()?, intended))
}

type Quantile = fn(&Quantiles) -> f64;

fn table(results: &[Series]) -> Table {
    let mut table = Table::new(
        "Latency, intended submit to collected result, ms: median (least–most) of the runs",
        ["TASKS/S", "QUANTILE", "RAW LOOP", "FARM", "FARM / RAW"],
    );
    let quantiles: [(&str, Quantile); 4] = [
        ("p50", |q| q.p50_ms),
        ("p90", |q| q.p90_ms),
        ("p99", |q| q.p99_ms),
        ("p99.9", |q| q.p999_ms),
    ];
    for Series {
        rate_per_second,
        pairs,
    } in results
    {
        for (name, quantile) in quantiles {
            table.row([
                rate_per_second.to_string(),
                name.to_owned(),
                spread(pairs.raw.iter().map(quantile)),
                spread(pairs.farm.iter().map(quantile)),
                spread(pairs.ratios(quantile)),
            ]);
        }
    }
    table.note(format!(
        "{PLAIN_BYTES} B, file storage, {WORKERS} worker processes, granularity auto; tasks are due on \
         a fixed grid; the first two seconds do not count."
    ));
    table.note("Raw: until the collector has the message. Farm: until the client has the line.");
    table
}

fn figure(results: &[Series]) -> Figure {
    let curve = |name: &str, runs: fn(&Pairs<Quantiles>) -> &[Quantiles], quantile: Quantile| {
        let points = results.iter().map(|series| {
            (
                series.rate_per_second,
                runs(&series.pairs).iter().map(quantile),
            )
        });
        Curve::new(name, points)
    };
    Figure {
        name: "latency".to_owned(),
        title: "Latency at fixed rates, 4 workers".to_owned(),
        x_name: "tasks per second".to_owned(),
        y_name: "milliseconds".to_owned(),
        y_logarithmic: true,
        curves: vec![
            curve("raw loop, p50", |pairs| &pairs.raw, |q| q.p50_ms),
            curve("farm, p50", |pairs| &pairs.farm, |q| q.p50_ms),
            curve("raw loop, p99", |pairs| &pairs.raw, |q| q.p99_ms),
            curve("farm, p99", |pairs| &pairs.farm, |q| q.p99_ms),
        ],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_all_tasks() {
        let quantiles = Quantiles::of(&[(1_000, 98), (9_000, 2)]).unwrap();
        assert_eq!(quantiles.tasks, 100);
        assert!((quantiles.p50_ms - 1.0).abs() < 0.01, "{quantiles:?}");
        assert!((quantiles.p99_ms - 9.0).abs() < 0.01, "{quantiles:?}");
    }

    #[test]
    fn a_line_tells_when_its_task_was_due() {
        let line = br#"{"task":"5","outcome":"done","cursor":1,"attempt":1,"worker":"w","service_seconds":0,"sojourn_seconds":0,"output":17}"#;
        assert_eq!(intended(line), Some((5, 17)));
        assert_eq!(intended(b"{}"), None);
    }
}
