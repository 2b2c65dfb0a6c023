//! Every policy on a live farm: the paper's workload with its times divided, real worker
//! processes, the real autoscaler. Prints the tables of docs/benchmarks.md as Markdown.
//!
//! `make policies`; it takes half an hour.

mod reaction;

use std::process::ExitCode;

use farm_tests::{Effort, ScaledFarm, Scaling};
use serde_json::Value;

/// The paper's times are multiplied by this.
const TIME_SCALE: f64 = 0.1;
/// The paper's farm: 12 workers at first, 1 to 32.
const PAPER_REPLICAS: u32 = 12;
const PAPER_MAX: u32 = 32;
/// The paper's control interval, deadline (of the mean task) and goal.
const INTERVAL_SECONDS: f64 = 8.0;
const DEADLINE_SECONDS: f64 = 3.0;
const TARGET_QOS: f64 = 0.95;
/// Scale-down stabilisation, in the paper's time.
const STABILISATION_SECONDS: f64 = 30.0;
/// The constant load is 70 % of eight workers, under the default bound of ten.
const CONSTANT_REPLICAS: u32 = 8;
const CONSTANT_MAX: u32 = 10;
const CONSTANT_RATE_PER_SECOND: f64 = 37.3;
const CONSTANT_INTERVALS: f64 = 60.0;
const SETTLING_INTERVALS: f64 = 30.0;

/// A row of the tables: its name and its annotations.
type Row = (&'static str, &'static [(&'static str, &'static str)]);

/// Windows of the policies, in the paper's time divided; the published rules stand alone, without
/// the guard's stabilisation.
const ROWS: &[Row] = &[
    (
        "static, 14",
        &[("policy", "static"), ("policy.parallelism", "14")],
    ),
    ("queue", &[("policy", "queue"), ("policy.window", "30s")]),
    (
        "utilisation",
        &[("policy", "utilisation"), ("policy.smoothing", "3s")],
    ),
    (
        "reactive-average, as published",
        &[("policy", "reactive-average"), ("stabilisation", "0s")],
    ),
    (
        "reactive-average, guarded",
        &[("policy", "reactive-average")],
    ),
    (
        "reactive-average, free",
        &[("policy", "reactive-average"), ("policy.step", "free")],
    ),
    (
        "reactive-maximum, as published",
        &[("policy", "reactive-maximum"), ("stabilisation", "0s")],
    ),
    (
        "reactive-maximum, guarded",
        &[("policy", "reactive-maximum")],
    ),
    (
        "reactive-maximum, free",
        &[("policy", "reactive-maximum"), ("policy.step", "free")],
    ),
    (
        "predictive",
        &[("policy", "predictive"), ("policy.memory", "6s")],
    ),
];

/// Policies that were trained on the paper's workload, and one that looks more often than the
/// paper: another load would say nothing of them.
const PAPER_ROWS: &[Row] = &[
    (
        "sarsa",
        &[
            ("policy", "sarsa"),
            ("policy.model", "paper.sarsa.json"),
            ("policy.time_scale", "0.1"),
            ("stabilisation", "0s"),
        ],
    ),
    (
        "dqn",
        &[
            ("policy", "dqn"),
            ("policy.model", "paper.dqn.onnx"),
            ("policy.time_scale", "0.1"),
            ("stabilisation", "0s"),
        ],
    ),
    (
        "dqn, free",
        &[
            ("policy", "dqn"),
            ("policy.model", "paper-free.dqn.onnx"),
            ("policy.time_scale", "0.1"),
            ("stabilisation", "0s"),
        ],
    ),
    (
        "predictive, every second, goal 99.2 %",
        &[
            ("policy", "predictive"),
            ("interval", "100ms"),
            ("stabilisation", "0s"),
            ("target_qos", "0.992"),
        ],
    ),
];

fn milliseconds(seconds: f64) -> String {
    format!("{:.0}ms", seconds * TIME_SCALE * 1e3)
}

/// The row's farm; the row has the last word.
fn scaling(row: &Row, first_replicas: u32, max_parallelism: u32) -> Scaling {
    let scaling = Scaling {
        annotations: Vec::new(),
        first_replicas,
        arguments: Vec::new(),
    };
    let scaling = scaling
        .with("max", max_parallelism)
        .with("slots.max", 1)
        .with("interval", milliseconds(INTERVAL_SECONDS))
        .with("stabilisation", milliseconds(STABILISATION_SECONDS))
        .with("deadline", milliseconds(DEADLINE_SECONDS))
        .with("target_qos", TARGET_QOS);
    row.1
        .iter()
        .fold(scaling, |scaling, (key, value)| scaling.with(key, value))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some((seeds, only)) = arguments() else {
        eprintln!("usage: policies [--seeds COUNT] [--only TEXT_IN_ROW_NAME]");
        return ExitCode::from(2);
    };
    let chosen = |row: &&Row| only.as_ref().is_none_or(|text| row.0.contains(text));
    println!(
        "| policy | seed | QoS % | sojourn p99 s | mean workers | max workers | changes | decisions | lost |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in ROWS.iter().chain(PAPER_ROWS).filter(chosen) {
        for seed in 1..=seeds {
            run_paper(row, seed).await;
        }
    }
    println!();
    println!("| policy | changes in {CONSTANT_INTERVALS} intervals | workers | QoS % |");
    println!("|---|---|---|---|");
    for row in ROWS.iter().filter(chosen) {
        run_constant(row).await;
    }
    if only.is_none() {
        println!();
        reaction::run().await;
    }
    ExitCode::SUCCESS
}

fn arguments() -> Option<(u64, Option<String>)> {
    let (mut seeds, mut only) = (3, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => seeds = words.next()?.parse().ok()?,
            "--only" => only = Some(words.next()?),
            _ => return None,
        }
    }
    Some((seeds, only))
}

async fn run_paper(row: &Row, seed: u64) {
    let mut farm = scaling(row, PAPER_REPLICAS, PAPER_MAX).start().await;
    farm.decisions.forget();
    let (seed_text, scale) = (seed.to_string(), TIME_SCALE.to_string());
    let account = loaded(
        &farm,
        &["--paper", "--seed", &seed_text, "--time-scale", &scale],
    );
    let effort = Effort::of(&farm.decisions.all());
    println!(
        "| {} | {seed} | {:.1} | {:.2} | {:.1} | {} | {} | {} | {} |",
        row.0,
        percent(&account["qos_ratio"]),
        account["sojourn_seconds"]["p99"]
            .as_f64()
            .unwrap_or(f64::NAN)
            / TIME_SCALE,
        effort.mean_parallelism,
        effort.max_parallelism,
        effort.changes,
        effort.decisions,
        account["lost"],
    );
    farm.up.stop().await;
}

async fn run_constant(row: &Row) {
    let mut farm = scaling(row, CONSTANT_REPLICAS, CONSTANT_MAX).start().await;
    let rate = CONSTANT_RATE_PER_SECOND.to_string();
    let load = |intervals: f64| {
        let duration = milliseconds(intervals * INTERVAL_SECONDS);
        loaded(
            &farm,
            &[
                "--rate",
                &rate,
                "--poisson",
                "--duration",
                &duration,
                "--service",
                "gamma:mean=0.15,shape=4",
                "--deadline",
                "300ms",
            ],
        )
    };
    load(SETTLING_INTERVALS);
    farm.decisions.forget();
    let account = load(CONSTANT_INTERVALS);
    let effort = Effort::of(&farm.decisions.all());
    println!(
        "| {} | {} | {:.1} | {:.1} |",
        row.0,
        effort.changes,
        effort.mean_parallelism,
        percent(&account["qos_ratio"]),
    );
    farm.up.stop().await;
}

/// Runs beside the listener for decisions, which has the runtime's other thread.
fn loaded(farm: &ScaledFarm, arguments: &[&str]) -> Value {
    tokio::task::block_in_place(|| farm.load(arguments))
}

fn percent(ratio: &Value) -> f64 {
    ratio.as_f64().unwrap_or(f64::NAN) * 100.0
}
