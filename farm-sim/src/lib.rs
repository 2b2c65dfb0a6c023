//! A farm on a FaaS platform, simulated: tasks arrive, wait first in first out, are computed by
//! workers that take time to start and to leave, and are collected; a policy is asked at every
//! control interval.
//!
//! * [`workload`]: which tasks arrive when, and how long they take;
//! * [`platform`]: how long it takes until a decision has an effect;
//! * [`farm`]: the queue and its workers, event by event;
//! * [`scenario`]: workload, platform and control loop together, with names;
//! * [`episode`]: one run of a scenario, step by step;
//! * [`environment`]: the same as learners see it;
//! * [`evaluation`]: policies against each other, over many seeds.
//!
//! A run is a function of its scenario and its seed: times are whole nanoseconds, every cause of
//! chance (arrivals, service, start-up, ...) draws from its own stream, and nothing depends on
//! threads or on the machine. Two policies on one seed therefore meet the same tasks.
//!
//! The model, its units and how it was validated: `docs/simulator.md` of the repository.

pub mod environment;
pub mod episode;
pub mod evaluation;
pub mod farm;
pub mod platform;
pub mod random;
pub mod scenario;
pub mod workload;

/// Nanoseconds of a simulated clock.
pub type Nanoseconds = u64;

/// Whole nanoseconds of a time in seconds; negative times become 0.
pub fn nanoseconds(seconds: f64) -> Nanoseconds {
    // `as` saturates and cuts off: with the half it rounds, several times as fast as `round`.
    (seconds * 1e9 + 0.5) as Nanoseconds
}

/// A time in seconds.
pub fn seconds(nanoseconds: Nanoseconds) -> f64 {
    nanoseconds as f64 / 1e9
}
