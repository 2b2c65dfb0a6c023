//! Tasks a second: the farm beside the raw loop.

use serde::Serialize;

use super::turns::{Pairs, fitting, trial_tasks};
use crate::bench::{Bench, Settings};
use crate::error::Error;
use crate::report::{Curve, Figure, Findings, Table};
use crate::run::{COLD_TASKS, Farm, FarmSetup, RawLoop, RawSetup, Run, Storage};
use crate::statistics::{Spread, spread, written};
use crate::task::{PLAIN_BYTES, Work};

/// The slower side may take so many times as long as the faster one.
const SLOWER: f64 = 4.0;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
struct Case {
    task_bytes: usize,
    storage: Storage,
    workers: usize,
    /// `FARM_GRANULARITY` of the farm.
    granularity: String,
    /// Tasks in one message of the raw loop.
    raw_chunk: u32,
    /// Whether what is measured is the first job of all.
    cold: bool,
}

impl Case {
    fn single(task_bytes: usize, storage: Storage, workers: usize) -> Self {
        Self {
            task_bytes,
            storage,
            workers,
            granularity: "off".to_owned(),
            raw_chunk: 1,
            cold: false,
        }
    }

    fn chunked(granularity: &str, raw_chunk: u32, storage: Storage, workers: usize) -> Self {
        Self {
            granularity: granularity.to_owned(),
            raw_chunk,
            ..Self::single(PLAIN_BYTES, storage, workers)
        }
    }

    fn cold(self) -> Self {
        Self { cold: true, ..self }
    }

    /// Tasks of the job before a measured one of `tasks`.
    fn cold_tasks(&self, tasks: u64) -> u64 {
        match self.cold {
            true => 0,
            false => COLD_TASKS.min(tasks),
        }
    }

    fn work(&self, tasks: u64) -> Work {
        Work {
            task_bytes: self.task_bytes,
            ..Work::plain(tasks)
        }
    }

    async fn raw(&self, bench: &Bench, tasks: u64) -> Result<Run, Error> {
        let server = &bench.settings.nats_server;
        let setup = RawSetup {
            cold_tasks: self.cold_tasks(tasks),
            ..RawSetup::baseline(server, self.storage, self.workers, self.raw_chunk)
        };
        RawLoop::start(setup, self.work(tasks)).await?.run().await
    }

    async fn farm(&self, bench: &Bench, tasks: u64) -> Result<Run, Error> {
        let setup = FarmSetup {
            storage: self.storage,
            ..FarmSetup::standard(&bench.settings, self.workers, &self.granularity)
        };
        let farm = Farm::start(setup).await?;
        farm.warm_up(self.work(self.cold_tasks(tasks))).await?;
        farm.run(self.work(tasks)).await
    }

    fn granularity(&self) -> String {
        match self.cold {
            true => format!("{}, cold", self.granularity),
            false => self.granularity.clone(),
        }
    }

    fn name(&self) -> String {
        let Self {
            task_bytes,
            workers,
            ..
        } = self;
        let storage = self.storage.name();
        let granularity = self.granularity();
        format!("{task_bytes} B, {storage}, {workers} workers, granularity {granularity}")
    }
}

/// The combinations: by default those that tell most.
fn cases(all: bool) -> Vec<Case> {
    use Storage::{File, Memory};
    if !all {
        return vec![
            Case::single(128, File, 1),
            Case::single(128, File, 4),
            Case::single(128, Memory, 4),
            Case::single(1024, File, 4),
            Case::single(16 << 10, File, 4),
            Case::chunked("auto", 1024, File, 4),
            Case::chunked("auto", 1024, File, 4).cold(),
            Case::chunked("256", 256, File, 4),
            Case::chunked("4096", 4096, File, 4),
        ];
    }
    let storages = [File, Memory];
    let workers = [1, 2, 4, 8];
    let mut cases = Vec::new();
    for storage in storages {
        for task_bytes in [128, 1024, 16 << 10] {
            cases.extend(workers.map(|workers| Case::single(task_bytes, storage, workers)));
        }
    }
    for storage in storages {
        cases.extend(workers.map(|workers| Case::chunked("auto", 1024, storage, workers)));
        cases.push(Case::chunked("auto", 1024, storage, 4).cold());
        for chunk in [16, 64, 256, 1024, 4096] {
            cases.push(Case::chunked(&chunk.to_string(), chunk, storage, 4));
        }
    }
    cases
}

/// The combinations that were asked for.
fn chosen(settings: &Settings) -> Result<Vec<Case>, Error> {
    let mut cases = cases(settings.all);
    let only = &settings.only;
    cases.retain(|case| {
        let name = case.name();
        only.is_empty() || only.iter().any(|words| name.contains(words))
    });
    match cases.is_empty() {
        true => Err(Error::Nothing {
            only: only.join(" or "),
        }),
        false => Ok(cases),
    }
}

/// One combination and its runs.
#[derive(Debug, Serialize)]
struct Series {
    case: Case,
    #[serde(flatten)]
    pairs: Pairs<Run>,
}

pub(super) async fn run(bench: &Bench) -> Result<Findings, Error> {
    let mut results = Vec::new();
    for case in chosen(&bench.settings)? {
        let what = format!("throughput: {}", case.name());
        let trial = trial_tasks(case.raw_chunk);
        let tasks = fitting(bench, &what, trial, async |tasks| {
            let raw = case.raw(bench, tasks).await?.tasks_per_second;
            let farm = case.farm(bench, tasks).await?.tasks_per_second;
            Ok(raw.min(farm * SLOWER).max(farm))
        });
        let tasks = tasks.await?;
        let raw = async || case.raw(bench, tasks).await;
        let farm = async || case.farm(bench, tasks).await;
        let pairs = Pairs::run(bench, &what, raw, farm).await?;
        results.push(Series { case, pairs });
    }
    let tables = vec![rates(&results), costs(&results)];
    Ok(Findings::new(tables, vec![figure(&results)], &results))
}

fn rates(results: &[Series]) -> Table {
    let mut table = Table::new(
        "Throughput, tasks/s: median (least–most)",
        [
            "SIZE",
            "STORAGE",
            "WORKERS",
            "GRANULARITY",
            "TASKS",
            "RAW LOOP",
            "FARM",
            "FARM / RAW",
        ],
    );
    for Series { case, pairs } in results {
        let rate = |run: &Run| run.tasks_per_second;
        table.row([
            format!("{} B", case.task_bytes),
            case.storage.name().to_owned(),
            case.workers.to_string(),
            granularity(case),
            pairs.raw.first().map_or(0, |run| run.tasks).to_string(),
            spread(pairs.raw.iter().map(rate)),
            spread(pairs.farm.iter().map(rate)),
            spread(pairs.ratios(rate)),
        ]);
    }
    table.note(format!(
        "A job of {COLD_TASKS} tasks is run before the measured one, on both sides, except where it \
         says cold."
    ));
    table
        .note("From the start of the submit until the last result is counted; ratio pair by pair.");
    table.note(
        "GRANULARITY: of the farm, and tasks in a message of the raw loop where they differ.",
    );
    table
}

fn granularity(case: &Case) -> String {
    match (case.granularity().as_str(), case.raw_chunk) {
        ("off", 1) => "off".to_owned(),
        (farm, raw) if farm == raw.to_string() => farm.to_owned(),
        (farm, raw) => format!("{farm} / {raw}"),
    }
}

fn costs(results: &[Series]) -> Table {
    let mut table = Table::new(
        "What a task costs: processor time in µs by part, bytes and messages; medians",
        [
            "CASE",
            "SIDE",
            "SERVER",
            "EMITTER",
            "WORKERS",
            "COLLECTOR",
            "ALL",
            "WIRE B",
            "DISK B",
            "MESSAGES",
        ],
    );
    for Series { case, pairs } in results {
        for (side, runs) in [("raw", &pairs.raw), ("farm", &pairs.farm)] {
            let per_task = |value: fn(&Run) -> f64| {
                let values = runs.iter().map(|run| value(run) / run.tasks.max(1) as f64);
                Spread::of(values).map_or(0.0, |spread| spread.median)
            };
            let micros = |value: fn(&Run) -> f64| written(per_task(value) * 1e6);
            table.row([
                case.name(),
                side.to_owned(),
                micros(|run| run.cpu_seconds.server),
                micros(|run| run.cpu_seconds.emitter),
                micros(|run| run.cpu_seconds.workers),
                micros(|run| run.cpu_seconds.collector),
                micros(|run| run.cpu_seconds.but_workers() + run.cpu_seconds.workers),
                written(per_task(|run| run.wire_bytes as f64)),
                written(per_task(|run| run.disk_bytes as f64)),
                written(per_task(|run| run.messages as f64)),
            ]);
        }
    }
    table.note("WIRE and MESSAGES: to and from the server, acknowledgements and pulls included; headers and bodies, not subjects.");
    table
}

/// Rates over the size of a message's load, of the file storage with four workers.
fn figure(results: &[Series]) -> Figure {
    let side = |name: &str, runs: fn(&Pairs<Run>) -> &[Run]| {
        let fixed = results.iter().filter(|Series { case, .. }| {
            let fixed = case.granularity == "off" || case.granularity == case.raw_chunk.to_string();
            let plain = case.task_bytes == PLAIN_BYTES && case.storage == Storage::File;
            fixed && plain && case.workers == 4
        });
        let points = fixed.map(|Series { case, pairs }| {
            let rates = runs(pairs).iter().map(|run| run.tasks_per_second);
            (f64::from(case.raw_chunk), rates)
        });
        Curve::new(name, points)
    };
    Figure {
        name: "throughput".to_owned(),
        title: "Throughput, 128 B, file storage, 4 workers".to_owned(),
        x_name: "tasks in a message".to_owned(),
        y_name: "tasks per second".to_owned(),
        y_logarithmic: true,
        curves: vec![
            side("raw loop", |pairs| &pairs.raw),
            side("farm", |pairs| &pairs.farm),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_hold_the_default_ones() {
        let all: Vec<String> = cases(true).iter().map(Case::name).collect();
        for case in cases(false) {
            assert!(all.contains(&case.name()), "{}", case.name());
        }
    }
}
