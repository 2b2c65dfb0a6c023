use super::*;

fn at(step: u32, rate: f64, parallelism: u32) -> Observation {
    Observation {
        arrival_rate_per_second: rate,
        service_seconds_mean: Some(1.5),
        service_seconds_variance: Some(0.5),
        deadline_seconds: Some(3.0),
        ..Observation::idle(8.0 * f64::from(step), parallelism)
    }
}

fn wanted(policy: &mut Predictive, observation: &Observation) -> u32 {
    policy.decide(observation).unwrap().parallelism
}

#[test]
fn it_explains_itself_with_its_numbers() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    assert!(wanted(&mut policy, &at(1, 12.0, 12)) > 20);
    let reason = policy.reason();
    let sentence = "12.0 tasks/s × 1.50 s = 18.0 busy workers, 20 keep 95 % inside 3.0 s";
    assert!(reason.starts_with(sentence), "{reason}");
}

#[test]
fn a_jump_of_the_load_is_answered_in_one_decision() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    for step in 1..=10 {
        wanted(&mut policy, &at(step, 1.5, 5));
    }
    assert!(wanted(&mut policy, &at(11, 7.5, 5)) >= 14);
}

#[test]
fn a_fall_waits_for_the_memory() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    assert_eq!(wanted(&mut policy, &at(1, 1.5, 12)), 12);
    assert_eq!(wanted(&mut policy, &at(8, 1.5, 12)), 12);
    assert!(wanted(&mut policy, &at(9, 1.5, 12)) < 8);
}

#[test]
fn a_backlog_is_cleared_and_then_forgotten() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    for step in 1..=10 {
        wanted(&mut policy, &at(step, 4.0, 12));
    }
    let behind = Observation {
        backlog_tasks: 100,
        ..at(11, 4.0, 12)
    };
    assert!(wanted(&mut policy, &behind) > 18);
    assert!(wanted(&mut policy, &at(12, 4.0, 20)) <= 12);
}

/// Where workers come at once, the tasks that are here decide, up and down.
#[test]
fn on_a_fast_platform_it_follows_the_tasks() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    let mut look = |second: u32, tasks: u64, parallelism: u32| {
        let observation = Observation {
            time_seconds: f64::from(second),
            interval_seconds: 1.0,
            cold_start_seconds: 0.35,
            in_flight_tasks: tasks,
            qos_ratio: Some(0.95),
            ..at(0, 5.0, parallelism)
        };
        wanted(&mut policy, &observation)
    };
    assert_eq!(look(1, 7, 11), 11);
    assert!(look(2, 18, 11) > 12);
    for second in 3..6 {
        look(second, 7, 16);
    }
    assert!(look(6, 7, 16) < 13);
}

#[test]
fn missed_deadlines_make_it_cautious_and_kept_ones_bold() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    let mut settle = |first: u32, qos: f64| {
        let observe = |step| Observation {
            qos_ratio: Some(qos),
            service_seconds_variance: Some(2.25),
            ..at(step, 4.0, 1)
        };
        let answers = (first..first + 20).map(|step| wanted(&mut policy, &observe(step)));
        answers.last().unwrap()
    };
    let (bold, cautious) = (settle(0, 1.0), settle(20, 0.8));
    assert!(cautious > bold, "{bold} to {cautious}");
    assert_eq!(settle(40, 1.0), bold);
}

#[test]
fn without_a_service_time_it_does_not_go_below_what_it_found() {
    let mut policy = Predictive::new(PredictiveSettings {
        memory_seconds: Some(0.0),
        ..PredictiveSettings::default()
    });
    let unknown = |step| Observation {
        service_seconds_mean: None,
        ..at(step, 0.5, 9)
    };
    for step in 1..=20 {
        assert_eq!(wanted(&mut policy, &unknown(step)), 9);
    }
    assert!(policy.reason().contains("assumed"), "{}", policy.reason());
    assert!(wanted(&mut policy, &at(21, 0.5, 9)) < 9);
}

#[test]
fn a_deadline_that_cannot_be_kept_is_staffed_within_reason() {
    let mut policy = Predictive::new(PredictiveSettings::default());
    let impossible = Observation {
        deadline_seconds: Some(0.5),
        target_qos_ratio: 1.0,
        ..at(1, 5.0, 5)
    };
    assert!((12..=25).contains(&wanted(&mut policy, &impossible)));
}
