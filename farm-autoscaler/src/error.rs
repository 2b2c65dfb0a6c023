//! What can keep the autoscaler from running.

use std::fmt;

pub(crate) use farm_nats::chain;

/// Why [`run`](crate::run) returned, in one line that says what to do.
///
/// `Debug` prints the same line as `Display`, because that is what Rust prints when `main`
/// returns an error. What goes wrong once it runs is never an `Error`: it holds, says so and
/// recovers.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Environment variables or secrets that cannot be used; all of them at once.
    #[error("configuration: {}", .0.join("; "))]
    Configuration(Vec<String>),
    /// A port is taken.
    #[error("cannot listen on port {port} ({key}): {cause}")]
    Listen {
        /// The port.
        port: u16,
        /// The variable that sets it.
        key: &'static str,
        /// What the system said.
        cause: String,
    },
    /// The runtime could not be started.
    #[error("cannot start: {0}")]
    Runtime(String),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
