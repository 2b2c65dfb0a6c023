//! The simulator against queueing theory, against a second implementation, and against itself.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the message")]

mod arbitrary;
mod closed_forms;
mod determinism;
mod invariants;
mod platforms;
mod polling;
mod second_implementation;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// So many cases, the same at every run.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(2602),
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}
