//! The policies on small simulated farms, and the invariants of the guard.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the message")]

mod constant_load;
mod invariants;
mod paper_workload;
mod random;
mod simulation;
