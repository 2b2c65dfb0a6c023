//! Open-loop load: what arrives when, sending it on time, and the account of what became of it.

pub mod arrivals;
pub mod collect;
pub mod paper;
pub mod report;
pub mod sender;
pub mod service;

use std::time::Duration;

/// One task to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedTask {
    /// When it is to be sent, from the start of the load.
    pub at: Duration,
    /// How long its worker is to take.
    pub service: Duration,
    /// Sojourn time allowed to it.
    pub deadline: Option<Duration>,
}

/// A stream of tasks in the order of their times.
pub type Plan = Box<dyn Iterator<Item = PlannedTask> + Send>;

/// Random numbers for one cause: changing one cause leaves the draws of the others alone.
fn random_for(seed: u64, cause: u64) -> rand_pcg::Pcg64Mcg {
    // An odd multiplier spreads neighbouring causes over the whole range of seeds.
    let spread = cause.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    rand::SeedableRng::seed_from_u64(seed ^ spread)
}

/// Randomness of the times at which tasks arrive.
fn arrival_random(seed: u64) -> rand_pcg::Pcg64Mcg {
    random_for(seed, 1)
}

/// Randomness of how long tasks take.
fn service_random(seed: u64) -> rand_pcg::Pcg64Mcg {
    random_for(seed, 2)
}
