//! The words that cross a process in rust-farm.
//!
//! A type lives here only if two processes, or two crates that may not know each other,
//! exchange it: [names](FarmName), the NATS [topology], the [envelope] around a task and its
//! result, the [codec](Codec) of their bodies, the [chunks](chunk) that carry many tasks at once, the [HTTP bodies](http) of a farm function, what [workers report](telemetry) and are
//! [told](control), what the autoscaler [decided](decision), and the [OpenFaaS gateway](gateway) API; and, of all these subjects, what each
//! part [may use](permissions).
//!
//! No async, no I/O and no clock: time is always an argument.

pub mod chunk;
mod codec;
pub mod control;
pub mod decision;
pub mod envelope;
pub mod gateway;
pub mod http;
pub mod job;
mod name;
pub mod permissions;
pub mod quantity;
mod role;
pub mod telemetry;
pub mod topology;

#[cfg(test)]
mod fuzz;

pub use codec::Codec;
pub use name::{FarmName, InvalidName, JobId, TaskId, TaskKey};
pub use role::{InvalidRole, Role, Roles};
