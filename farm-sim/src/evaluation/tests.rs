#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn contender(name: &str, parameters: &[(&str, &str)]) -> Contender {
    let parameters: BTreeMap<String, String> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Contender::new(name, PolicySpec::parse(name, &parameters).unwrap())
}

fn constant(parallelism: &str, one_step: bool) -> Contender {
    Contender {
        one_step,
        ..contender("static", &[("parallelism", parallelism)])
    }
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn run(contenders: &[Contender], seeds: Range<u64>, count: usize) -> Vec<Evaluated> {
    evaluate(
        &Scenario::paper(),
        contenders,
        seeds,
        threads(count),
        &|| {},
    )
    .unwrap()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let contenders = [constant("15", true), contender("predictive", &[])];
    let one = run(&contenders, 0..11, 1);
    assert_eq!(one[0].outcomes.len(), 11);
    for count in [2, 3, 4, 16] {
        assert_eq!(one, run(&contenders, 0..11, count), "{count} threads");
    }
}

#[test]
fn every_episode_is_told() {
    let told = AtomicU64::new(0);
    let contenders = [constant("15", false), constant("16", false)];
    let count = || {
        told.fetch_add(1, Ordering::Relaxed);
    };
    evaluate(&Scenario::paper(), &contenders, 0..5, threads(2), &count).unwrap();
    assert_eq!(told.into_inner(), 10);
}

#[test]
fn one_step_walks_from_the_initial_parallelism() {
    let results = run(&[constant("15", true), constant("15", false)], 3..4, 1);
    let [walking, jumping] = [results[0].outcomes[0], results[1].outcomes[0]];
    assert_eq!((walking.scaling_actions, jumping.scaling_actions), (3, 1));
    assert!(walking.parallelism_mean < jumping.parallelism_mean);
    assert_eq!(jumping.parallelism_mean, 15.0);
}

#[test]
fn a_guard_keeps_its_limits() {
    let limits = Limits {
        max: 13,
        step_up: Some(1),
        ..Limits::default()
    };
    let guarded = Contender {
        guard: Some(limits),
        ..constant("20", false)
    };
    let outcome = run(&[guarded], 3..4, 1)[0].outcomes[0];
    assert_eq!((outcome.parallelism_max, outcome.scaling_actions), (13, 1));
}

#[test]
fn one_step_holds_even_for_a_guard() {
    let limits = Limits {
        min: 15,
        max: 32,
        ..Limits::default()
    };
    let guarded = Contender {
        guard: Some(limits),
        ..constant("1", true)
    };
    let outcome = run(&[guarded], 3..4, 1)[0].outcomes[0];
    assert_eq!((outcome.parallelism_max, outcome.scaling_actions), (15, 3));
}

#[test]
fn differences_are_taken_seed_by_seed() {
    let results = run(&[constant("16", false), constant("14", false)], 0..12, 2);
    let difference = results[0].difference_to(&results[1]);
    let [more, fewer] = [results[0].summary(), results[1].summary()];
    let gain = more.qos_ratio.mean - fewer.qos_ratio.mean;
    assert!((difference.qos_ratio.mean - gain).abs() < 1e-12);
    assert_eq!(difference.parallelism_mean.mean, 2.0);
    assert_eq!(difference.parallelism_mean.half_width_95, Some(0.0));
    let of_one = results[0].difference_to(&results[0]);
    assert_eq!(of_one.qos_ratio.half_width_95, Some(0.0));
}

#[test]
fn no_constant_with_fewer_workers_reaches_the_target() {
    let scenario = Scenario::paper();
    let best = best_constant(&scenario, false, 0..30, threads(2)).unwrap();
    assert!(best.reaches_target);
    let qos = |parallelism: u32| {
        let contender = constant(&parallelism.to_string(), false);
        run(&[contender], 0..30, 2)[0].summary().qos_ratio.mean
    };
    assert!(qos(best.parallelism) >= 0.95);
    assert!((1..best.parallelism).all(|fewer| qos(fewer) < 0.95));
    let name = best.contender(false).unwrap().name;
    let expected = format!("static {} (best constant)", best.parallelism);
    assert_eq!(name, expected);
}

#[test]
fn a_target_out_of_reach_is_said_so() {
    let mut scenario = Scenario::paper();
    scenario.control.max_parallelism = 12;
    scenario.control.target_qos_ratio = 0.999;
    let best = best_constant(&scenario, false, 0..3, threads(1)).unwrap();
    assert_eq!((best.parallelism, best.reaches_target), (12, false));
    assert!(best.contender(false).unwrap().name.contains("misses"));
}

#[test]
fn a_scenario_that_makes_no_sense_is_named() {
    let mut scenario = Scenario::paper();
    scenario.control.interval_seconds = 0.0;
    let contenders = [constant("3", false)];
    let error = evaluate(&scenario, &contenders, 0..4, threads(2), &|| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "scenario paper: control.interval_seconds: 0 is not from 0.001 to 86400"
    );
}

#[test]
fn seeds_of_different_uses_never_meet() {
    let ranges = [TRAINING_SEEDS, VALIDATION_SEEDS, EVALUATION_SEEDS];
    for pair in ranges.windows(2) {
        assert!(pair[0].end <= pair[1].start);
    }
}
