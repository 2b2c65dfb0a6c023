//! The simulator against the published runs of arXiv 2602.06555.
//!
//! `cargo test -p farm-sim --test paper -- --nocapture` prints the tables.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the message")]

mod closed_loop;
mod generator;
mod published;
mod replay;
