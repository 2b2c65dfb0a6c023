//! Streams of our own against the published ones: other numbers, the same distributions.

use farm_sim::seconds;
use farm_sim::workload::{Stream, Workload};

use crate::published::{mean_and_deviation, streams};

type Measure = fn(&Stream) -> f64;

/// What is compared of a stream.
const MEASURES: [(&str, Measure); 8] = [
    ("phase 1, seconds", |stream| phase_seconds(stream, 0)),
    ("phase 2, seconds", |stream| phase_seconds(stream, 1)),
    ("phase 3, seconds", |stream| phase_seconds(stream, 2)),
    ("gap between tasks of phase 1, variation", |stream| {
        gap_variation(&stream.tasks[..90])
    }),
    ("gap between tasks of phase 4, variation", |stream| {
        gap_variation(&stream.tasks[840..])
    }),
    ("service, mean seconds", |stream| service(stream).0),
    ("service, deviation in seconds", |stream| service(stream).1),
    ("most tasks in 8 s", |stream| most_tasks_in(stream, 8.0)),
];

fn phase_seconds(stream: &Stream, phase: usize) -> f64 {
    seconds(stream.phase_starts[phase + 1] - stream.phase_starts[phase])
}

fn gap_variation(tasks: &[farm_sim::workload::Task]) -> f64 {
    let gaps = tasks
        .windows(2)
        .map(|pair| seconds(pair[1].arrival - pair[0].arrival));
    let (mean, deviation) = mean_and_deviation(gaps);
    deviation / mean
}

fn service(stream: &Stream) -> (f64, f64) {
    mean_and_deviation(stream.tasks.iter().map(|task| seconds(task.service)))
}

fn most_tasks_in(stream: &Stream, window_seconds: f64) -> f64 {
    let window = farm_sim::nanoseconds(window_seconds);
    let arrivals: Vec<u64> = stream.tasks.iter().map(|task| task.arrival).collect();
    let counts = arrivals
        .iter()
        .enumerate()
        .map(|(first, from)| arrivals.partition_point(|arrival| *arrival <= from + window) - first);
    counts.max().unwrap_or(0) as f64
}

#[test]
fn our_streams_are_like_the_published_ones() {
    let published: Vec<Stream> = streams().into_values().collect();
    let ours: Vec<Stream> = (0..300)
        .map(|seed| Workload::paper().stream(seed))
        .collect();
    for (name, measure) in MEASURES {
        let (theirs, deviation) = mean_and_deviation(published.iter().map(measure));
        let (mean, _) = mean_and_deviation(ours.iter().map(measure));
        let error = deviation * (1.0 / published.len() as f64 + 1.0 / 300.0).sqrt();
        println!("{name:42} {mean:7.3}, published {theirs:7.3} ± {error:.3}");
        assert!(
            (mean - theirs).abs() < 3.5 * error,
            "{name}: {mean}, not {theirs} ± {error}"
        );
    }
}
