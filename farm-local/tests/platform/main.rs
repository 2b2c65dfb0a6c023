//! The platform with real processes: a cargo build, a nats-server, replicas, and `faas-cli`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ce;
mod context;
mod contract;
mod deploy;
mod faas_cli;
mod gateway;
mod harness;
mod lifecycle;
mod nats;
mod ready_made;
mod zero;
