//! What a task costs on its way through `farm-core`: names, headers, chunks, and the sums of service
//! times. `make micro` runs it; `--test` runs each once.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use farm_core::chunk::{ChunkId, ChunkWriter, OutcomeWriter, read_outcome, read_tasks};
use farm_core::envelope::{Outcome, format_seconds, parse_duration_seconds, parse_seconds};
use farm_core::telemetry::Moments;
use farm_core::{TaskId, TaskKey};
use hdrhistogram::Histogram;

const TASK: [u8; 128] = [b'x'; 128];
const COUNTS: [u32; 3] = [16, 256, 4096];
const ID: &str = "0195fa0e-93f2-7d20-b9e2-5d6f7c2a1b3c.123456";
const SERVICE_SECONDS: f64 = 0.000_123;

fn chunk(count: u32) -> (u32, Bytes) {
    let mut writer = ChunkWriter::default();
    for _ in 0..count {
        writer.push(black_box(&TASK));
    }
    writer.take()
}

fn outcome(count: u32) -> Bytes {
    let mut writer = OutcomeWriter::default();
    for _ in 0..count {
        writer.push_done(black_box(SERVICE_SECONDS as f32), black_box(&TASK));
    }
    writer.finish()
}

/// Time is per chunk; the throughput is in tasks.
fn chunks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk");
    for count in COUNTS {
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(format!("write/{count}"), |bench| {
            bench.iter(|| chunk(count))
        });
        // What a worker does with a chunk: the tasks share its memory and are dropped one by one.
        let (_, body) = chunk(count);
        group.bench_function(format!("read/{count}"), |bench| {
            bench.iter_batched(
                || body.clone(),
                |body| read_tasks(black_box(count), body),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn outcomes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outcome");
    for count in COUNTS {
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(format!("write/{count}"), |bench| {
            bench.iter(|| outcome(count));
        });
        let body = outcome(count);
        group.bench_function(format!("read/{count}"), |bench| {
            bench.iter_batched(
                || body.clone(),
                |body| read_outcome(black_box(count), body),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn names(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("name");
    group.bench_function("task id: parse", |bench| {
        bench.iter(|| black_box(ID).parse::<TaskId>());
    });
    if let Ok(id) = ID.parse::<TaskId>() {
        group.bench_function("task id: format", |bench| {
            bench.iter(|| black_box(&id).to_string());
        });
    }
    group.bench_function("task key: from sequence", |bench| {
        bench.iter(|| TaskKey::from_sequence(black_box(123_456)));
    });
    group.bench_function("chunk id: parse", |bench| {
        bench.iter(|| ChunkId::parse(black_box("0195fa0e-93f2-7d20-b9e2-5d6f7c2a1b3c.=4096-256")));
    });
    group.finish();
}

fn envelopes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope");
    group.bench_function("seconds: format", |bench| {
        bench.iter(|| format_seconds(black_box(1_771_234_567.123_456)));
    });
    group.bench_function("seconds: parse", |bench| {
        bench.iter(|| parse_seconds(black_box("1771234567.123456")));
    });
    group.bench_function("duration: parse", |bench| {
        bench.iter(|| parse_duration_seconds(black_box("2.500000")));
    });
    group.bench_function("outcome: parse", |bench| {
        bench.iter(|| Outcome::parse(black_box("failed")));
    });
    group.finish();
}

fn recording(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let mut moments = Moments::default();
    group.bench_function("moments", |bench| {
        bench.iter(|| moments.observe(black_box(SERVICE_SECONDS)));
    });
    // As the command line keeps sojourn times: up to a week, in microseconds.
    if let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 7 * 86_400 * 1_000_000, 3) {
        group.bench_function("histogram", |bench| {
            bench.iter(|| histogram.saturating_record(black_box(1_350)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    // Short: the figures are of nanoseconds, and there are many of them.
    config = Criterion::default()
        .without_plots()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = chunks, outcomes, names, envelopes, recording
}
criterion_main!(benches);
