//! Trained policies as policies: decisions, reasons, and the fallback that takes over.

use farm_policy::{Guard, Limits, Observation, Policy};

use crate::files::parse;

fn seen(backlog_tasks: u64, parallelism: u32) -> Observation {
    Observation {
        backlog_tasks,
        ..Observation::idle(8.0, parallelism)
    }
}

fn build(policy: &str, given: &[(&str, &str)]) -> Box<dyn Policy> {
    parse(policy, given).unwrap().build()
}

fn decide(policy: &mut Box<dyn Policy>, observation: &Observation) -> (u32, String) {
    let action = policy.decide(observation).unwrap();
    (action.parallelism, policy.reason())
}

#[test]
fn a_table_decides_and_says_by_what() {
    let mut policy = build("sarsa", &[("model", "table")]);
    assert_eq!(
        (policy.name(), policy.reason().as_str()),
        ("sarsa", "nothing decided yet")
    );
    assert_eq!(
        decide(&mut policy, &seen(0, 12)),
        (
            11,
            "state 1 (task_queue 0, workers 12) values -1 at 0.75, 0 at 0.5, +1 at 0: 11 workers"
                .to_owned()
        )
    );
    assert_eq!(decide(&mut policy, &seen(500, 12)).0, 13);
    assert_eq!(decide(&mut policy, &seen(0, 4)).0, 4);
}

#[test]
fn a_state_that_was_never_visited_is_decided_like_the_nearest() {
    let mut policy = build("sarsa", &[("model", "table")]);
    let (parallelism, reason) = decide(&mut policy, &seen(5, 12));
    assert_eq!(parallelism, 13);
    assert!(
        reason.contains(
            "state 3 (task_queue 5, workers 12), never visited and decided like 5, values"
        ),
        "{reason}"
    );
}

#[test]
fn without_any_state_the_parallelism_stays() {
    let mut policy = build("sarsa", &[("model", "empty")]);
    let (parallelism, reason) = decide(&mut policy, &seen(5, 12));
    assert_eq!(parallelism, 12);
    assert!(
        reason.ends_with("never visited nor any like it, changes nothing: 12 workers"),
        "{reason}"
    );
}

#[test]
fn a_network_decides_and_says_by_what() {
    for name in ["dqn", "onnx"] {
        let mut policy = build(name, &[("model", "network")]);
        assert_eq!(policy.name(), name);
        assert_eq!(
            decide(&mut policy, &seen(100, 16)),
            (
                17,
                "the network, shown task_queue 100, workers 16, values -1 at 0, 0 at 0.1, +1 at 0.5: 17 workers".to_owned()
            )
        );
        assert_eq!(decide(&mut policy, &seen(0, 16)).0, 15);
    }
}

#[test]
fn of_many_actions_the_best_are_told() {
    let mut policy = build("sarsa", &[("model", "levels")]);
    let (parallelism, reason) = decide(&mut policy, &seen(0, 12));
    assert_eq!(parallelism, 20);
    assert!(
        reason.ends_with("values most 20 at 1, 1 at 0, 2 at 0, 3 at 0, 4 at 0: 20 workers"),
        "{reason}"
    );
    let mut slow = build("sarsa", &[("model", "levels"), ("step", "one")]);
    assert_eq!(decide(&mut slow, &seen(0, 12)).0, 13);
}

#[test]
fn another_interval_is_refused_with_both_numbers() {
    let mut policy = build("dqn", &[("model", "network")]);
    let at = |interval_seconds| Observation {
        interval_seconds,
        ..seen(100, 16)
    };
    for fine in [6.0, 8.0, 10.0] {
        assert!(policy.decide(&at(fine)).is_ok(), "{fine}");
    }
    let error = policy.decide(&at(1.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy dqn: the control interval is 1 s, where the model was trained with 8 s"
    );
    assert_eq!(policy.reason(), "nothing decided yet");

    let mut fast = build("dqn", &[("model", "network"), ("time_scale", "0.1")]);
    assert!(fast.decide(&at(0.8)).is_ok());
    let error = fast.decide(&at(8.0)).unwrap_err().to_string();
    assert!(
        error.ends_with("is 8 s, where the model was trained with 0.8 s (8 s at time_scale 0.1)"),
        "{error}"
    );
}

#[test]
fn the_fallback_takes_over_until_it_fits_again() {
    let policy = build("sarsa", &[("model", "table")]);
    let mut guard = Guard::new(
        policy,
        Limits {
            max: 32,
            ..Limits::default()
        },
    );
    let at = |time_seconds, interval_seconds| Observation {
        time_seconds,
        interval_seconds,
        arrival_rate_per_second: 4.0,
        ..seen(100, 12)
    };
    let ruling = guard.decide(&at(2.0, 2.0));
    assert_eq!(
        (ruling.fell_back, ruling.policy),
        (true, "reactive-average")
    );
    assert!(ruling.reasons[0].contains("is 2 s, where the model was trained with 8 s; reactive-average decides until it recovers"), "{:?}", ruling.reasons);
    let ruling = guard.decide(&at(10.0, 8.0));
    assert_eq!(
        (ruling.fell_back, ruling.policy, ruling.wanted),
        (false, "sarsa", Some(13))
    );
    assert!(ruling.reasons.contains(&"sarsa decides again".to_owned()));
}

#[test]
fn equal_observations_give_equal_decisions_in_every_copy() {
    let spec = parse("onnx", &[("model", "network")]).unwrap();
    assert_eq!(spec, spec.clone());
    let (mut one, mut other) = (spec.build(), spec.clone().build());
    for backlog in [0, 3, 60, 200] {
        let observation = seen(backlog, 12);
        assert_eq!(one.decide(&observation), other.decide(&observation));
        assert_eq!(one.reason(), other.reason());
    }
}
