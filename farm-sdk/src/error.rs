//! What can keep a farm function from running.

use std::fmt;

use crate::task_error::{BoxError, chain};

/// Why [`Farm::run`](crate::Farm::run) returned, in one line that says what to do.
///
/// `Debug` prints the same line as `Display`, because that is what Rust prints when `main`
/// returns an error.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Environment variables that cannot be used; all of them at once.
    #[error("configuration: {}", .0.join("; "))]
    Configuration(Vec<String>),
    /// No NATS server answered in time.
    #[error(
        "farm {farm}: no NATS server at {url} within {waited}: {cause}; start one, or set FARM_NATS_URL"
    )]
    Unreachable {
        /// The farm.
        farm: String,
        /// Where a server was looked for.
        url: String,
        /// How long.
        waited: String,
        /// What the last attempt said.
        cause: String,
    },
    /// The NATS server refused the credentials.
    #[error(
        "farm {farm}: NATS at {url} refused the credentials: {cause}; check the secrets {secrets}"
    )]
    Unauthorised {
        /// The farm.
        farm: String,
        /// The server.
        url: String,
        /// What it said.
        cause: String,
        /// Where credentials are read from.
        secrets: String,
    },
    /// The NATS server's certificate is not trusted.
    #[error(
        "farm {farm}: the certificate of NATS at {url} cannot be trusted: {cause}; put the authority that signed it into the secret {secret}"
    )]
    Untrusted {
        /// The farm.
        farm: String,
        /// The server.
        url: String,
        /// What is wrong with it.
        cause: String,
        /// Where trusted authorities are read from.
        secret: String,
    },
    /// The credentials are valid, but may not do what the roles need.
    #[error(
        "farm {farm}: NATS does not let these credentials {denied}: they need the permissions of {roles}; see `farm permissions --farm {farm} --role {roles}`"
    )]
    Denied {
        /// The farm.
        farm: String,
        /// What was denied: to publish or to subscribe, and on which subject.
        denied: String,
        /// The roles of this function.
        roles: String,
    },
    /// A part of the farm does not exist, and these credentials may not make it.
    #[error(
        "farm {farm}: {what} does not exist, and NATS does not let these credentials {denied}: run this image once with FARM_ROLE=setup and the permissions of `farm permissions --farm {farm} --role setup`"
    )]
    NotSetUp {
        /// The farm.
        farm: String,
        /// The stream, bucket or consumer.
        what: String,
        /// What was denied.
        denied: String,
    },
    /// The NATS server is too old.
    #[error(
        "farm {farm}: NATS at {url} is version {found}; rust-farm needs {needs} or later{why}: upgrade the server"
    )]
    TooOld {
        /// The farm.
        farm: String,
        /// The server.
        url: String,
        /// The version it reports.
        found: String,
        /// The oldest version that will do.
        needs: &'static str,
        /// What for, if not for everything; begins with a space.
        why: &'static str,
    },
    /// The NATS server has no JetStream, or this account may not use it.
    #[error(
        "farm {farm}: NATS at {url} has no JetStream for this account: {cause}; start nats-server with -js, or enable JetStream for the account"
    )]
    NoJetStream {
        /// The farm.
        farm: String,
        /// The server.
        url: String,
        /// What it said.
        cause: String,
    },
    /// A stream or consumer exists with settings that cannot be changed.
    #[error(
        "farm {farm}: {what} exists with {field} {found}, this function wants {wanted}; give the functions of one farm the same settings, or delete it"
    )]
    Conflict {
        /// The farm.
        farm: String,
        /// The stream, bucket or consumer.
        what: String,
        /// The setting.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// NATS refused to set up or serve the farm's streams.
    #[error("farm {farm}: NATS could not {action}: {cause}")]
    Broker {
        /// The farm.
        farm: String,
        /// What was tried.
        action: String,
        /// What it said.
        cause: String,
    },
    /// A port is taken.
    #[error("farm {farm}: cannot listen on port {port} ({key}): {cause}")]
    Listen {
        /// The farm.
        farm: String,
        /// The port.
        port: u16,
        /// The variable that sets it.
        key: &'static str,
        /// What the system said.
        cause: String,
    },
    /// The worker's `init` failed.
    #[error("farm {farm}: the worker's init failed: {}", chain(.cause.as_ref()))]
    Init {
        /// The farm.
        farm: String,
        /// What it returned.
        cause: BoxError,
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
