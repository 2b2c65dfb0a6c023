use super::*;
use crate::policies::Fixed;
use crate::{Action, PolicyError};

/// Says what the test wrote down.
struct Scripted(Vec<Result<u32, ()>>);

impl Policy for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn decide(&mut self, _: &Observation) -> Result<Action, PolicyError> {
        match self.0.remove(0) {
            Ok(parallelism) => Ok(Action { parallelism }),
            Err(()) => Err(PolicyError {
                policy: "scripted",
                cause: "the model does not fit".to_owned(),
            }),
        }
    }

    fn reason(&self) -> String {
        "as written".to_owned()
    }
}

fn scripted(script: &[u32], limits: Limits) -> Guard {
    let script = script.iter().map(|wanted| Ok(*wanted)).collect();
    Guard::new(Box::new(Scripted(script)), limits)
}

/// A farm at work on short tasks.
fn busy(time_seconds: f64, parallelism: u32) -> Observation {
    Observation {
        in_flight_tasks: parallelism.max(1).into(),
        arrival_rate_per_second: 5.0,
        service_seconds_mean: Some(1.0),
        sojourn_seconds_mean: Some(1.0),
        ..Observation::idle(time_seconds, parallelism)
    }
}

/// Decides every 8 s, each target being reached by the next decision.
fn play(guard: &mut Guard, decisions: usize, initial: u32) -> Vec<u32> {
    let mut parallelism = initial;
    (1..=decisions)
        .map(|step| {
            parallelism = guard.decide(&busy(8.0 * step as f64, parallelism)).target;
            parallelism
        })
        .collect()
}

fn quick() -> Limits {
    Limits {
        max: 32,
        stabilisation_seconds: 0.0,
        ..Limits::default()
    }
}

#[test]
fn bounds_and_steps_hold() {
    let limits = Limits {
        min: 2,
        max: 10,
        step_up: Some(3),
        step_down: Some(1),
        ..quick()
    };
    let mut guard = scripted(&[20, 20, 20, 1, 1], limits);
    assert_eq!(play(&mut guard, 5, 5), [8, 10, 10, 9, 8]);
}

#[test]
fn bounds_go_before_steps() {
    let limits = Limits {
        max: 10,
        step_down: Some(1),
        ..quick()
    };
    assert_eq!(play(&mut scripted(&[5], limits), 1, 50), [10]);
}

#[test]
fn a_fall_waits_for_the_window_and_says_why() {
    let limits = Limits {
        max: 32,
        ..Limits::default()
    };
    // What was found counts as wanted at the start.
    let mut guard = scripted(&[4; 9], limits.clone());
    assert_eq!(play(&mut guard, 6, 12), [12, 12, 12, 12, 4, 4]);

    let mut guard = scripted(&[4; 9], limits);
    let ruling = guard.decide(&busy(8.0, 12));
    assert_eq!(ruling.wanted, Some(4));
    assert_eq!(
        ruling.reasons,
        [
            "as written",
            "12 instead of 4: not seen all the time within 30 s"
        ]
    );
}

#[test]
fn long_tasks_keep_their_workers() {
    let mut guard = scripted(&[12, 1, 1, 1, 1], quick());
    guard.decide(&busy(4.0, 12));
    let long = |time_seconds, in_flight_tasks| Observation {
        in_flight_tasks,
        service_seconds_mean: None,
        ..busy(time_seconds, 12)
    };
    let ruling = guard.decide(&long(8.0, 9));
    assert_eq!(ruling.target, 9);
    assert_eq!(
        ruling.reasons[1],
        "9 instead of 1: 9 long tasks are under way"
    );
    // More tasks than workers: what waits for its turn again does not raise anything.
    assert_eq!(guard.decide(&long(16.0, 500)).target, 12);
    let ended_one = Observation {
        service_seconds_mean: Some(600.0),
        ..long(24.0, 4)
    };
    assert_eq!(guard.decide(&ended_one).target, 4);
    assert_eq!(guard.decide(&busy(32.0, 12)).target, 1);
}

/// Falls and rises in turn, as a policy that never comes to rest.
fn flapping(guard: &mut Guard, bursts: u32) -> f64 {
    let mut now = 0.0;
    for _ in 0..bursts {
        for (parallelism, seconds) in [(12, 40.0), (2, 8.0)] {
            let until = now + seconds;
            while now < until {
                now += 8.0;
                guard.decide(&busy(now, parallelism));
            }
        }
    }
    now
}

#[test]
fn a_farm_whose_load_ended_does_not_wait_for_its_past() {
    let limits = Limits {
        max: 32,
        ..Limits::default()
    };
    let script: Vec<u32> = [12, 2, 2, 2, 2, 12].repeat(40);
    let mut guard = scripted(&script, limits);
    let ended = flapping(&mut guard, 6);
    let targets: Vec<u32> = (1..=12)
        .map(|step| guard.decide(&Observation::idle(ended + 8.0 * f64::from(step), 12)))
        .map(|ruling| ruling.target)
        .collect();
    assert!(targets.contains(&2), "{targets:?}");
}

#[test]
fn a_cooldown_lowers_nothing_that_somebody_raised() {
    let limits = Limits {
        cooldown_seconds: 60.0,
        ..quick()
    };
    let mut guard = scripted(&[10, 5, 20], limits);
    assert_eq!(play(&mut guard, 2, 10), [10, 5]);
    assert_eq!(guard.decide(&busy(24.0, 20)).target, 20);
}

#[test]
fn a_rise_does_not_wait() {
    let mut guard = scripted(
        &[12, 20, 25],
        Limits {
            max: 32,
            ..Limits::default()
        },
    );
    assert_eq!(play(&mut guard, 3, 12), [12, 20, 25]);
}

#[test]
fn cooldown_blocks_all_but_the_urgent() {
    let limits = Limits {
        cooldown_seconds: 60.0,
        min: 0,
        ..quick()
    };
    let mut guard = scripted(&[10, 12, 14, 9, 16], limits.clone());
    assert_eq!(play(&mut guard, 2, 10), [10, 12]);
    assert_eq!(guard.decide(&busy(24.0, 12)).target, 12);
    assert_eq!(guard.decide(&busy(32.0, 12)).target, 12);
    let missed = Observation {
        qos_ratio: Some(0.5),
        ..busy(40.0, 12)
    };
    assert_eq!(guard.decide(&missed).target, 16);

    // The change to zero was a moment ago; a waiting task does not care.
    let mut guard = scripted(
        &[1; 60],
        Limits {
            idle_seconds: 16.0,
            ..limits
        },
    );
    for step in 1..=3 {
        guard.decide(&Observation::idle(8.0 * f64::from(step), 1));
    }
    let woken = Observation {
        backlog_tasks: 1,
        ..Observation::idle(32.0, 0)
    };
    assert_eq!(guard.decide(&woken).target, 1);
}

#[test]
fn nonsense_is_held_and_named() {
    let spoilt: [fn(&mut Observation); 9] = [
        |o| o.arrival_rate_per_second = f64::NAN,
        |o| o.arrival_rate_per_second = -1.0,
        |o| o.service_seconds_mean = Some(f64::INFINITY),
        |o| o.qos_ratio = Some(1.5),
        |o| o.interval_seconds = 0.0,
        |o| o.time_seconds = f64::NAN,
        |o| o.backlog_tasks = u64::MAX,
        |o| o.target_qos_ratio = 0.0,
        |o| o.available_parallelism = u32::MAX,
    ];
    for spoil in spoilt {
        let mut guard = Guard::new(Box::new(Fixed::new(1)), quick());
        let mut observation = busy(8.0, 12);
        spoil(&mut observation);
        let ruling = guard.decide(&observation);
        assert_eq!(
            (ruling.held, ruling.target, ruling.wanted),
            (true, 12, None)
        );
        assert!(ruling.reasons[0].contains("cannot be"), "{ruling:?}");
    }
}

#[test]
fn a_parallelism_that_cannot_be_is_not_held() {
    let mut guard = Guard::new(Box::new(Fixed::new(7)), quick());
    assert_eq!(guard.decide(&busy(8.0, 7)).target, 7);
    assert_eq!(guard.decide(&busy(16.0, u32::MAX)).target, 7);
}

#[test]
fn a_clock_set_back_is_held_once() {
    let mut guard = Guard::new(Box::new(Fixed::new(20)), quick());
    assert_eq!(guard.decide(&busy(1000.0, 12)).target, 20);
    assert!(guard.decide(&busy(1000.0, 20)).held);
    let ruling = guard.decide(&busy(10.0, 12));
    assert_eq!((ruling.held, ruling.target), (true, 12));
    assert!(
        ruling.reasons[0].contains("set back by 990.0 s"),
        "{ruling:?}"
    );
    assert_eq!(guard.decide(&busy(18.0, 12)).target, 20);
}

#[test]
fn sight_that_returns_does_not_lower_at_once() {
    let limits = Limits {
        max: 32,
        ..Limits::default()
    };
    let mut guard = Guard::new(Box::new(Fixed::new(2)), limits);
    for step in 1..=20 {
        guard.hold(8.0 * f64::from(step), 12, "NATS did not answer");
    }
    assert_eq!(guard.decide(&busy(168.0, 12)).target, 12);
    // Nor after a time in which nobody even asked.
    assert_eq!(guard.decide(&busy(9000.0, 12)).target, 12);
    for time_seconds in [9008.0, 9016.0, 9024.0] {
        assert_eq!(guard.decide(&busy(time_seconds, 12)).target, 12);
    }
    assert_eq!(guard.decide(&busy(9032.0, 12)).target, 2);
}

#[test]
fn a_loaded_farm_without_visible_workers_does_not_fall() {
    let mut guard = Guard::new(Box::new(Fixed::new(2)), quick());
    let unseen = Observation {
        available_parallelism: 0,
        ..busy(8.0, 12)
    };
    let ruling = guard.decide(&unseen);
    assert_eq!((ruling.wanted, ruling.target), (Some(2), 12));
}

#[test]
fn a_policy_that_fails_is_replaced_until_it_recovers() {
    let script = vec![Ok(9), Err(()), Ok(9), Ok(9)];
    let mut guard = Guard::new(Box::new(Scripted(script)), quick());
    guard.decide(&busy(8.0, 9));

    let ruling = guard.decide(&busy(16.0, 9));
    assert_eq!(
        (ruling.policy, ruling.fell_back),
        ("reactive-average", true)
    );
    // 5 tasks/s × 1 s, and the few that count as busy.
    assert!((5..=7).contains(&ruling.target), "{ruling:?}");
    assert_eq!(
        ruling.reasons[0],
        "policy scripted: the model does not fit; reactive-average decides until it recovers"
    );

    let ruling = guard.decide(&busy(24.0, 9));
    assert_eq!((ruling.policy, ruling.fell_back), ("scripted", false));
    assert_eq!(ruling.reasons[1], "scripted decides again");
    assert_eq!(guard.decide(&busy(32.0, 9)).reasons.len(), 1);
}

fn idle_limits() -> Limits {
    Limits {
        min: 0,
        idle_seconds: 40.0,
        ..Limits::default()
    }
}

#[test]
fn an_idle_farm_goes_to_zero_after_its_time_and_comes_back_at_once() {
    let mut guard = Guard::new(Box::new(Fixed::new(3)), idle_limits());
    let targets: Vec<u32> = (1..=7)
        .map(|step| {
            guard
                .decide(&Observation::idle(8.0 * f64::from(step), 3))
                .target
        })
        .collect();
    assert_eq!(targets, [3, 3, 3, 3, 3, 0, 0]);
    assert_eq!(guard.decide(&Observation::idle(64.0, 0)).target, 0);
    let woken = Observation {
        backlog_tasks: 1,
        ..Observation::idle(72.0, 0)
    };
    assert_eq!(guard.decide(&woken).target, 3);
}

#[test]
fn a_policy_that_wants_nothing_still_wakes_and_keeps_one() {
    let mut guard = scripted(&[0; 9], idle_limits());
    let woken = Observation {
        backlog_tasks: 1,
        ..Observation::idle(8.0, 0)
    };
    assert_eq!(guard.decide(&woken).target, 1);
    assert_eq!(guard.decide(&Observation::idle(16.0, 1)).target, 1);
}

#[test]
fn a_farm_found_at_zero_without_work_is_left_there() {
    let mut guard = Guard::new(Box::new(Fixed::new(3)), idle_limits());
    assert_eq!(guard.decide(&Observation::idle(8.0, 0)).target, 0);
    let mut guard = Guard::new(Box::new(Fixed::new(3)), Limits::default());
    assert_eq!(guard.decide(&Observation::idle(8.0, 0)).target, 3);
}

#[test]
fn idleness_has_to_be_seen_without_a_gap() {
    for blind in [true, false] {
        let mut guard = Guard::new(Box::new(Fixed::new(3)), idle_limits());
        for step in 1..=5 {
            guard.decide(&Observation::idle(8.0 * f64::from(step), 3));
        }
        if blind {
            guard.hold(44.0, 3, "no telemetry");
            assert_eq!(guard.decide(&Observation::idle(48.0, 3)).target, 3);
        } else {
            assert_eq!(guard.decide(&Observation::idle(480.0, 3)).target, 3);
        }
    }
}

#[test]
fn a_hold_keeps_what_is_within_the_bounds() {
    let mut guard = Guard::new(
        Box::new(Fixed::new(1)),
        Limits {
            min: 2,
            ..Limits::default()
        },
    );
    let held = [1, 2, 7, 99].map(|present| guard.hold(8.0, present, "blind").target);
    assert_eq!(held, [2, 2, 7, 10]);
    assert_eq!(guard.hold(f64::NAN, 7, "blind").target, 7);
}
