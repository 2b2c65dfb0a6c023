//! Trained policies: their files, what is refused, and how they decide.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the message")]

mod damage;
mod deciding;
mod files;
mod networks;
mod refusals;
mod tables;
