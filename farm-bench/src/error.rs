//! Why a benchmark could not be run, or counted wrong.

use std::error::Error as StdError;
use std::io;

use farm_local::NatsError;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no NATS server to start.
    #[error(transparent)]
    Server(#[from] NatsError),
    /// A file, a port or a process of the benchmark.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// NATS did not do what was asked.
    #[error("NATS: cannot {action}: {cause}")]
    Broker {
        /// What was tried.
        action: String,
        /// Why it failed.
        cause: String,
    },
    /// A function did not do what was asked.
    #[error("the function under test: cannot {action}: {cause}")]
    Function {
        /// What was tried.
        action: String,
        /// Why it failed.
        cause: String,
    },
    /// A process ended that had to run on.
    #[error("{name} ended early ({status}){last_words}")]
    Ended {
        /// Which one.
        name: String,
        /// How.
        status: String,
        /// The end of what it printed.
        last_words: String,
    },
    /// Something took far longer than it can.
    #[error("{what} took more than {seconds} s: try fewer tasks or workers")]
    Late {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// Tasks were lost, or came twice: a figure of such a run means nothing.
    #[error("the account of {what} does not add up: {found}, expected {expected}")]
    Account {
        /// Which run.
        what: String,
        /// What was counted.
        found: String,
        /// What should have been.
        expected: String,
    },
    /// Nothing is left to measure.
    #[error("no combination has {only} in its name: see the names that a run prints")]
    Nothing {
        /// What was looked for.
        only: String,
    },
    /// The machine does not tell what is measured.
    #[error("cannot read {what}: the benchmark needs Linux's /proc")]
    Proc {
        /// Which file.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn broker<E: StdError>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Broker {
            action,
            cause: chain(&error),
        }
    }

    pub(crate) fn function<E: StdError>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Function {
            action,
            cause: chain(&error),
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
