//! The harness: real NATS servers and real function processes, one set per test.
//!
//! Everything a test starts has its own ports and folders, is awaited rather than slept for, and
//! is killed when the test drops it. A failing test prints the end of every log it kept.

mod body;
mod broker;
mod build;
mod client;
mod eventually;
mod farm_up;
mod function;
mod metrics;
mod nats_server;
mod port;
mod process;
mod receiver;
mod scaled_farm;

pub use body::streamed;
pub use broker::{Counts, FarmOnNats};
pub use build::{binary, repository};
pub use client::{Client, Lines, http_client};
pub use eventually::{POLL, eventually, holds_for, within};
pub use farm_up::{FarmUp, Workplace, run, runs as process_runs};
pub use function::{Function, Replica};
pub use metrics::Metrics;
pub use nats_server::{Access, NatsOptions, NatsServer};
pub use port::free_port;
pub use process::{Process, Signal};
pub use receiver::{Received, Receiver};
pub use scaled_farm::{Decisions, Effort, ScaledFarm, Scaling, held};
