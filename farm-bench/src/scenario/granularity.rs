//! How short a task may be: the share of the workers' time that goes into the tasks themselves.

use serde::Serialize;

use super::turns::{fitting, in_turns};
use crate::bench::Bench;
use crate::error::Error;
use crate::function::Variant;
use crate::machine::cores;
use crate::report::{Curve, Figure, Findings, Table};
use crate::run::{COLD_TASKS, Farm, FarmSetup, Run};
use crate::statistics::{spread, written};
use crate::task::{Work, spin_rounds_per_microsecond};

const SERVICE_MICROSECONDS: [u64; 6] = [0, 1, 10, 100, 1_000, 10_000];
const WORKERS: usize = 2;
/// `FARM_GRANULARITY`, and the most tasks of a trial.
const GRANULARITIES: [(&str, u64); 2] = [("off", 5_000), ("auto", 50_000)];
/// The most time that the tasks of a trial compute, in microseconds.
const TRIAL_MICROSECONDS: u64 = 500_000;
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
    /// Of what the server left of it.
    efficiency_net_of_server_ratio: f64,
    /// Of what everything else on the machine left of it.
    efficiency_net_of_others_ratio: f64,
}

impl Point {
    fn new(run: Run, service_microseconds: u64) -> Self {
        let useful_seconds = run.tasks as f64 * service_microseconds as f64 / 1e6;
        let wall_seconds = WORKERS as f64 * run.seconds;
        let net_of = |taken_seconds: f64| {
            let left_seconds = cores() as f64 * run.seconds - taken_seconds;
            useful_seconds / wall_seconds.min(left_seconds).max(1e-9)
        };
        let others_seconds = run.cpu_seconds.but_workers() + run.foreign_cpu_seconds;
        Self {
            useful_seconds,
            efficiency_ratio: useful_seconds / wall_seconds,
            efficiency_net_of_server_ratio: net_of(run.cpu_seconds.server),
            efficiency_net_of_others_ratio: net_of(others_seconds),
            run,
        }
    }
}

/// One service time and granularity.
#[derive(Debug, Clone, Copy, Serialize)]
struct Case {
    service_microseconds: u64,
    granularity: &'static str,
    #[serde(skip)]
    spin_rounds: u64,
    #[serde(skip)]
    trial_tasks: u64,
}

impl Case {
    async fn run(self, bench: &Bench, tasks: u64) -> Result<Point, Error> {
        let standard = FarmSetup::standard(&bench.settings, WORKERS, self.granularity);
        let farm = Farm::start(FarmSetup {
            variant: match self.service_microseconds >= BLOCKING_MICROSECONDS {
                true => Variant::SplitBlocking,
                false => Variant::Split,
            },
            ..standard
        })
        .await?;
        let work = |tasks| Work {
            spin_rounds: self.spin_rounds,
            ..Work::plain(tasks)
        };
        let cold_tasks = COLD_TASKS.min(self.trial_tasks).min(tasks);
        farm.warm_up(work(cold_tasks)).await?;
        let run = farm.run(work(tasks)).await?;
        Ok(Point::new(run, self.service_microseconds))
    }
}

/// All runs of one case.
#[derive(Debug, Serialize)]
struct Series {
    #[serde(flatten)]
    case: Case,
    farm: Vec<Point>,
}

pub(super) async fn run(bench: &Bench) -> Result<Findings, Error> {
    let rounds_per_microsecond = spin_rounds_per_microsecond();
    let mut results = Vec::new();
    for service_microseconds in SERVICE_MICROSECONDS {
        let what = format!("granularity: {service_microseconds} µs");
        let mut sides = Vec::new();
        for (granularity, most) in GRANULARITIES {
            let trial_tasks = TRIAL_MICROSECONDS.checked_div(service_microseconds);
            let case = Case {
                service_microseconds,
                granularity,
                spin_rounds: (service_microseconds as f64 * rounds_per_microsecond) as u64,
                trial_tasks: trial_tasks.unwrap_or(most).clamp(20, most),
            };
            let trial = async |tasks| Ok(case.run(bench, tasks).await?.run.tasks_per_second);
            let tasks = fitting(bench, &what, case.trial_tasks, trial).await?;
            sides.push(((case, tasks), Vec::new()));
        }
        in_turns(bench, &what, &mut sides, async |(case, tasks)| {
            case.run(bench, *tasks).await
        })
        .await?;
        let series = sides.into_iter();
        results.extend(series.map(|((case, _), farm)| Series { case, farm }));
    }
    let (table, figure) = (table(&results), figure(&results));
    Ok(Findings::new(vec![table], vec![figure], &results))
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
            "NET OF SERVER",
            "NET OF ALL OTHERS",
        ],
    );
    for Series { case, farm } in results {
        table.row([
            case.service_microseconds.to_string(),
            case.granularity.to_owned(),
            farm.first().map_or(0, |point| point.run.tasks).to_string(),
            spread(farm.iter().map(|point| point.run.tasks_per_second)),
            spread(farm.iter().map(|point| point.efficiency_ratio)),
            spread(
                farm.iter()
                    .map(|point| point.efficiency_net_of_server_ratio),
            ),
            spread(
                farm.iter()
                    .map(|point| point.efficiency_net_of_others_ratio),
            ),
        ]);
    }
    let cores = written(cores() as f64);
    table.note("EFFICIENCY: tasks × service time / (workers × wall time).");
    table.note(format!(
        "NET OF SERVER: tasks × service time / min(workers × wall, {cores} cores × wall − processor \
         time of the NATS server)."
    ));
    table.note(
        "NET OF ALL OTHERS: the same, less the processor time of emitter, collector and whatever \
         else ran on the machine, too.",
    );
    table.note("Service is a fixed number of rounds, calibrated alone: an interrupted task counts no more.");
    table.note("A job of the same tasks is run before the measured one.");
    table
}

fn figure(results: &[Series]) -> Figure {
    let curve = |granularity: &str, name: &str, value: fn(&Point) -> f64| {
        let series = results.iter().filter(|series| {
            series.case.granularity == granularity && series.case.service_microseconds > 0
        });
        let points = series.map(|Series { case, farm }| {
            (case.service_microseconds as f64, farm.iter().map(value))
        });
        Curve::new(format!("{granularity}, {name}"), points)
    };
    let curves = GRANULARITIES.into_iter().flat_map(|(granularity, _)| {
        [
            curve(granularity, "of the workers' time", |point| {
                point.efficiency_ratio
            }),
            curve(granularity, "net of the server", |point| {
                point.efficiency_net_of_server_ratio
            }),
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
        let cores = cores() as f64;
        let run = Run {
            tasks: 1000,
            seconds: 1.0,
            tasks_per_second: 1000.0,
            cpu_seconds: CpuSeconds {
                server: cores - 1.0,
                emitter: 0.25,
                ..CpuSeconds::default()
            },
            foreign_cpu_seconds: 0.25,
            wire_bytes: 0,
            messages: 0,
            disk_bytes: 0,
            latency_microseconds: Vec::new(),
        };
        let point = Point::new(run, 500);
        let ratios = [
            point.efficiency_ratio,
            point.efficiency_net_of_server_ratio,
            point.efficiency_net_of_others_ratio,
        ];
        for (ratio, expected) in ratios.into_iter().zip([0.25, 0.5, 1.0]) {
            assert!((ratio - expected).abs() < 1e-9, "{point:?}");
        }
    }
}
