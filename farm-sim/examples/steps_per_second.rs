//! How fast the simulator is: control steps per second of one core, resets included.
//!
//! `cargo run --release -p farm-sim --example steps_per_second`
//!
//! Where the system tells it (Linux), the time is that of the processor alone, so that a busy
//! machine gives the same figure as an idle one; elsewhere it is that of the wall.

use std::time::Instant;

use farm_sim::episode::Episode;
use farm_sim::scenario::Scenario;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const MEASURED_SECONDS: f64 = 3.0;

/// A clock of the work of this thread.
struct Clock {
    wall: Instant,
    processor_seconds: Option<f64>,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            processor_seconds: processor_seconds(),
        }
    }

    fn seconds(&self) -> f64 {
        match (processor_seconds(), self.processor_seconds) {
            (Some(now), Some(began)) => now - began,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }
}

/// Time this thread has run on a processor.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

fn measure(name: &str, scenario: &Scenario, mut choose: impl FnMut(u32) -> u32) {
    let Ok(mut episode) = Episode::new(scenario, 0) else {
        return eprintln!("{name}: no sound scenario");
    };
    let (mut steps, mut tasks, mut seed) = (0_u64, 0_u64, 0_u64);
    let clock = Clock::start();
    while seed % 64 != 0 || clock.seconds() < MEASURED_SECONDS {
        seed += 1;
        episode.reset(seed);
        while episode.end().is_none() {
            episode.step(choose(episode.observation().parallelism));
        }
        let outcome = episode.outcome();
        steps += u64::from(outcome.steps);
        tasks += outcome.submitted;
    }
    let seconds = clock.seconds();
    println!(
        "{name:30} {:9.0} steps/s {:9.1} million tasks/s",
        steps as f64 / seconds,
        tasks as f64 / seconds / 1e6
    );
}

fn main() {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let paper = Scenario::paper();
    measure("paper, constant 15", &paper, |_| 15);
    measure("paper, random -1, 0 or +1", &paper, |workers| {
        (workers + random.random_range(0..3)).saturating_sub(1)
    });
    if let Some(fast) = Scenario::named("paper-fast") {
        measure("paper-fast, constant 15", &fast, |_| 15);
    }
}
