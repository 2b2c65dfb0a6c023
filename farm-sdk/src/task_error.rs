//! How a worker says that a task failed, and whether trying again can help.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub(crate) use farm_nats::chain;

/// Any error, as [`crate::Farm::run`]'s `init` may return it.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// Why a worker could not compute a task.
///
/// Every standard error becomes [`TaskError::Transient`] by `?`: a network blip must not lose a
/// task. Say [`permanent`](ResultExt::permanent) where trying again cannot help.
///
/// ```
/// use farm_sdk::{ResultExt, TaskError};
///
/// fn parse(text: &str) -> Result<u32, TaskError> {
///     let number: u32 = text.parse().permanent()?; // bad input stays bad
///     let limit = std::fs::read_to_string("/proc/sys/kernel/pid_max")?; // may work next time
///     let limit: u32 = limit.trim().parse().transient()?;
///     if number > limit {
///         return Err(TaskError::permanent(format!("{number} is above {limit}")));
///     }
///     Ok(number)
/// }
/// assert!(matches!(parse("x"), Err(TaskError::Permanent { .. })));
/// ```
#[non_exhaustive]
pub enum TaskError {
    /// Trying again may help: the task is redelivered until its attempts are used up.
    Transient {
        /// What went wrong.
        cause: BoxError,
        /// How long to wait before the next attempt; a jittered backoff if `None`.
        retry_after: Option<Duration>,
    },
    /// Trying again cannot help: the task goes to the dead letters at once.
    Permanent {
        /// What went wrong.
        cause: BoxError,
    },
}

impl TaskError {
    /// A failure that may pass.
    pub fn transient(cause: impl Into<BoxError>) -> Self {
        TaskError::Transient {
            cause: cause.into(),
            retry_after: None,
        }
    }

    /// A failure that may pass, and when to try again.
    pub fn retry_after(delay: Duration, cause: impl Into<BoxError>) -> Self {
        TaskError::Transient {
            cause: cause.into(),
            retry_after: Some(delay),
        }
    }

    /// A failure that will not pass.
    pub fn permanent(cause: impl Into<BoxError>) -> Self {
        TaskError::Permanent {
            cause: cause.into(),
        }
    }

    fn cause(&self) -> &BoxError {
        match self {
            TaskError::Transient { cause, .. } | TaskError::Permanent { cause } => cause,
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self.cause().as_ref()))
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            TaskError::Transient { .. } => "transient",
            TaskError::Permanent { .. } => "permanent",
        };
        write!(f, "{kind}: {self}")
    }
}

// `TaskError` is deliberately no `std::error::Error`: only so can `?` take every error.
impl<E: StdError + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        TaskError::transient(error)
    }
}

/// Says of any error whether trying again can help.
///
/// Works on whatever turns into a [`BoxError`], `anyhow::Error` and `&str` included.
pub trait ResultExt<T> {
    /// The error will not pass: dead letter, no retry.
    ///
    /// # Errors
    /// The error of `self`, as [`TaskError::Permanent`].
    fn permanent(self) -> Result<T, TaskError>;

    /// The error may pass: retry with backoff.
    ///
    /// # Errors
    /// The error of `self`, as [`TaskError::Transient`].
    fn transient(self) -> Result<T, TaskError>;
}

impl<T, E: Into<BoxError>> ResultExt<T> for Result<T, E> {
    fn permanent(self) -> Result<T, TaskError> {
        self.map_err(TaskError::permanent)
    }

    fn transient(self) -> Result<T, TaskError> {
        self.map_err(TaskError::transient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn the_message_holds_every_cause_once() {
        let error = Outer("x".parse::<u8>().unwrap_err());
        assert_eq!(
            TaskError::permanent(error).to_string(),
            "outer: invalid digit found in string"
        );
    }

    #[test]
    fn a_question_mark_means_try_again() {
        fn read() -> Result<(), TaskError> {
            std::fs::read("/nowhere/at/all")?;
            Ok(())
        }
        assert!(matches!(
            read(),
            Err(TaskError::Transient {
                retry_after: None,
                ..
            })
        ));
    }
}
