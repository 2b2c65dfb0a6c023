//! What each guarantee costs: the raw loop with one after the other, and the farm.

use serde::Serialize;

use super::turns::{fitting, in_turns, trial_tasks};
use crate::bench::Bench;
use crate::error::Error;
use crate::raw::{Gathering, Once, Safety};
use crate::report::{Curve, Figure, Findings, Table};
use crate::run::{COLD_TASKS, Farm, FarmSetup, RawLoop, RawSetup, Run, Storage};
use crate::server::Durability;
use crate::statistics::{Spread, spread, written};
use crate::task::Work;

const WORKERS: usize = 4;
/// Tasks of a trial where every write waits for the disk: of slow ones some hundred a second.
const SLOW_TRIAL_TASKS: u64 = 200;
/// What shares are taken of.
const BASELINE: &str = "ids";

/// One line of the table.
#[derive(Debug, Clone, Copy, Serialize)]
struct Side {
    #[serde(rename = "side")]
    name: &'static str,
    /// In few words.
    gives: &'static str,
    #[serde(skip)]
    loops: Loop,
}

#[derive(Debug, Clone, Copy)]
enum Loop {
    Raw {
        safety: Safety,
        storage: Storage,
        durability: Durability,
    },
    Farm,
}

const fn raw(once: Once, storage: Storage, durability: Durability) -> Loop {
    Loop::Raw {
        safety: Safety {
            once,
            gathering: Gathering::Acknowledged,
        },
        storage,
        durability,
    }
}

const SIDES: [Side; 8] = [
    Side {
        name: "plain",
        gives: "every task at least once, results perhaps twice",
        loops: raw(Once::Unchecked, Storage::File, Durability::Process),
    },
    Side {
        name: BASELINE,
        gives: "what is published twice within two minutes is stored once",
        loops: raw(Once::MessageIds, Storage::File, Durability::Process),
    },
    Side {
        name: "own subjects",
        gives: "one result a task for as long as results are kept",
        loops: raw(Once::OwnSubjects, Storage::File, Durability::Process),
    },
    Side {
        name: "own subjects, headers only",
        gives: "the same; the collector reads no bodies and acknowledges nothing",
        loops: Loop::Raw {
            safety: Safety {
                once: Once::OwnSubjects,
                gathering: Gathering::HeadersOnly,
            },
            storage: Storage::File,
            durability: Durability::Process,
        },
    },
    Side {
        name: "own subjects, memory",
        gives: "the same, until the server ends",
        loops: raw(Once::OwnSubjects, Storage::Memory, Durability::Process),
    },
    Side {
        name: "own subjects, synced",
        gives: "the same; what is acknowledged outlives a power cut",
        loops: raw(Once::OwnSubjects, Storage::File, Durability::Machine),
    },
    Side {
        name: "own subjects, three servers",
        gives: "the same; what is acknowledged outlives the loss of one server and its disk",
        loops: raw(Once::OwnSubjects, Storage::File, Durability::ThreeServers),
    },
    Side {
        name: "farm",
        gives: "as own subjects, headers only; and jobs, retries, deadlines, dead letters, drain, metrics",
        loops: Loop::Farm,
    },
];

impl Side {
    async fn run(self, bench: &Bench, tasks: u64) -> Result<Run, Error> {
        let (nats_server, cold_tasks) = (&bench.settings.nats_server, COLD_TASKS.min(tasks));
        match self.loops {
            Loop::Raw {
                safety,
                storage,
                durability,
            } => {
                let setup = RawSetup {
                    cold_tasks,
                    safety,
                    durability,
                    ..RawSetup::baseline(nats_server, storage, WORKERS, 1)
                };
                RawLoop::start(setup, Work::plain(tasks)).await?.run().await
            }
            Loop::Farm => {
                let setup = FarmSetup::standard(&bench.settings, WORKERS, "off");
                let farm = Farm::start(setup).await?;
                farm.warm_up(Work::plain(cold_tasks)).await?;
                farm.run(Work::plain(tasks)).await
            }
        }
    }

    fn trial_tasks(self) -> u64 {
        match self.loops {
            Loop::Raw {
                durability: Durability::Machine,
                ..
            } => SLOW_TRIAL_TASKS,
            _ => trial_tasks(1),
        }
    }
}

/// All runs of one side.
#[derive(Debug, Serialize)]
struct Series {
    #[serde(flatten)]
    side: Side,
    runs: Vec<Run>,
}

pub(super) async fn run(bench: &Bench) -> Result<Findings, Error> {
    let mut sides = Vec::new();
    for side in SIDES {
        let what = format!("safety: {}", side.name);
        let trial = async |tasks| Ok(side.run(bench, tasks).await?.tasks_per_second);
        let tasks = fitting(bench, &what, side.trial_tasks(), trial).await?;
        sides.push(((side, tasks), Vec::new()));
    }
    in_turns(bench, "safety", &mut sides, async |(side, tasks)| {
        side.run(bench, *tasks).await
    })
    .await?;
    let series = sides
        .into_iter()
        .map(|((side, _), runs)| Series { side, runs });
    let results: Vec<Series> = series.collect();
    let (table, figure) = (table(&results), figure(&results));
    Ok(Findings::new(vec![table], vec![figure], &results))
}

impl Series {
    fn per_task(&self, value: fn(&Run) -> f64) -> impl Iterator<Item = f64> {
        self.runs
            .iter()
            .map(move |run| value(run) / run.tasks.max(1) as f64)
    }
}

fn server_seconds(run: &Run) -> f64 {
    run.cpu_seconds.server
}

fn client_seconds(run: &Run) -> f64 {
    let cpu = run.cpu_seconds;
    cpu.emitter + cpu.workers + cpu.collector
}

fn table(results: &[Series]) -> Table {
    let share = format!("OF {}", BASELINE.to_uppercase());
    let mut table = Table::new(
        "What a guarantee costs, 128 B, 4 workers: median (least–most)",
        [
            "",
            "LOOP",
            "TASKS",
            "TASKS/S",
            &share,
            "SERVER µs",
            "CLIENT µs",
            "WIRE B",
            "GIVES",
        ],
    );
    let baseline = results.iter().find(|series| series.side.name == BASELINE);
    let baseline = baseline.map_or(&[][..], |series| &series.runs);
    for (line, series) in (1..).zip(results) {
        let median = |value: fn(&Run) -> f64, scale: f64| {
            let spread = Spread::of(series.per_task(value));
            spread.map_or("–".to_owned(), |spread| written(spread.median * scale))
        };
        let rounds = series.runs.iter().zip(baseline);
        table.row([
            line.to_string(),
            series.side.name.to_owned(),
            series.runs.first().map_or(0, |run| run.tasks).to_string(),
            spread(series.runs.iter().map(|run| run.tasks_per_second)),
            spread(rounds.map(|(run, base)| run.tasks_per_second / base.tasks_per_second)),
            median(server_seconds, 1e6),
            median(client_seconds, 1e6),
            median(|run| run.wire_bytes as f64, 1.0),
            series.side.gives.to_owned(),
        ]);
    }
    table.note("All but the farm are raw loops; one message a task, file storage, one server, unless it says otherwise.");
    table.note(
        "OF IDS: rate by that of line 2, round by round. SERVER, CLIENT: processor time per task; \
         the client is emitter, workers and collector.",
    );
    table.note("WIRE: headers and bodies to and from the server, not subjects; what three servers send each other counts at both ends.");
    table.note("Three servers share this machine, its cores and its disk.");
    table
}

/// The time of a task by line of the table.
fn figure(results: &[Series]) -> Figure {
    let curve = |name: &str, value: fn(&Run) -> f64| {
        let points = (1..).zip(results).map(|(line, series)| {
            let microseconds = series.per_task(value).map(|seconds| seconds * 1e6);
            (f64::from(line), microseconds)
        });
        Curve::new(name, points)
    };
    Figure {
        name: "safety".to_owned(),
        title: "What a guarantee costs, 128 B, 4 workers".to_owned(),
        x_name: "line of the table".to_owned(),
        y_name: "microseconds per task".to_owned(),
        y_logarithmic: true,
        curves: vec![
            curve("wall time", |run| run.seconds),
            curve("processor time, server", server_seconds),
            curve("processor time, client", client_seconds),
        ],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::run::CpuSeconds;

    fn series(side: Side, seconds: f64) -> Series {
        let run = Run {
            tasks: 1000,
            seconds,
            tasks_per_second: 1000.0 / seconds,
            cpu_seconds: CpuSeconds {
                server: 0.02,
                emitter: 0.001,
                workers: 0.002,
                collector: 0.003,
            },
            foreign_cpu_seconds: 0.0,
            wire_bytes: 400_000,
            messages: 0,
            disk_bytes: 0,
            latency_microseconds: Vec::new(),
        };
        Series {
            side,
            runs: vec![run],
        }
    }

    #[test]
    fn shares_are_of_the_loop_with_ids() {
        let results: Vec<Series> = SIDES
            .into_iter()
            .map(|side| series(side, if side.name == BASELINE { 0.5 } else { 1.0 }))
            .collect();
        let table = table(&results);
        let shares: Vec<&str> = table.rows.iter().map(|row| row[4].as_str()).collect();
        assert_eq!(
            shares,
            [
                "0.500", "1.00", "0.500", "0.500", "0.500", "0.500", "0.500", "0.500"
            ]
        );
        assert_eq!(table.rows[0][5..8], ["20.0", "6.00", "400"]);
        let points = &figure(&results).curves[0].points;
        assert_eq!(points.len(), SIDES.len());
        assert!((points[1].1 - 500.0).abs() < 1e-6, "{points:?}");
    }
}
