//! How a task ended, in one line.

use std::fmt;

use super::{Outcome, parse_seconds};

/// What ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// One task.
    Task(Outcome),
    /// The tasks of a [`chunk`](crate::chunk).
    Chunk {
        /// How many are done in it.
        done: u32,
        /// Of how many the outcome is another message.
        apart: u32,
    },
}

/// The header [`OUTCOME`](super::OUTCOME): a word, then `key=value` for everything that is not as
/// usual. Keys that nobody knows are passed over.
///
/// ```
/// use farm_core::envelope::{Ending, Outcome, OutcomeLine};
/// let line = "done worker=shrink-7 submitted=1795285118.418000 service=0.250000";
/// let outcome = OutcomeLine::parse(line).unwrap();
/// assert_eq!(outcome.ending, Ending::Task(Outcome::Done));
/// assert_eq!((outcome.worker, outcome.attempt), ("shrink-7", 1));
/// assert_eq!(outcome.to_string(), line);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutcomeLine<'a> {
    /// What ended, and how.
    pub ending: Ending,
    /// `worker`: the replica that computed it.
    pub worker: &'a str,
    /// `submitted`: when the task was submitted, in seconds since the Unix epoch. Default: when the
    /// outcome was stored.
    pub submitted_seconds: Option<f64>,
    /// `service`: time the worker function took, in seconds. A chunk has it for each of its tasks.
    pub service_seconds: Option<f64>,
    /// `deadline`: the sojourn time that was allowed, in seconds.
    pub deadline_seconds: Option<f64>,
    /// `attempt`: deliveries of the task so far, this one included. Default: 1.
    pub attempt: u64,
    /// `replay`: how often the task had come back from the dead letters. Default: 0.
    pub replay: u64,
}

impl<'a> OutcomeLine<'a> {
    /// The outcome of a task or chunk that was computed by `worker` at the first attempt.
    pub fn new(ending: Ending, worker: &'a str) -> Self {
        Self {
            ending,
            worker,
            submitted_seconds: None,
            service_seconds: None,
            deadline_seconds: None,
            attempt: 1,
            replay: 0,
        }
    }

    /// Reads the header; `None` if it does not begin with how something ended.
    pub fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (mut done, mut apart) = (0, 0);
        let outcome = match words.next()? {
            "chunk" => None,
            word => Some(Outcome::parse(word)?),
        };
        let mut read = Self::new(Ending::Chunk { done, apart }, "");
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "worker" => read.worker = value,
                "submitted" => read.submitted_seconds = parse_seconds(value),
                "service" => read.service_seconds = parse_seconds(value),
                "deadline" => read.deadline_seconds = parse_seconds(value),
                "attempt" => read.attempt = value.parse().unwrap_or(1),
                "replay" => read.replay = value.parse().unwrap_or(0),
                "done" => done = value.parse().ok()?,
                "apart" => apart = value.parse().ok()?,
                _ => {}
            }
        }
        read.ending = match outcome {
            Some(outcome) => Ending::Task(outcome),
            None => Ending::Chunk { done, apart },
        };
        Some(read)
    }

    /// Whether it says that one task failed.
    pub fn is_failure(&self) -> bool {
        self.ending == Ending::Task(Outcome::Failed)
    }
}

impl fmt::Display for OutcomeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ending {
            Ending::Task(outcome) => f.write_str(outcome.as_str())?,
            Ending::Chunk { done, apart } => write!(f, "chunk done={done} apart={apart}")?,
        }
        f.write_str(" worker=")?;
        for part in self.worker.split_ascii_whitespace() {
            f.write_str(part)?;
        }
        for (key, seconds) in [
            ("submitted", self.submitted_seconds),
            ("service", self.service_seconds),
            ("deadline", self.deadline_seconds),
        ] {
            if let Some(seconds) = seconds {
                write!(f, " {key}={seconds:.6}")?;
            }
        }
        if self.attempt != 1 {
            write!(f, " attempt={}", self.attempt)?;
        }
        if self.replay != 0 {
            write!(f, " replay={}", self.replay)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ending() -> impl Strategy<Value = Ending> {
        prop_oneof![
            Just(Ending::Task(Outcome::Done)),
            Just(Ending::Task(Outcome::Failed)),
            (any::<u32>(), any::<u32>()).prop_map(|(done, apart)| Ending::Chunk { done, apart }),
        ]
    }

    #[test]
    fn what_is_no_outcome_is_none_and_strange_keys_are_passed_over() {
        for line in [
            "",
            "perhaps worker=w",
            "chunk done=many apart=0",
            "worker=w",
        ] {
            assert_eq!(OutcomeLine::parse(line), None, "{line:?}");
        }
        let line = OutcomeLine::parse("failed colour=red worker=w= attempt=x").unwrap();
        assert_eq!(
            (line.worker, line.attempt, line.is_failure()),
            ("w=", 1, true)
        );
    }

    #[test]
    fn a_name_with_spaces_stays_one_word() {
        let line = OutcomeLine::new(Ending::Task(Outcome::Done), "my worker").to_string();
        assert_eq!(line, "done worker=myworker");
    }

    proptest! {
        #[test]
        fn an_outcome_survives_the_wire(
            ending in ending(),
            worker in "[!-~]{0,20}",
            seconds in proptest::option::of(0u32..2_000_000_000),
            attempt in any::<u64>(),
            replay in any::<u64>(),
        ) {
            let seconds = seconds.map(f64::from);
            let outcome = OutcomeLine {
                submitted_seconds: seconds,
                service_seconds: seconds.map(|s| s / 4.0),
                deadline_seconds: seconds.map(|s| s / 8.0),
                attempt,
                replay,
                ..OutcomeLine::new(ending, &worker)
            };
            let line = outcome.to_string();
            prop_assert_eq!(OutcomeLine::parse(&line), Some(outcome));
        }
    }
}
