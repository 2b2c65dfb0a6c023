//! What a training of a table gives, seen from outside.

use std::ops::ControlFlow;

use farm_policy::learned::{ActionSpace, Actions, Sense, Table};
use farm_sim::environment::Reward;
use farm_sim::platform::Platform;
use farm_sim::random::Duration;
use farm_sim::scenario::Scenario;
use farm_sim::workload::{Arrivals, Deadline, Workload};
use farm_train::course::{Course, CurvePoint, VALIDATION_SEEDS};
use farm_train::sarsa::{
    self, FeatureBins, SarsaSettings, Schedule, TraceKind, TrainError, Trained,
};

fn small() -> SarsaSettings {
    SarsaSettings {
        steps: 2_000,
        checkpoints: 2,
        checkpoint_episodes: 3,
        finalists: 1,
        ..SarsaSettings::default()
    }
}

fn train(course: &Course, settings: &SarsaSettings, seed: u64) -> Trained {
    let mut go_on = |_: &CurvePoint| ControlFlow::Continue(());
    sarsa::train(course, settings, seed, &mut go_on).unwrap_or_else(|error| panic!("{error}"))
}

/// Tasks of one second, evenly one every 0.2 s: five workers keep up with them, four never do.
fn steady() -> Scenario {
    let mut scenario = Scenario::paper();
    scenario.name = "steady".to_owned();
    scenario.workload = Workload {
        arrivals: Arrivals::Constant {
            per_second: 5.0,
            seconds: 120.0,
        },
        service: Duration::Constant(0.99),
        deadline: Deadline::Seconds(2.0),
    };
    scenario.platform = Platform::ideal();
    scenario.control.initial_parallelism = 9;
    scenario.control.max_parallelism = 12;
    scenario.control.max_steps = None;
    scenario
}

#[test]
fn it_finds_the_fewest_workers_that_keep_up() {
    let mut course = sarsa::course(steady(), Actions::Free);
    course.contract.actions = ActionSpace::every_level(1, 12);
    let settings = SarsaSettings {
        steps: 40_000,
        checkpoints: 4,
        checkpoint_episodes: 2,
        bins: Some(vec![FeatureBins::new(Sense::TaskQueue, [1.0, 10.0])]),
        target_qos_ratio: None,
        ..SarsaSettings::default()
    };
    let trained = train(&course, &settings, 1);
    let usual = trained.table.state(&[0.0; 9]);
    assert_eq!(trained.table.best(usual), Some(4), "level 5 has index 4");
    assert!(trained.score.qos_ratio > 0.9999);
    assert!((trained.score.parallelism - 5.0).abs() < 1e-9);
}

#[test]
fn equal_seeds_give_equal_files_and_others_do_not() {
    let course = sarsa::course(Scenario::paper(), Actions::Free);
    let file = |seed| train(&course, &small(), seed).table.to_json();
    assert_eq!(file(7), file(7));
    assert_ne!(file(7), file(8));
}

#[test]
fn the_autoscaler_reads_the_file_and_decides_as_was_scored() {
    let mut course = sarsa::course(Scenario::paper(), Actions::Step);
    "farm train sarsa".clone_into(&mut course.contract.training.command);
    let trained = train(&course, &small(), 3);
    let table = Table::from_json(trained.table.to_json().as_bytes()).unwrap();
    assert_eq!(table, trained.table);
    let training = &table.contract().training;
    assert_eq!(training.algorithm, "sarsa");
    assert_eq!((training.scenario.as_str(), training.seed), ("paper", 3));
    assert_eq!(training.command, "farm train sarsa");
    let score = course
        .score(VALIDATION_SEEDS, sarsa::greedy(&table))
        .unwrap();
    assert_eq!(score.qos_ratio, trained.score.qos_ratio);
    assert_eq!(score.parallelism, trained.score.parallelism);
}

#[test]
fn the_price_rises_until_the_target_is_met() {
    let mut course = sarsa::course(Scenario::paper(), Actions::Step);
    course.reward = Reward::MissedTasks { price: 0.01 };
    let settings = SarsaSettings {
        checkpoints: 20,
        ..small()
    };
    let strict = train(&course, &settings, 1);
    let Reward::MissedTasks { price } = strict.reward else {
        panic!("another reward than was given");
    };
    assert!(price > 0.01);
    let fixed = SarsaSettings {
        target_qos_ratio: None,
        ..settings
    };
    assert_eq!(train(&course, &fixed, 1).reward, course.reward);
}

#[test]
fn the_published_settings_train() {
    let mut course = sarsa::course(Scenario::paper(), Actions::Step);
    course.reward = Reward::Paper;
    let settings = SarsaSettings {
        checkpoint_episodes: 2,
        ..SarsaSettings::published()
    };
    let trained = train(&course, &settings, 1);
    assert_eq!(trained.table.states(), 53_760);
    assert!(trained.curve.last().unwrap().steps >= 7_427);
    assert_eq!(trained.reward, Reward::Paper);
}

#[test]
fn progress_may_end_the_training() {
    let course = sarsa::course(Scenario::paper(), Actions::Step);
    let mut stop = |_: &CurvePoint| ControlFlow::Break(());
    let trained = sarsa::train(&course, &small(), 1, &mut stop).unwrap();
    assert_eq!(trained.curve.len(), 1);
    assert!(trained.table.contract().training.steps < 1_100);
}

#[test]
fn values_that_grow_beyond_all_bounds_are_told() {
    let course = sarsa::course(Scenario::paper(), Actions::Step);
    let settings = SarsaSettings {
        alpha: Schedule::constant(50.0),
        traces: TraceKind::Accumulating,
        lambda: 1.0,
        discount: 1.0,
        steps: 20_000,
        ..small()
    };
    let mut go_on = |_: &CurvePoint| ControlFlow::Continue(());
    let error = sarsa::train(&course, &settings, 1, &mut go_on).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let course = sarsa::course(Scenario::paper(), Actions::Step);
    let mut go_on = |_: &CurvePoint| ControlFlow::Continue(());
    let settings = SarsaSettings {
        lambda: f64::NAN,
        ..small()
    };
    let error = sarsa::train(&course, &settings, 1, &mut go_on).unwrap_err();
    assert_eq!(
        error.to_string(),
        "settings: lambda: NaN is not from 0 to 1"
    );

    let mut course = course;
    course.scenario.control.interval_seconds = 0.0;
    let error = sarsa::train(&course, &small(), 1, &mut go_on).unwrap_err();
    assert!(matches!(error, TrainError::Scenario(_)), "{error}");
}
