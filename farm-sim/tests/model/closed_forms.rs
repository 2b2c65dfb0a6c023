//! Where queueing theory has a formula, the mean over many runs has to be it.

use farm_sim::farm::{Farm, Window};
use farm_sim::nanoseconds;
use farm_sim::platform::Platform;
use farm_sim::random::Duration;
use farm_sim::workload::{Arrivals, Deadline, Rate, Stream, Workload};

const RUNS: u64 = 24;
const RUN_SECONDS: f64 = 8_000.0;

/// Poisson arrivals; a task meets its deadline if it did not wait at all.
fn stream(rate_per_second: f64, service: &Duration, seed: u64) -> Stream {
    let workload = Workload {
        arrivals: Arrivals::Poisson {
            rate: Rate::Constant(rate_per_second),
            seconds: RUN_SECONDS,
        },
        service: service.clone(),
        deadline: Deadline::ServiceTimes {
            factor: 1.0,
            bounds: (0.0, 1e6),
        },
    };
    workload.stream(seed)
}

/// Estimates of independent runs.
struct Runs(Vec<f64>);

impl Runs {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn standard_error(&self) -> f64 {
        let count = self.0.len() as f64;
        let squares = self.0.iter().map(|value| (value - self.mean()).powi(2));
        (squares.sum::<f64>() / (count - 1.0) / count).sqrt()
    }

    /// Four standard errors, and half a per cent for the beginning of each run, which is empty.
    fn assert_is(&self, expected: f64, what: &str) {
        let (mean, error) = (self.mean(), self.standard_error());
        assert!(
            (mean - expected).abs() < 4.0 * error + 0.005 * expected,
            "{what}: {mean} ± {error}, theory says {expected}"
        );
        assert!(
            error < 0.1 * expected,
            "{what}: ± {error} of {expected} proves nothing"
        );
    }
}

/// Mean waits in seconds, and shares of tasks that waited.
fn waits(workers: u32, rate_per_second: f64, service: &Duration) -> (Runs, Runs) {
    let mut farm = Farm::new(&Platform::ideal());
    let runs = (0..RUNS).map(|seed| {
        farm.begin(stream(rate_per_second, service, seed), workers, seed);
        let end = nanoseconds(2.0 * RUN_SECONDS);
        let mut window = Window::default();
        farm.advance(end);
        farm.collect(0, end, &mut window);
        assert!(farm.is_drained());
        let wait = window.sojourn_seconds_mean().unwrap() - window.service_seconds_mean().unwrap();
        (wait, 1.0 - window.qos_ratio().unwrap())
    });
    let (waits, shares) = runs.unzip();
    (Runs(waits), Runs(shares))
}

/// Probability that a task waits, for `load` erlangs.
fn erlang_c(workers: u32, load: f64) -> f64 {
    let mut blocked = 1.0;
    for worker in 1..=workers {
        blocked = load * blocked / (f64::from(worker) + load * blocked);
    }
    let utilisation = load / f64::from(workers);
    blocked / (1.0 - utilisation * (1.0 - blocked))
}

#[test]
fn waits_of_many_workers_are_those_of_erlang() {
    let mean_seconds = 1.5;
    let exponential = Duration::Gamma {
        mean: mean_seconds,
        shape: 1.0,
        clip: None,
    };
    for (workers, utilisation) in [
        (1, 0.5),
        (1, 0.8),
        (2, 0.7),
        (5, 0.6),
        (5, 0.9),
        (16, 0.8),
        (16, 0.95),
    ] {
        let load = f64::from(workers) * utilisation;
        let (wait, waited) = waits(workers, load / mean_seconds, &exponential);
        let probability = erlang_c(workers, load);
        let spare = f64::from(workers) - load;
        let what = format!("M/M/{workers} at {utilisation}");
        waited.assert_is(probability, &format!("{what}, share that waits"));
        wait.assert_is(probability * mean_seconds / spare, &format!("{what}, wait"));
    }
}

#[test]
fn waits_of_one_worker_are_those_of_pollaczek_and_khinchine() {
    let mean = 0.5;
    let gamma = |shape| Duration::Gamma {
        mean,
        shape,
        clip: None,
    };
    let uniform = Duration::Uniform {
        low: 0.2,
        high: 0.8,
    };
    let empirical = Duration::Empirical(vec![0.1, 0.1, 0.1, 1.7]);
    for (name, service, variation) in [
        ("D", Duration::Constant(mean), 0.0),
        ("uniform", uniform, 0.12),
        ("gamma 4", gamma(4.0), 0.25),
        ("gamma 2.5", gamma(2.5), 0.4),
        ("gamma 0.5", gamma(0.5), 2.0),
        ("two kinds", empirical, 1.92),
    ] {
        for utilisation in [0.4, 0.8] {
            let (wait, waited) = waits(1, utilisation / mean, &service);
            let expected = utilisation * mean * (1.0 + variation) / (2.0 * (1.0 - utilisation));
            let what = format!("M/{name}/1 at {utilisation}");
            wait.assert_is(expected, &format!("{what}, wait"));
            waited.assert_is(utilisation, &format!("{what}, share that waits"));
        }
    }
}

/// The mean number in the farm is looked up at moments that have nothing to do with its tasks; the
/// mean time in it is measured task by task.
#[test]
fn what_is_in_the_farm_is_rate_times_sojourn() {
    let every = nanoseconds(0.01);
    for (workers, platform) in [(6, Platform::ideal()), (7, Platform::paper())] {
        let service = Duration::Gamma {
            mean: 1.5,
            shape: 2.0,
            clip: None,
        };
        let mut farm = Farm::new(&platform);
        let mut tasks = stream(3.5, &service, 7);
        tasks.tasks.truncate(5_000);
        let count = tasks.tasks.len() as f64;
        farm.begin(tasks, workers, 7);
        let (mut now, mut looked_at, mut sojourns) = (0, 0_u64, 0.0);
        let mut window = Window::default();
        while !farm.is_drained() {
            farm.advance(now);
            farm.collect(now.saturating_sub(every), now, &mut window);
            let contents = farm.contents();
            looked_at += contents.backlog + contents.in_flight + contents.results;
            sojourns += window.sojourn_seconds_mean().unwrap_or(0.0) * window.count as f64;
            now += every;
        }
        let seconds = farm_sim::seconds(now);
        let in_the_farm = looked_at as f64 * 0.01 / seconds;
        let by_little = count / seconds * (sojourns / count);
        assert!(
            (in_the_farm / by_little - 1.0).abs() < 0.002,
            "{in_the_farm} are in the farm, Little says {by_little}"
        );
    }
}
