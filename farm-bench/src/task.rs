//! The work of the benchmark: tasks of a chosen size that compute for a chosen time.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// JSON of a task where its size is not what is measured, in bytes.
pub(crate) const PLAIN_BYTES: usize = 128;
const WARM_UP_SECONDS: f64 = 2.0;

/// One task, as JSON `[intended_nanoseconds, spin_rounds, padding]`.
///
/// The first number is when the task was meant to be submitted, in nanoseconds since the Unix epoch;
/// 0 if that is of no interest. The result is that number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task(pub u64, pub u64, pub String);

impl Task {
    /// A task whose JSON has `size_bytes`, if that is enough for its numbers.
    pub fn of_size(intended_nanoseconds: u64, spin_rounds: u64, size_bytes: usize) -> Self {
        let numbers = format!("[{intended_nanoseconds},{spin_rounds},\"\"]");
        let padding = "x".repeat(size_bytes.saturating_sub(numbers.len()));
        Self(intended_nanoseconds, spin_rounds, padding)
    }

    /// The first number of a task in JSON, as text.
    pub fn intended_text(json: &[u8]) -> &[u8] {
        let numbers = json.strip_prefix(b"[").unwrap_or(json);
        let end = numbers.iter().position(|byte| *byte == b',');
        numbers.get(..end.unwrap_or(0)).unwrap_or_default()
    }
}

/// A job: how many tasks, how large, how long, how fast.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Work {
    /// Number of tasks.
    pub tasks: u64,
    /// JSON of one task, in bytes.
    pub task_bytes: usize,
    /// What a task computes: see [`spin`].
    pub spin_rounds: u64,
    /// Tasks a second that are submitted; as fast as can be if absent.
    pub rate_per_second: Option<f64>,
}

impl Work {
    /// Tasks of the usual size that compute nothing, as fast as can be.
    pub fn plain(tasks: u64) -> Self {
        Self {
            tasks,
            task_bytes: PLAIN_BYTES,
            spin_rounds: 0,
            rate_per_second: None,
        }
    }

    /// Tasks at the beginning of a run at a fixed rate whose latency does not count: parts warm up,
    /// and a farm holds the first tasks of a job for up to a second, to refuse it whole.
    pub fn warm_up_tasks(&self) -> u64 {
        let tasks = self.rate_per_second.unwrap_or(0.0) * WARM_UP_SECONDS;
        tasks as u64
    }

    /// The tasks, each at its time: `next` waits for the time of the next one.
    ///
    /// Times are a fixed grid from now on. Whatever delays one task does not delay those after it:
    /// their latency counts from when they should have been submitted.
    pub fn tasks(self) -> impl Iterator<Item = Task> + Send {
        let (begun, epoch) = (Instant::now(), epoch_nanoseconds());
        (0..self.tasks).map(move |index| {
            let intended = self.rate_per_second.map_or(0, |rate| {
                let offset = Duration::from_secs_f64(index as f64 / rate);
                std::thread::sleep(offset.saturating_sub(begun.elapsed()));
                epoch + offset.as_nanos() as u64
            });
            Task::of_size(intended, self.spin_rounds, self.task_bytes)
        })
    }
}

/// Nanoseconds since the Unix epoch: the one clock that all processes of a machine share.
pub(crate) fn epoch_nanoseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |elapsed| elapsed.as_nanos() as u64)
}

/// Computes for `rounds` rounds: the same work however often the thread is interrupted, which a
/// loop that watches the clock would not be.
pub(crate) fn spin(rounds: u64) -> u64 {
    let mut value = rounds;
    for round in 0..rounds {
        // A chain of multiplications: no round can begin before the one before it has ended.
        value = black_box(value.wrapping_mul(6_364_136_223_846_793_005) ^ round);
    }
    value
}

/// Rounds of [`spin`] that take a microsecond on this machine, when nothing interrupts them.
pub(crate) fn spin_rounds_per_microsecond() -> f64 {
    const ROUNDS: u64 = 100_000;
    let fastest = (0..50)
        .map(|_| {
            let begun = Instant::now();
            black_box(spin(black_box(ROUNDS)));
            begun.elapsed()
        })
        .min()
        .unwrap_or(Duration::from_micros(1));
    ROUNDS as f64 / (fastest.as_secs_f64() * 1e6).max(1e-3)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_the_size_asked_for() {
        for size_bytes in [64, 128, 16_384] {
            let json = serde_json::to_vec(&Task::of_size(1_700_000_000, 12, size_bytes)).unwrap();
            assert_eq!(json.len(), size_bytes);
            assert_eq!(Task::intended_text(&json), b"1700000000");
        }
        assert_eq!(Task::intended_text(b"17"), b"");
    }

    #[test]
    fn intended_times_are_a_grid() {
        let work = Work {
            tasks: 5,
            task_bytes: 64,
            spin_rounds: 0,
            rate_per_second: Some(10_000.0),
        };
        let times: Vec<u64> = work.tasks().map(|task| task.0).collect();
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [100_000; 4]);
        assert!(epoch_nanoseconds() >= times[4]);
    }
}
