//! What a training of a network gives, seen from outside.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the message")]

use std::ops::ControlFlow;

use farm_policy::learned::{ActionSpace, Actions, Network};
use farm_sim::environment::Reward;
use farm_sim::scenario::Scenario;
use farm_train::course::{Course, CurvePoint, VALIDATION_SEEDS};
use farm_train::dqn::{self, DqnSettings, Schedule, TrainError, Trained};

fn small() -> DqnSettings {
    DqnSettings {
        steps: 600,
        hidden: vec![12],
        batch: 16,
        warm_up_steps: 100,
        checkpoints: 2,
        checkpoint_episodes: 2,
        finalists: 1,
        final_episodes: 20,
        ..DqnSettings::default()
    }
}

fn train(course: &Course, settings: &DqnSettings, seed: u64) -> Trained {
    let mut go_on = |_: &CurvePoint| ControlFlow::Continue(());
    dqn::train(course, settings, seed, &mut go_on).unwrap()
}

#[test]
fn equal_seeds_give_equal_files_and_others_do_not() {
    let course = dqn::course(Scenario::paper(), Actions::Step);
    let first = train(&course, &small(), 7);
    assert_eq!(first.onnx, train(&course, &small(), 7).onnx);
    assert_ne!(first.onnx, train(&course, &small(), 8).onnx);
}

#[test]
fn the_autoscaler_reads_the_file_and_decides_as_was_scored() {
    let seeds = VALIDATION_SEEDS.start..VALIDATION_SEEDS.start + small().final_episodes;
    for actions in [Actions::Step, Actions::Free] {
        let mut course = dqn::course(Scenario::paper(), actions);
        "farm train dqn".clone_into(&mut course.contract.training.command);
        let trained = train(&course, &small(), 3);
        let network = Network::from_onnx(&trained.onnx).unwrap();
        assert_eq!(network.contract(), &trained.contract);
        let training = &trained.contract.training;
        assert_eq!(training.algorithm, "dqn");
        assert_eq!((training.scenario.as_str(), training.seed), ("paper", 3));
        assert_eq!(training.command, "farm train dqn");

        let choose = |input: &[f64]| {
            let values = network.decide(input).unwrap();
            let best = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            values.iter().position(|value| *value == best).unwrap()
        };
        let score = course.score(seeds.clone(), choose).unwrap();
        // Sums in another order may turn a decision between two actions of equal value.
        let gap = (score.parallelism - trained.score.parallelism).abs();
        assert!(gap < 0.05, "{score:?}, {:?}", trained.score);
    }
}

#[test]
fn where_nothing_but_workers_costs_it_learns_to_give_them_back() {
    let mut course = dqn::course(Scenario::paper(), Actions::Step);
    course.reward = Reward::MissedTasks { price: 0.0 };
    let settings = DqnSettings {
        steps: 4_000,
        hidden: vec![16],
        batch: 32,
        learning_rate: Schedule::constant(3e-3),
        target_rate: 0.02,
        // Whatever the quality: the fewest workers.
        target_qos_ratio: 0.0,
        ..small()
    };
    let score = train(&course, &settings, 1).score;
    // Down by one at each of 30 steps from 12 gives 3.2, at random it stays at about 12.
    assert!(score.parallelism < 4.5, "{score:?}");
}

#[test]
fn a_training_can_be_ended_and_keeps_what_it_has() {
    let course = dqn::course(Scenario::paper(), Actions::Step);
    let mut told = Vec::new();
    let trained = dqn::train(&course, &small(), 1, &mut |point| {
        told.push(*point);
        ControlFlow::Break(())
    });
    let trained = trained.unwrap();
    assert_eq!((trained.curve.len(), told.len()), (1, 1));
    assert!((300..400).contains(&trained.contract.training.steps));
    Network::from_onnx(&trained.onnx).unwrap();
}

#[test]
fn what_cannot_be_trained_is_told() {
    let refuse = |course: &Course, settings: &DqnSettings| {
        let mut go_on = |_: &CurvePoint| ControlFlow::Continue(());
        dqn::train(course, settings, 1, &mut go_on).unwrap_err()
    };
    let course = dqn::course(Scenario::paper(), Actions::Step);
    let settings = DqnSettings {
        batch: 0,
        ..small()
    };
    let error = refuse(&course, &settings);
    assert!(
        error.to_string().starts_with("settings: batch: 0"),
        "{error}"
    );

    let mut no_actions = course.clone();
    no_actions.contract.actions = ActionSpace::Levels(vec![]);
    assert!(matches!(
        refuse(&no_actions, &small()),
        TrainError::Contract(_)
    ));

    let mut no_workers = course.clone();
    no_workers.scenario.control.min_parallelism = 0;
    no_workers.scenario.control.max_parallelism = 0;
    assert!(matches!(
        refuse(&no_workers, &small()),
        TrainError::Scenario(_)
    ));

    let settings = DqnSettings {
        reward_scale: 1e30,
        reward_limit: f64::MAX,
        learning_rate: Schedule::constant(1e30),
        ..small()
    };
    assert!(matches!(
        refuse(&course, &settings),
        TrainError::Diverged { .. }
    ));
}
