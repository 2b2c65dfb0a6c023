//! The workload of arXiv 2602.06555, "steady low, steady high, slow and fast oscillation".
//!
//! Every figure of it stands here, as the authors' code has it rather than as its names say:
//!
//! * four phases of 60 windows of one second, with 90, 450, 300 and 300 tasks (the two
//!   "oscillating" phases never oscillate: both are a bursty 5 tasks/s);
//! * a window's number of tasks is Poisson with mean *tasks left / windows left*, capped at the
//!   tasks left, and the last window takes what is left, so that each phase has its exact total;
//! * inside a window of *n* tasks the gaps are exponential with mean *1/n* and not rescaled: the
//!   window lasts one second only on average, and one without tasks lasts nothing. Phase 1 takes
//!   about 46 s that way, the whole about 225 s;
//! * service times are gamma with mean 1.5 s and shape 4, clipped;
//! * a task's deadline is twice its own service time, within bounds.

use std::time::Duration;

use rand_distr::{Distribution, Exp1, Poisson};
use rand_pcg::Pcg64Mcg;

use super::service::Service;
use super::{Plan, PlannedTask, arrival_random};

/// Tasks of each phase.
pub const PHASE_TASKS: [u64; 4] = [90, 450, 300, 300];
/// Tasks of all phases.
pub const TASKS: u64 = PHASE_TASKS[0] + PHASE_TASKS[1] + PHASE_TASKS[2] + PHASE_TASKS[3];
/// Windows of each phase, nominally of one second each.
const PHASE_WINDOWS: u64 = 60;
const SERVICE_MEAN_SECONDS: f64 = 1.5;
const SERVICE_SHAPE: f64 = 4.0;
/// The range of the authors' image sizes, in service time.
const SERVICE_CLIP_SECONDS: (f64, f64) = (0.0465, 2.8705);
const DEADLINE_FACTOR: f64 = 2.0;
const DEADLINE_BOUNDS_SECONDS: (f64, f64) = (0.1, 30.0);

/// The tasks of the workload; `time_scale` shortens (or lengthens) all its times alike.
///
/// # Errors
/// Only if the constants above made no distribution.
pub fn plan(seed: u64, time_scale: f64) -> Result<Plan, String> {
    let services = Service::gamma(SERVICE_MEAN_SECONDS, SERVICE_SHAPE)?.times(seed);
    let scaled = move |seconds: f64| Duration::from_secs_f64(seconds * time_scale);
    let tasks =
        arrival_seconds(seed)
            .into_iter()
            .zip(services)
            .map(move |(at_seconds, service)| {
                let service_seconds = clip(service.as_secs_f64(), SERVICE_CLIP_SECONDS);
                let deadline_seconds =
                    clip(DEADLINE_FACTOR * service_seconds, DEADLINE_BOUNDS_SECONDS);
                PlannedTask {
                    at: scaled(at_seconds),
                    service: scaled(service_seconds),
                    deadline: Some(scaled(deadline_seconds)),
                }
            });
    Ok(Box::new(tasks))
}

fn clip(value: f64, (low, high): (f64, f64)) -> f64 {
    value.clamp(low, high)
}

fn arrival_seconds(seed: u64) -> Vec<f64> {
    let mut random = arrival_random(seed);
    let mut clock_seconds = 0.0;
    let mut arrivals = Vec::new();
    for phase_tasks in PHASE_TASKS {
        for count in window_counts(phase_tasks, &mut random) {
            for _ in 0..count {
                arrivals.push(clock_seconds);
                let gap: f64 = Exp1.sample(&mut random);
                clock_seconds += gap / count as f64;
            }
        }
    }
    arrivals
}

/// Tasks of each window of a phase; they add up to `phase_tasks`.
fn window_counts(phase_tasks: u64, random: &mut Pcg64Mcg) -> Vec<u64> {
    let mut tasks_left = phase_tasks;
    let windows_left = (1..=PHASE_WINDOWS).rev();
    windows_left
        .map(|windows_left| {
            let count = match windows_left {
                1 => tasks_left,
                _ => poisson(tasks_left as f64 / windows_left as f64, random).min(tasks_left),
            };
            tasks_left -= count;
            count
        })
        .collect()
}

/// A Poisson number; a mean of 0 gives 0.
fn poisson(mean: f64, random: &mut Pcg64Mcg) -> u64 {
    Poisson::new(mean).map_or(0, |poisson| poisson.sample(random) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SEEDS: u64 = 400;

    fn mean_and_sd(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn every_phase_has_its_exact_number_of_tasks() {
        for seed in 0..SEEDS {
            let mut random = arrival_random(seed);
            for phase_tasks in PHASE_TASKS {
                let counts = window_counts(phase_tasks, &mut random);
                assert_eq!(counts.len(), 60);
                assert_eq!(counts.iter().sum::<u64>(), phase_tasks);
            }
            assert_eq!(plan(seed, 1.0).unwrap().count() as u64, TASKS);
        }
    }

    #[test]
    fn equal_seeds_give_equal_tasks() {
        let tasks = |seed| plan(seed, 1.0).unwrap().collect::<Vec<_>>();
        assert_eq!(tasks(42), tasks(42));
        assert_ne!(tasks(42), tasks(43));
    }

    /// Published: 45.5 ± 5.5, 59.8 ± 3.0, 59.5 ± 3.8, 59.6 ± 3.9 and 224.4 ± 9.0 seconds.
    #[test]
    fn phases_last_as_long_as_the_published_ones() {
        let mut starts = PHASE_TASKS.iter().scan(0, |tasks, phase| {
            *tasks += *phase as usize;
            Some(*tasks)
        });
        let ends: [usize; 4] = std::array::from_fn(|_| starts.next().unwrap());
        let runs: Vec<Vec<f64>> = (0..SEEDS).map(arrival_seconds).collect();
        let first_of = |run: &[f64], index: usize| run.get(index).or(run.last()).copied().unwrap();
        let mut start = 0;
        let published = [(45.5, 5.5), (59.8, 3.0), (59.5, 3.8), (59.6, 3.9)];
        for (end, (published_mean, published_sd)) in ends.into_iter().zip(published) {
            let seconds: Vec<_> = runs
                .iter()
                .map(|run| first_of(run, end) - run[start])
                .collect();
            let (mean, sd) = mean_and_sd(&seconds);
            assert!(
                (mean - published_mean).abs() < 1.0,
                "from task {start}: mean {mean}"
            );
            assert!(
                (sd - published_sd).abs() < 1.0,
                "from task {start}: sd {sd}"
            );
            start = end;
        }
        let totals: Vec<_> = runs.iter().map(|run| *run.last().unwrap()).collect();
        let (mean, sd) = mean_and_sd(&totals);
        assert!((mean - 224.4).abs() < 1.5, "mean {mean}");
        assert!((sd - 9.0).abs() < 1.5, "sd {sd}");
    }

    /// Published: clipped mean 1.4715, standard deviation 0.674 seconds.
    #[test]
    fn service_times_and_deadlines_are_those_published() {
        let tasks: Vec<_> = (0..40).flat_map(|seed| plan(seed, 1.0).unwrap()).collect();
        let services: Vec<_> = tasks
            .iter()
            .map(|task| task.service.as_secs_f64())
            .collect();
        let (mean, sd) = mean_and_sd(&services);
        assert!((mean - 1.4715).abs() < 0.02, "mean {mean}");
        assert!((sd - 0.674).abs() < 0.02, "sd {sd}");
        for task in tasks {
            let seconds = task.service.as_secs_f64();
            assert!(
                (0.0465 - 1e-6..=2.8705 + 1e-6).contains(&seconds),
                "{seconds}"
            );
            let deadline_seconds = task.deadline.unwrap().as_secs_f64();
            assert!((deadline_seconds - (2.0 * seconds).max(0.1)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_time_scale_shortens_all_times_alike() {
        let pairs = plan(1, 1.0).unwrap().zip(plan(1, 0.1).unwrap());
        for (full, short) in pairs {
            for (full, short) in [
                (full.at, short.at),
                (full.service, short.service),
                (full.deadline.unwrap(), short.deadline.unwrap()),
            ] {
                assert!((full.as_secs_f64() / 10.0 - short.as_secs_f64()).abs() < 1e-8);
            }
        }
    }
}
