//! The published runs: see README.md in this folder.

use std::collections::BTreeMap;

use farm_sim::workload::{Deadline, Stream, Task, Workload};

/// One published episode.
#[derive(Debug, Default)]
pub struct Published {
    pub seed: u64,
    pub qos_percent: f64,
    pub workers_mean: f64,
    pub steps: Vec<Step>,
}

/// One step of it, as it was at its end.
#[derive(Debug)]
pub struct Step {
    pub workers: u32,
    pub queue: f64,
    pub qos_ratio: f64,
    pub arrival_rate_per_second: f64,
    /// `None` where it could not be decoded.
    pub seconds: Option<f64>,
}

/// All episodes, by policy, in the order of their seeds.
pub fn episodes() -> BTreeMap<String, Vec<Published>> {
    let mut steps: BTreeMap<(String, u64), Vec<Step>> = BTreeMap::new();
    for cells in lines(include_str!("steps.csv")) {
        let step = Step {
            workers: number(cells[4]) as u32,
            queue: number(cells[5]),
            qos_ratio: number(cells[6]),
            arrival_rate_per_second: number(cells[7]),
            seconds: cells[8].parse().ok(),
        };
        let key = (cells[0].to_owned(), number(cells[1]) as u64);
        steps.entry(key).or_default().push(step);
    }
    let mut episodes: BTreeMap<String, Vec<Published>> = BTreeMap::new();
    for cells in lines(include_str!("episodes.csv")) {
        let (policy, seed) = (cells[0].to_owned(), number(cells[1]) as u64);
        let steps = steps.remove(&(policy.clone(), seed)).unwrap();
        episodes.entry(policy).or_default().push(Published {
            seed,
            qos_percent: number(cells[2]),
            workers_mean: number(cells[3]),
            steps,
        });
    }
    episodes
}

fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().skip(1).map(|line| line.split(',').collect())
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap()
}

/// The very tasks of each seed.
pub fn streams() -> BTreeMap<u64, Stream> {
    let starts = [90, 540, 840];
    let deadline: Deadline = Workload::paper().deadline;
    let mut streams: BTreeMap<u64, Stream> = BTreeMap::new();
    let mut seed = 0;
    for line in include_str!("streams.txt").lines() {
        let (first, second) = line.split_once(' ').unwrap();
        let second: u64 = second.parse().unwrap();
        if first == "seed" {
            seed = second;
            streams.entry(seed).or_default().phase_starts.push(0);
            continue;
        }
        let stream = streams.entry(seed).or_default();
        let before = stream.tasks.last().map_or(0, |task| task.arrival);
        let arrival = before + first.parse::<u64>().unwrap() * 100_000;
        if starts.contains(&stream.tasks.len()) {
            stream.phase_starts.push(arrival);
        }
        let service = second * 100_000;
        let due = deadline.seconds(farm_sim::seconds(service)).unwrap();
        stream.tasks.push(Task {
            arrival,
            service,
            deadline: farm_sim::nanoseconds(due),
        });
    }
    streams
}

/// Mean and standard deviation over the population, as published.
pub fn mean_and_deviation(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.into_iter().collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (mean, (squares.sum::<f64>() / count).sqrt())
}
