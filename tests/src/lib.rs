//! The harness: real NATS servers and real function processes, one set per test.
//!
//! Everything a test starts has its own ports and folders, is awaited rather than slept for, and
//! is killed when the test drops it. A failing test prints the end of every log it kept.

mod body;
mod broker;
mod build;
pub mod chaos;
mod client;
mod eventually;
mod farm_up;
mod function;
mod memory;
mod metrics;
pub mod nats_access;
mod nats_cluster;
mod nats_server;
mod port;
mod process;
mod proxy;
mod receiver;
mod restarted;
mod scaled_farm;
mod skew;

pub use body::streamed;
pub use broker::{Counts, FarmOnNats};
pub use build::{binary, repository};
pub use client::{Client, Lines, http_client};
pub use eventually::{POLL, eventually, holds_for, within};
pub use farm_up::{FarmUp, Workplace, run, runs as process_runs};
pub use function::{Function, Replica};
pub use memory::{peak_resident_bytes, resident_bytes};
pub use metrics::Metrics;
pub use nats_cluster::NatsCluster;
pub use nats_server::{Access, NatsOptions, NatsServer};
pub use port::free_port;
pub use process::{Process, Signal};
pub use proxy::{Link, Proxy};
pub use receiver::{Received, Receiver};
pub use restarted::Restarted;
pub use scaled_farm::{Decisions, Effort, ScaledFarm, Scaling, held};
pub use skew::{Clock, Skew};
