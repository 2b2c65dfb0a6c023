//! Each mechanism of a platform alone, with times that can be followed by hand.

use farm_policy::reward::EpisodeEnd;
use farm_sim::episode::Episode;
use farm_sim::nanoseconds;
use farm_sim::platform::{ColdStart, Failures, Platform};
use farm_sim::random::Duration;
use farm_sim::scenario::{Control, Scenario};
use farm_sim::workload::{Arrivals, Deadline, Stream, Task, Workload};

use Duration::Constant;

/// Decisions every second, from 4 workers.
fn scenario(platform: Platform) -> Scenario {
    Scenario {
        name: "by hand".to_owned(),
        platform,
        control: Control {
            interval_seconds: 1.0,
            initial_parallelism: 4,
            min_parallelism: 0,
            ..Control::default()
        },
        ..Scenario::paper()
    }
}

/// Tasks that all arrive at the beginning.
fn at_once(tasks: usize, service_seconds: f64) -> Stream {
    let task = Task {
        arrival: 0,
        service: nanoseconds(service_seconds),
        deadline: nanoseconds(2.0 * service_seconds),
    };
    Stream {
        tasks: vec![task; tasks],
        phase_starts: vec![0, nanoseconds(2.5)],
    }
}

fn begun(platform: Platform, stream: Stream) -> Episode {
    let mut episode = Episode::new(&scenario(platform), 1).unwrap();
    episode.begin(stream, 1);
    episode
}

/// Workers that take tasks at the end of each of the steps.
fn available(episode: &mut Episode, asked: &[u32]) -> Vec<u32> {
    let steps = asked.iter().map(|asked| {
        episode.step(*asked);
        episode.observation().available_parallelism
    });
    steps.collect()
}

fn cold(seconds: f64) -> Platform {
    Platform {
        cold_start: ColdStart::After(Constant(seconds)),
        ..Platform::ideal()
    }
}

#[test]
fn added_workers_come_after_the_cold_start() {
    let mut episode = begun(cold(2.5), at_once(100, 60.0));
    assert_eq!(available(&mut episode, &[6, 6, 6, 6]), [4, 4, 6, 6]);
    assert_eq!(episode.observation().in_flight_tasks, 6);
    assert_eq!(episode.outcome().worker_seconds, 24.0);
}

#[test]
fn a_worker_that_is_not_there_yet_leaves_first() {
    let mut episode = begun(cold(2.5), at_once(0, 1.0));
    assert_eq!(available(&mut episode, &[6]), [4]);
    // Nothing came, so nothing ended; the farm is empty, and the episode over.
    assert_eq!(episode.end(), Some(EpisodeEnd::AllCollected));

    let mut episode = begun(cold(2.5), at_once(100, 60.0));
    assert_eq!(available(&mut episode, &[6, 5, 5, 5]), [4, 4, 5, 5]);
}

#[test]
fn who_leaves_finishes_its_task_and_takes_no_other() {
    let mut episode = begun(Platform::ideal(), at_once(100, 1.75));
    let mut in_flight = Vec::new();
    for asked in [4, 1, 1, 1] {
        episode.step(asked);
        in_flight.push(episode.observation().in_flight_tasks);
    }
    // All four end at 1.75 s; one goes on.
    assert_eq!(in_flight, [4, 1, 1, 1]);
    assert_eq!(episode.observation().available_parallelism, 1);
}

#[test]
fn a_notice_that_comes_late_does_not_lengthen_the_step() {
    let platform = Platform {
        drain_notice: Constant(2.25),
        ..Platform::ideal()
    };
    let mut episode = begun(platform, at_once(1000, 0.5));
    let mut in_flight = Vec::new();
    for asked in [2, 2, 2, 2] {
        episode.step(asked);
        in_flight.push(episode.observation().in_flight_tasks);
    }
    assert_eq!(in_flight, [4, 4, 2, 2]);
    assert_eq!(episode.observation().time_seconds, 4.0);
}

#[test]
fn a_call_that_blocks_takes_its_time_from_the_step_and_lengthens_it_if_it_is_longer() {
    let platform = |call| Platform {
        scale_up_call: Constant(call),
        scale_down_call: Constant(0.5),
        blocking: true,
        cold_start: ColdStart::BeforeAnswer(0.25),
        read_out: Constant(0.1),
        ..Platform::ideal()
    };
    let times = |call, asked: &[u32]| {
        let mut episode = begun(platform(call), at_once(100, 60.0));
        let times = asked.iter().map(|asked| {
            episode.step(*asked);
            episode.observation().time_seconds
        });
        times.collect::<Vec<f64>>()
    };
    // 0.2 s of each step are kept for the read-out, which takes 0.1 s.
    assert_eq!(times(0.5, &[4, 5, 4]), [0.9, 1.8, 2.7]);
    assert_eq!(times(3.0, &[4, 5, 4]), [0.9, 4.0, 4.9]);

    let mut episode = begun(platform(3.0), at_once(100, 60.0));
    assert_eq!(available(&mut episode, &[5]), [5]);
}

#[test]
fn places_of_removed_workers_stay_warm() {
    let platform = Platform {
        warm_start: Some(Constant(0.5)),
        ..cold(2.5)
    };
    let mut episode = begun(platform, at_once(100, 60.0));
    // One was removed: of two that are added one is warm, and so is one of the next two.
    let asked = [3, 5, 5, 5, 5, 7, 7, 7];
    assert_eq!(available(&mut episode, &asked), [3, 4, 4, 5, 5, 6, 6, 7]);
}

#[test]
fn slots_of_running_replicas_are_filled_before_others_are_started() {
    let platform = Platform {
        slots_max: 4,
        slot_change: Constant(0.5),
        ..cold(2.5)
    };
    let mut scenario = scenario(platform);
    scenario.control.initial_parallelism = 5;
    let mut episode = Episode::new(&scenario, 1).unwrap();
    episode.begin(at_once(1000, 600.0), 1);
    assert_eq!(episode.observation().slots, 3);
    // Two replicas hold 8; the ninth to twelfth live in a third, which is there at 2.5 s, and
    // whoever is asked for while it starts waits for it.
    let asked = [8, 9, 12, 12, 12, 12];
    assert_eq!(available(&mut episode, &asked), [8, 8, 8, 12, 12, 12]);
    assert_eq!(episode.observation().slots, 4);
    episode.step(4);
    assert_eq!(episode.observation().slots, 4);
    episode.step(3);
    assert_eq!(episode.observation().slots, 3);
}

#[test]
fn telemetry_that_is_late_shows_what_was() {
    let platform = Platform {
        telemetry_delay_seconds: 1.5,
        collection: Constant(0.1),
        ..Platform::ideal()
    };
    let mut episode = begun(platform, at_once(8, 0.75));
    let mut seen = Vec::new();
    while episode.end().is_none() {
        episode.step(4);
        let observation = episode.observation();
        seen.push((observation.collected_tasks, observation.result_queue));
    }
    // Collected at 0.85 and 1.6 s, known at 2.35 and 3.1 s.
    assert_eq!(seen, [(0, 4), (0, 8), (4, 4), (8, 0)]);
    assert_eq!(episode.observation().qos_ratio, Some(0.0));
}

#[test]
fn a_hidden_script_keeps_what_the_rules_of_the_paper_need() {
    let run = |hide_script| {
        let mut scenario = scenario(Platform::ideal());
        scenario.control.hide_script = hide_script;
        let mut episode = Episode::new(&scenario, 1).unwrap();
        episode.begin(at_once(20, 0.75), 1);
        episode.step(4);
        episode.step(4);
        episode.observation().clone()
    };
    let (open, hidden) = (run(false), run(true));
    assert_eq!((open.input_queue, hidden.input_queue), (1, 0));
    assert_eq!((open.collected_tasks, hidden.collected_tasks), (8, 0));
    assert_eq!((open.submitted_tasks, hidden.submitted_tasks), (20, 12));
    let settled = farm_policy::Observation {
        input_queue: 0,
        collected_tasks: 0,
        submitted_tasks: 12,
        ..open
    };
    assert_eq!(settled, hidden);
}

#[test]
fn the_last_step_is_out_of_steps_even_if_everything_was_collected() {
    let mut scenario = scenario(Platform::ideal());
    scenario.control.max_steps = Some(2);
    scenario.control.drain_seconds = 1.0;
    let end = |service_seconds| {
        let mut episode = Episode::new(&scenario, 1).unwrap();
        episode.begin(at_once(8, service_seconds), 1);
        while episode.end().is_none() {
            episode.step(4);
        }
        (episode.end(), episode.outcome())
    };
    assert_eq!(end(0.25).0, Some(EpisodeEnd::AllCollected));
    let out = |unfinished_tasks| Some(EpisodeEnd::OutOfSteps { unfinished_tasks });
    assert_eq!(end(1.0).0, out(0));
    // The second four are collected in the time to drain: no step, no cost.
    let (late, outcome) = end(1.25);
    assert_eq!(late, out(4));
    assert_eq!((outcome.collected, outcome.unfinished), (8, 0));
    assert_eq!((outcome.steps, outcome.seconds), (2, 2.0));
    let (lost, outcome) = end(2.0);
    assert_eq!(lost, out(4));
    assert_eq!((outcome.collected, outcome.unfinished), (4, 4));
    assert_eq!(
        (outcome.qos_ratio(), outcome.collected_qos_ratio()),
        (0.5, 1.0)
    );
}

fn failing(mean_seconds: f64, redelivery: f64, restart: f64) -> Platform {
    Platform {
        failures: Some(Failures {
            mean_time_between_seconds: mean_seconds,
            redelivery_seconds: redelivery,
            restart_seconds: restart,
        }),
        ..Platform::ideal()
    }
}

#[test]
fn workers_fail_as_often_as_they_compute() {
    let workload = Workload {
        arrivals: Arrivals::Constant {
            per_second: 2.0,
            seconds: 10_000.0,
        },
        service: Constant(2.0),
        deadline: Deadline::Never,
    };
    let mut farm = farm_sim::farm::Farm::new(&failing(10.0, 3.0, 5.0));
    farm.begin(workload.stream(1), 12, 1);
    let end = nanoseconds(20_000.0);
    farm.advance(end);
    farm.collect(0, end, &mut farm_sim::farm::Window::default());
    let totals = farm.totals();
    assert_eq!((totals.submitted, totals.collected), (20_000, 20_000));
    assert_eq!(farm.contents().workers, 12);
    // A task is attempted until one attempt of 2 s survives: e^(2/10) times in the mean.
    let again = 0.2_f64.exp() - 1.0;
    let error = (20_000.0 * again * (1.0 + again)).sqrt();
    let expected = 20_000.0 * again;
    assert!(
        (totals.failures as f64 - expected).abs() < 4.0 * error,
        "{totals:?}, not {expected}"
    );
}

#[test]
fn a_worker_that_failed_is_away_until_it_restarts() {
    let mut episode = begun(failing(1.0, 2.0, 3.0), at_once(40, 1.0));
    let mut least = 4;
    while episode.end().is_none() {
        episode.step(4);
        let seen = episode.observation();
        least = least.min(seen.available_parallelism);
        // A failed task counts as in flight until it is delivered again.
        assert_eq!(
            seen.submitted_tasks,
            seen.collected_tasks + seen.backlog_tasks + seen.in_flight_tasks
        );
    }
    assert!(least < 4);
    assert_eq!(episode.outcome().collected, 40);
}

#[test]
fn a_task_whose_worker_failed_goes_before_those_that_wait() {
    let mut again = 0;
    for seed in 0..50 {
        let mut stream = at_once(9, 2.0);
        stream.tasks[0].service = nanoseconds(1.0);
        let mut farm = farm_sim::farm::Farm::new(&failing(1.0, 0.5, 1.0));
        farm.begin(stream, 1, seed);
        let mut window = farm_sim::farm::Window::default();
        let mut now = 0;
        while window.count == 0 {
            now += nanoseconds(0.25);
            farm.advance(now);
            farm.collect(0, now, &mut window);
        }
        assert_eq!(window.service_seconds_max(), Some(1.0), "seed {seed}");
        again += u32::from(now > nanoseconds(1.0));
    }
    assert!(again > 10);
}
