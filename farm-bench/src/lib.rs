//! What a farm costs, measured beside a hand-tuned NATS loop in the same run.
//!
//! Every run has a NATS server of its own and real processes: the program starts itself again as
//! emitter, workers and collector, either of a farm made with the SDK or of the raw loop ([`Part`]).
//! The two sides take turns, so that whatever else the machine does meets both.
//!
//! The raw loop is the limit, not a rival: see [`raw`] for what it leaves out.

mod bench;
mod child;
mod error;
mod function;
mod machine;
mod part;
pub mod raw;
mod report;
mod run;
mod scenario;
mod server;
mod statistics;
mod task;
mod usage;

pub use bench::{Bench, Settings};
pub use error::Error;
pub use machine::Machine;
pub use part::Part;
pub use report::{Curve, Document, Figure, Findings, Report, Table};
pub use scenario::Scenario;
