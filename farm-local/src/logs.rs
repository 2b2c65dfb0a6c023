//! The last lines of a function, and those still to come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use farm_core::gateway::{LogLine, NAMESPACE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast;

use crate::event::{Event, Reporter};

/// Most lines kept for one function.
const MAX_LINES: usize = 5_000;
/// Most text kept for one function, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// Lines a follower may be behind before it misses some.
const FOLLOWER_LINES: usize = 1_024;

/// Which lines of a function are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogQuery {
    /// Only this replica.
    pub(crate) instance: Option<String>,
    /// Only lines since then.
    pub(crate) since: Option<OffsetDateTime>,
    /// Only this many of them, the last ones.
    pub(crate) tail: Option<usize>,
}

/// A line and when it was read.
#[derive(Debug)]
pub(crate) struct Record {
    at: OffsetDateTime,
    pub(crate) line: LogLine,
}

impl LogQuery {
    pub(crate) fn accepts(&self, record: &Record) -> bool {
        self.instance
            .as_ref()
            .is_none_or(|instance| *instance == record.line.instance)
            && self.since.is_none_or(|since| record.at >= since)
    }
}

/// The log of one function: bounded, shared by all its replicas.
#[derive(Debug)]
pub(crate) struct LogBook {
    function: String,
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Record>>,
    reporter: Reporter,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
}

impl LogBook {
    pub(crate) fn new(function: &str, reporter: Reporter) -> Self {
        Self {
            function: function.to_owned(),
            kept: Mutex::default(),
            live: broadcast::Sender::new(FOLLOWER_LINES),
            reporter,
        }
    }

    /// Adds a line of `instance`.
    pub(crate) fn push(&self, instance: &str, text: String) {
        let at = OffsetDateTime::now_utc();
        let line = LogLine {
            name: self.function.clone(),
            namespace: NAMESPACE.to_owned(),
            instance: instance.to_owned(),
            timestamp: rfc3339(at),
            text,
        };
        self.reporter.report(Event::Log(line.clone()));
        let record = Arc::new(Record { at, line });
        // Sent under the lock, so that a follower sees each line exactly once.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(record.clone());
        let _ = self.live.send(record);
    }

    /// The lines kept that `query` asks for.
    pub(crate) fn query(&self, query: &LogQuery) -> Vec<Arc<Record>> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .query(query)
    }

    /// The lines kept that `query` asks for, and every line from then on.
    pub(crate) fn follow(
        &self,
        query: &LogQuery,
    ) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.query(query), self.live.subscribe())
    }

    /// The text of the last lines.
    pub(crate) fn last(&self, lines: usize) -> Vec<String> {
        let query = LogQuery {
            tail: Some(lines),
            ..LogQuery::default()
        };
        self.query(&query)
            .iter()
            .map(|record| record.line.text.clone())
            .collect()
    }
}

impl Kept {
    fn push(&mut self, record: Arc<Record>) {
        self.bytes += record.line.text.len();
        self.records.push_back(record);
        while self.records.len() > MAX_LINES || self.bytes > MAX_BYTES {
            match self.records.pop_front() {
                Some(oldest) => self.bytes -= oldest.line.text.len(),
                None => break,
            }
        }
    }

    fn query(&self, query: &LogQuery) -> Vec<Arc<Record>> {
        let newest_first = self
            .records
            .iter()
            .rev()
            .filter(|record| query.accepts(record));
        let mut found: Vec<_> = newest_first
            .take(query.tail.unwrap_or(usize::MAX))
            .cloned()
            .collect();
        found.reverse();
        found
    }
}

/// A time as the gateway API writes it.
pub(crate) fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(lines: usize, text: &str) -> LogBook {
        let book = LogBook::new("work", Reporter::default());
        for number in 0..lines {
            book.push(&format!("work-{}", number % 2), format!("{number}{text}"));
        }
        book
    }

    #[test]
    fn old_lines_make_room() {
        let book = book(MAX_LINES + 10, "");
        assert_eq!(book.query(&LogQuery::default()).len(), MAX_LINES);
        assert_eq!(book.last(1), [(MAX_LINES + 9).to_string()]);
    }

    #[test]
    fn the_text_kept_is_bounded() {
        let book = book(10, &"x".repeat(MAX_BYTES / 4));
        assert!(book.query(&LogQuery::default()).len() < 4);
    }

    #[test]
    fn a_query_chooses_by_replica_time_and_number() {
        let book = book(10, "");
        let query = LogQuery {
            instance: Some("work-1".into()),
            tail: Some(2),
            since: None,
        };
        let texts: Vec<_> = book
            .query(&query)
            .iter()
            .map(|r| r.line.text.clone())
            .collect();
        assert_eq!(texts, ["7", "9"]);
        let future = OffsetDateTime::now_utc() + time::Duration::HOUR;
        assert!(
            book.query(&LogQuery {
                since: Some(future),
                ..Default::default()
            })
            .is_empty()
        );
    }
}
