//! How short a task may be: the share of the workers' time that goes into the tasks themselves.

use serde::Serialize;
use serde_json::json;

use crate::bench::Bench;
use crate::error::Error;
use crate::function::Variant;
use crate::machine::cores;
use crate::report::{Curve, Figure, Report, Table};
use crate::run::{Farm, FarmSetup, Run, Storage};
use crate::statistics::{Spread, spread, written};
use crate::task::{Work, spin_rounds_per_microsecond};

const SERVICE_MICROSECONDS: [u64; 6] = [0, 1, 10, 100, 1_000, 10_000];
const WORKERS: usize = 2;
const TASK_BYTES: usize = 128;
const GRANULARITIES: [&str; 2] = ["off", "auto"];
/// Tasks of the run that tells how many a run of the wanted length has.
const TRIAL_TASKS: u64 = 2_000;
/// The least time a trial spends computing, and the most, in microseconds.
const TRIAL_MICROSECONDS: u64 = 500_000;
const MOST_TASKS: u64 = 5_000_000;
/// From here on a user is told to write a function that blocks.
const BLOCKING_MICROSECONDS: u64 = 1_000;

/// One run, and what its tasks computed.
#[derive(Debug, Clone, Serialize)]
struct Point {
    #[serde(flatten)]
    run: Run,
    useful_seconds: f64,
    /// Of the workers' wall time.
    efficiency_ratio: f64,
    /// Of what the other parts left of it.
    net_efficiency_ratio: f64,
}

impl Point {
    fn new(run: Run, service_microseconds: u64) -> Self {
        let useful_seconds = run.tasks as f64 * service_microseconds as f64 / 1e6;
        let gross = WORKERS as f64 * run.seconds;
        let taken = run.cpu_seconds.but_workers() + run.foreign_cpu_seconds;
        let left = cores() as f64 * run.seconds - taken;
        Self {
            useful_seconds,
            efficiency_ratio: useful_seconds / gross,
            net_efficiency_ratio: useful_seconds / gross.min(left).max(1e-9),
            run,
        }
    }
}

/// All runs of one service time and granularity.
struct Series {
    service_microseconds: u64,
    granularity: &'static str,
    points: Vec<Point>,
}

pub(super) async fn run(bench: &Bench) -> Result<Report, Error> {
    let rounds_per_microsecond = spin_rounds_per_microsecond();
    let mut results = Vec::new();
    for service_microseconds in SERVICE_MICROSECONDS {
        let spin_rounds = (service_microseconds as f64 * rounds_per_microsecond) as u64;
        let mut series = Vec::new();
        for granularity in GRANULARITIES {
            let trial_tasks = TRIAL_MICROSECONDS.checked_div(service_microseconds);
            let trial_tasks = trial_tasks.unwrap_or(TRIAL_TASKS).clamp(20, TRIAL_TASKS);
            let trial = one(
                bench,
                service_microseconds,
                granularity,
                spin_rounds,
                trial_tasks,
            );
            let tasks = trial.await?.run.tasks_per_second * bench.settings.run_seconds;
            let most = bench.settings.max_tasks.unwrap_or(MOST_TASKS);
            series.push((granularity, (tasks as u64).clamp(1, most), Vec::new()));
        }
        for pair in 0..bench.settings.pairs {
            let (number, of) = (pair + 1, bench.settings.pairs);
            bench.say(format!(
                "granularity: {service_microseconds} µs: pair {number} of {of}"
            ));
            for (granularity, tasks, points) in &mut series {
                let run = one(
                    bench,
                    service_microseconds,
                    granularity,
                    spin_rounds,
                    *tasks,
                );
                points.push(run.await?);
            }
        }
        results.extend(series.into_iter().map(|(granularity, _, points)| Series {
            service_microseconds,
            granularity,
            points,
        }));
    }
    Ok(Report {
        scenario: "granularity".to_owned(),
        tables: vec![table(&results)],
        figures: vec![figure(&results)],
        runs: results.iter().map(Series::json).collect(),
    })
}

async fn one(
    bench: &Bench,
    service_microseconds: u64,
    granularity: &str,
    spin_rounds: u64,
    tasks: u64,
) -> Result<Point, Error> {
    let farm = Farm::start(FarmSetup {
        nats_server: bench.settings.nats_server.clone(),
        storage: Storage::File,
        workers: WORKERS,
        slots: bench.settings.slots,
        granularity: granularity.to_owned(),
        variant: match service_microseconds >= BLOCKING_MICROSECONDS {
            true => Variant::SplitBlocking,
            false => Variant::Split,
        },
        program: None,
    })
    .await?;
    let work = Work {
        tasks,
        task_bytes: TASK_BYTES,
        spin_rounds,
        rate_per_second: None,
    };
    Ok(Point::new(farm.run(work).await?, service_microseconds))
}

impl Series {
    fn json(&self) -> serde_json::Value {
        json!({
            "service_microseconds": self.service_microseconds,
            "granularity": self.granularity,
            "farm": self.points,
        })
    }
}

fn table(results: &[Series]) -> Table {
    let mut table = Table::new(
        "Efficiency by service time, 2 workers: median (least–most)",
        [
            "SERVICE µs",
            "GRANULARITY",
            "TASKS",
            "TASKS/S",
            "EFFICIENCY",
            "NET EFFICIENCY",
        ],
    );
    for series in results {
        let points = || series.points.iter();
        table.row([
            series.service_microseconds.to_string(),
            series.granularity.to_owned(),
            points()
                .next()
                .map_or(0, |point| point.run.tasks)
                .to_string(),
            spread(points().map(|point| point.run.tasks_per_second)),
            spread(points().map(|point| point.efficiency_ratio)),
            spread(points().map(|point| point.net_efficiency_ratio)),
        ]);
    }
    let cores = written(cores() as f64);
    table.note("EFFICIENCY: tasks × service time / (workers × wall time).");
    table.note(format!(
        "NET: tasks × service time / min(workers × wall, {cores} cores × wall − processor time of \
         server, emitter, collector and whatever else ran on the machine)."
    ));
    table.note("Service is a fixed number of rounds, calibrated alone: an interrupted task counts no more.");
    table
}

fn figure(results: &[Series]) -> Figure {
    let curve = |granularity: &str, name: &str, value: fn(&Point) -> f64| Curve {
        name: format!("{granularity}, {name}"),
        points: results
            .iter()
            .filter(|series| series.granularity == granularity && series.service_microseconds > 0)
            .filter_map(|series| {
                let Spread {
                    median,
                    least,
                    most,
                } = Spread::of(series.points.iter().map(value))?;
                Some((series.service_microseconds as f64, median, least, most))
            })
            .collect(),
    };
    let curves = GRANULARITIES.into_iter().flat_map(|granularity| {
        [
            curve(granularity, "of the workers' time", |point| {
                point.efficiency_ratio
            }),
            curve(granularity, "net", |point| point.net_efficiency_ratio),
        ]
    });
    Figure {
        name: "granularity".to_owned(),
        title: "Efficiency by service time, 2 workers".to_owned(),
        x_name: "service time, µs".to_owned(),
        y_name: "efficiency".to_owned(),
        y_logarithmic: false,
        curves: curves.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::CpuSeconds;

    #[test]
    fn the_time_of_other_parts_is_taken_out_once() {
        let run = Run {
            tasks: 1000,
            seconds: 1.0,
            tasks_per_second: 1000.0,
            cpu_seconds: CpuSeconds {
                server: cores() as f64 - 1.0,
                ..CpuSeconds::default()
            },
            foreign_cpu_seconds: 0.0,
            wire_bytes: 0,
            messages: 0,
            disk_bytes: 0,
            latency_microseconds: Vec::new(),
        };
        let point = Point::new(run, 500);
        assert!((point.efficiency_ratio - 0.25).abs() < 1e-9, "{point:?}");
        assert!((point.net_efficiency_ratio - 0.5).abs() < 1e-9, "{point:?}");
    }
}
