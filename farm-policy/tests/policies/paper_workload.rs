//! The workload of arXiv 2602.06555: four phases, deadlines of twice a task's own service time.

use farm_policy::{Guard, Limits, Observation, Policy, PolicySpec};

use crate::random::Random;
use crate::simulation::{Report, Task, run};

/// Tasks and length in windows of one second of each phase.
const PHASES: [(u32, u32); 4] = [(90, 60), (450, 60), (300, 60), (300, 60)];

/// The emitter of the paper: Poisson counts steered to the phase total, in windows whose gaps are
/// exponential; an empty window takes no time, so that the first phase lasts about 46 s.
fn stream(seed: u64) -> Vec<Task> {
    let mut random = Random::new(seed);
    let mut tasks = Vec::new();
    let mut now = 0.0;
    for (total, windows) in PHASES {
        let mut remaining = total;
        for left in (1..=windows).rev() {
            let expected = f64::from(remaining) / f64::from(left);
            let count = match left {
                1 => remaining,
                _ => random.poisson(expected).min(remaining),
            };
            remaining -= count;
            for _ in 0..count {
                tasks.push(Task {
                    arrival_seconds: now,
                    service_seconds: random.service_seconds(),
                });
                now += random.exponential(1.0 / f64::from(count));
            }
        }
    }
    tasks
}

fn build(name: &str, parameters: &[(&str, &str)]) -> Box<dyn Policy> {
    let parameters = parameters
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    PolicySpec::parse(name, &parameters).unwrap().build()
}

/// Means over many seeds.
#[derive(Debug)]
struct Summary {
    qos_ratio: f64,
    parallelism: f64,
}

const SEEDS: std::ops::Range<u64> = 0..60;

fn summary(mut run_seed: impl FnMut(u64) -> Report) -> Summary {
    let reports: Vec<Report> = SEEDS.map(&mut run_seed).collect();
    let mean = |value: &dyn Fn(&Report) -> f64| {
        reports.iter().map(value).sum::<f64>() / reports.len() as f64
    };
    Summary {
        qos_ratio: mean(&|report| report.qos_ratio),
        parallelism: mean(&Report::mean_parallelism),
    }
}

fn unguarded(name: &str, parameters: &[(&str, &str)]) -> Summary {
    summary(|seed| {
        let mut policy = build(name, parameters);
        let mut decide = |observation: &Observation| {
            let wanted = policy.decide(observation).unwrap().parallelism;
            wanted.clamp(1, 32)
        };
        run(&stream(seed), 12, &mut decide)
    })
}

fn guarded(name: &str, parameters: &[(&str, &str)]) -> Summary {
    summary(|seed| {
        let limits = Limits {
            max: 32,
            ..Limits::default()
        };
        let mut guard = Guard::new(build(name, parameters), limits);
        let mut decide = |observation: &Observation| guard.decide(observation).target;
        run(&stream(seed), 12, &mut decide)
    })
}

#[test]
fn predictive_keeps_the_deadline_with_about_fourteen_workers() {
    for summary in [unguarded("predictive", &[]), guarded("predictive", &[])] {
        assert!(summary.qos_ratio >= 0.95, "{summary:?}");
        assert!(summary.parallelism <= 15.0, "{summary:?}");
    }
}

/// Published: 50.9 % with 10.8 workers and 65.6 % with 13.9; this simulation leaves out polling,
/// and starts workers in parallel.
#[test]
fn the_published_rules_do_what_was_published() {
    let average = unguarded("reactive-average", &[]);
    assert!((average.qos_ratio - 0.509).abs() < 0.06, "{average:?}");
    assert!((average.parallelism - 10.8).abs() < 0.5, "{average:?}");
    let maximum = unguarded("reactive-maximum", &[]);
    assert!((maximum.qos_ratio - 0.656).abs() < 0.06, "{maximum:?}");
    assert!((maximum.parallelism - 13.9).abs() < 0.5, "{maximum:?}");
}
