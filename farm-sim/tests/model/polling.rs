//! Workers that look for tasks now and then.

use farm_sim::farm::{Farm, Window};
use farm_sim::nanoseconds;
use farm_sim::platform::Platform;
use farm_sim::random::Duration;
use farm_sim::workload::{Arrivals, Deadline, Rate, Workload};

/// Mean wait of tasks so far apart that each finds all `workers` idle, and its standard error.
fn lonely_wait_seconds(workers: u32, poll_seconds: f64) -> (f64, f64) {
    let workload = Workload {
        arrivals: Arrivals::Poisson {
            rate: Rate::Constant(0.002),
            seconds: 5e6,
        },
        service: Duration::Uniform {
            low: 0.5,
            high: 1.5,
        },
        deadline: Deadline::Never,
    };
    let platform = Platform {
        poll_seconds,
        ..Platform::ideal()
    };
    let mut farm = Farm::new(&platform);
    farm.begin(workload.stream(1), workers, 1);
    let mut window = Window::default();
    farm.advance(nanoseconds(6e6));
    farm.collect(0, nanoseconds(6e6), &mut window);
    let wait = window.sojourn_seconds_mean().unwrap() - window.service_seconds_mean().unwrap();
    (wait, poll_seconds / (12.0 * window.count as f64).sqrt())
}

#[test]
fn a_task_waits_for_the_next_look_of_whoever_looks_first() {
    // The looks of one are spread evenly over the period; so are those of two, independently.
    for (workers, share) in [(1, 1.0 / 2.0), (2, 1.0 / 3.0)] {
        let (wait, error) = lonely_wait_seconds(workers, 0.4);
        // Now and then a task meets one that computes: 1 s in 500 s, and waits half of it.
        let allowed = 4.0 * error + 0.4 * 0.005;
        assert!(
            (wait - 0.4 * share).abs() < allowed,
            "{workers} workers: {wait}, not {} ± {error}",
            0.4 * share
        );
    }
}

#[test]
fn more_workers_look_more_often() {
    let waits: Vec<f64> = [1, 2, 4, 8, 16]
        .map(|workers| lonely_wait_seconds(workers, 0.1).0)
        .to_vec();
    assert!(waits.is_sorted_by(|more, less| more > less), "{waits:?}");
    assert!(lonely_wait_seconds(16, 0.0).0.abs() < 1e-6);
}
