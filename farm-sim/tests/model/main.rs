//! The simulator against queueing theory, against a second implementation, and against itself.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the message")]

mod arbitrary;
mod closed_forms;
mod determinism;
mod invariants;
mod polling;
mod second_implementation;
