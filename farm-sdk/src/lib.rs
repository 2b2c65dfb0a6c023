#![doc = include_str!("../README.md")]

mod attempt;
mod clock;
mod codec;
mod collector;
mod config;
mod context;
mod emitter;
mod error;
mod farm;
mod granularity;
mod http;
mod memory;
mod metrics;
mod runtime;
mod task_error;
mod trace;
mod verdict;
mod worker;

#[cfg(test)]
mod fuzz;

pub use bytes::Bytes;
pub use codec::Raw;
pub use collector::{Collector, Each, Fold};
pub use context::TaskContext;
pub use emitter::{Direct, Emitter, Split};
pub use error::Error;
pub use farm::{Farm, no_state};
pub use farm_core::{JobId, TaskId, TaskKey};
pub use memory::{DeadTask, Faults, InMemory};
pub use task_error::{BoxError, ResultExt, TaskError};
pub use worker::{AsyncFn, Blocking, IntoWorker, Worker, blocking};
