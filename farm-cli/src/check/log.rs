//! What a function writes: how long its lines are, and the last of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Where of-watchdog, by default, stops reading its child: its `log_buffer_size`.
pub const LIMIT_BYTES: usize = 64 * 1024;
/// As much of a line as is kept.
const KEPT_BYTES: usize = 1024;
/// Lines that are kept of one run.
const KEPT_LINES: usize = 200;

/// The longest line so far.
#[derive(Debug, Clone, Default)]
pub struct Longest {
    /// Its length, with its end.
    pub bytes: usize,
    /// Its first characters.
    pub start: String,
}

/// The output of every run of a function.
#[derive(Debug, Default)]
pub struct Log(Mutex<Longest>);

impl Log {
    /// The longest line of all runs.
    pub fn longest(&self) -> Longest {
        lock(&self.0).clone()
    }

    fn saw(&self, line: &Line) {
        let mut longest = lock(&self.0);
        if line.bytes > longest.bytes {
            *longest = Longest {
                bytes: line.bytes,
                start: line.text().chars().take(60).collect(),
            };
        }
    }
}

/// The last lines of one run.
#[derive(Debug, Default)]
pub struct Lines(Mutex<VecDeque<String>>);

impl Lines {
    /// Those of them that are not empty.
    pub fn all(&self) -> Vec<String> {
        lock(&self.0).iter().cloned().collect()
    }

    /// For the reason of a failure: what it said last.
    pub fn last_words(&self) -> String {
        match lock(&self.0).back() {
            Some(line) => format!("it said last: {}", brief(line)),
            None => "it said nothing".to_owned(),
        }
    }

    /// Reads `output` to its end.
    pub async fn read(&self, log: &Log, mut output: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        let mut line = Line::default();
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                line.push(part);
                log.saw(&line);
                if part.ends_with(b"\n") {
                    self.keep(std::mem::take(&mut line));
                }
            }
        }
        self.keep(line);
    }

    fn keep(&self, line: Line) {
        let text = line.text();
        if text.trim().is_empty() {
            return;
        }
        let mut lines = lock(&self.0);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text.trim_end().to_owned());
    }
}

/// A line that may be too long to keep.
#[derive(Default)]
struct Line {
    bytes: usize,
    start: Vec<u8>,
}

impl Line {
    fn push(&mut self, part: &[u8]) {
        self.bytes += part.len();
        let room = KEPT_BYTES.saturating_sub(self.start.len()).min(part.len());
        self.start.extend_from_slice(&part[..room]);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.start).into_owned()
    }
}

/// As much of a line as a table bears.
pub fn brief(line: &str) -> String {
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_measured_whole_and_kept_in_part() {
        let (log, lines) = (Log::default(), Lines::default());
        let mut output = vec![b'x'; 100_000];
        output.extend(b"\n\nshort");
        lines.read(&log, &output[..]).await;
        let longest = log.longest();
        assert_eq!((longest.bytes, longest.start.len()), (100_001, 60));
        let kept: Vec<_> = lines.all().iter().map(String::len).collect();
        assert_eq!(kept, [KEPT_BYTES, 5]);
        assert!(lines.last_words().ends_with("short"));
    }
}
