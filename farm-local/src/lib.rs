//! An OpenFaaS-compatible platform on one machine.
//!
//! It builds the functions of a stack file from the very context that `faas-cli` would send to
//! Docker, runs their replicas as processes against a NATS server, and serves the gateway API of
//! OpenFaaS, so that `faas-cli` and anything else that speaks to a gateway works unchanged.
//!
//! It prints nothing: what happens is told through [`Event`]s.
//!
//! ```no_run
//! use farm_local::{Options, Platform, Stack};
//!
//! # async fn run() -> Result<(), farm_local::PlatformError> {
//! let stack = Stack::load("stack.yml".as_ref())?;
//! let platform = Platform::start(Options::new(stack)).await?;
//! println!("gateway at {}", platform.gateway_url());
//! platform.stop().await;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod build;
mod context;
mod event;
mod function;
mod gateway;
mod lines;
mod logs;
mod nats;
mod platform;
mod port;
mod process;
mod program;
mod provider;
mod replica;
mod run_folder;
mod secrets;
mod stack;
mod substitution;
mod template;

#[cfg(test)]
mod fuzz;

pub use build::{BuildError, CrateBuild};
pub use context::{BuildContext, ContextError};
pub use event::Event;
pub use nats::{NatsError, NatsOptions, NatsServer, find_nats_server};
pub use platform::{Options, Platform, PlatformError};
pub use port::free as free_ports;
pub use process::{Process, Spawner, ending};
pub use program::{Program, ReadyMade};
pub use stack::{Disagreement, Problem, Stack, StackError, StackFunction};
pub use substitution::{SubstitutionError, substitute};
pub use template::{IgnoredTargets, Template};
