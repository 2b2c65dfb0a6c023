//! How a command fails: the line a person reads and the exit code a script sees.

use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Exit codes, for `farm --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failed: one line on stderr says why and what to do
  2  usage: the command line is wrong
  3  the job ended, but some tasks failed, were cancelled or were lost
  4  the gateway or the function cannot be reached, or does not exist
  5  refused: bad input, too large, or the farm was full for too long";

/// The exit code of a job that ended without a result for each of its tasks.
pub const INCOMPLETE: u8 = 3;

/// Why a command ended without success; one variant per exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Exit code 2: what clap cannot see is wrong with the command line.
    #[error("{0}")]
    Usage(String),
    /// Exit code 4.
    #[error("{0}")]
    Unreachable(String),
    /// Exit code 5.
    #[error("{0}")]
    Refused(String),
    /// Whoever read standard output has read enough, as `head` does: no failure for the shell.
    #[error("standard output was closed")]
    OutputClosed,
    /// A failure of another part of `farm`, exit code 1.
    #[error(transparent)]
    Other(#[from] Box<dyn Error>),
}

impl Failure {
    /// What the shell sees.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::OutputClosed => 0,
            Failure::Failed(_) | Failure::Other(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 4,
            Failure::Refused(_) => 5,
        })
    }

    /// A write to standard output went wrong.
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// The cause at the bottom of a chain of errors: usually the one a person can act on.
pub fn root_cause(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
