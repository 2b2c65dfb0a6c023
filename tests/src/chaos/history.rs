//! What was asked, what was answered, and which faults there were: an append-only record.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::plan::Submit;
use super::schedule::Kind;

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in seconds since the Unix epoch.
    pub at_seconds: f64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What may be recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A submit is sent, for the first time or again.
    Invoked {
        /// Which.
        #[serde(flatten)]
        submit: Submit,
    },
    /// The farm took all of it.
    Accepted {
        /// Which.
        submit: u64,
        /// As which job.
        job: String,
        /// How many tasks it says it took.
        accepted: u64,
    },
    /// The farm said no.
    Refused {
        /// Which.
        submit: u64,
        /// HTTP status.
        status: u16,
        /// Why.
        reason: String,
        /// The job that had been started and is cancelled, if one is named.
        job: Option<String>,
    },
    /// Nobody knows: no answer came.
    Unknown {
        /// Which.
        submit: u64,
        /// Why.
        reason: String,
    },
    /// The job is to be cancelled.
    CancelAsked {
        /// Which.
        job: String,
    },
    /// It was cancelled, or had ended.
    CancelAnswered {
        /// Which.
        job: String,
        /// HTTP status; 0 if there was no answer.
        status: u16,
    },
    /// The results of a job were followed while it ran, across broken streams.
    Followed {
        /// Which.
        job: String,
        /// The outcomes' cursors, as they came.
        cursors: Vec<u64>,
        /// Whether the end of the job was reached.
        complete: bool,
    },
    /// A fault begins.
    FaultBegin {
        /// Its number.
        fault: usize,
        /// What it is.
        kind: Kind,
        /// Whom it strikes.
        target: String,
    },
    /// A fault is healed.
    FaultEnd {
        /// Its number.
        fault: usize,
    },
}

impl What {
    /// The submit this is about.
    pub fn submit(&self) -> Option<u64> {
        match self {
            Self::Invoked { submit } => Some(submit.submit),
            Self::Accepted { submit, .. }
            | Self::Refused { submit, .. }
            | Self::Unknown { submit, .. } => Some(*submit),
            _ => None,
        }
    }
}

/// The record, in memory and in a file.
#[derive(Default)]
pub struct History {
    events: Mutex<Vec<Event>>,
    file: Option<Mutex<BufWriter<File>>>,
}

impl History {
    /// An empty record; each line also goes to `file`.
    pub fn new(file: Option<&Path>) -> Self {
        let create = |file: &Path| File::create(file).expect("a file for the history");
        Self {
            events: Mutex::default(),
            file: file.map(|file| Mutex::new(BufWriter::new(create(file)))),
        }
    }

    /// Adds a line, now.
    pub fn note(&self, what: What) {
        let event = Event {
            at_seconds: now_seconds(),
            what,
        };
        if let Some(file) = &self.file {
            let line = serde_json::to_string(&event).expect("JSON");
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(file, "{line}").expect("the history can be written");
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }

    /// All lines so far.
    pub fn events(&self) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.clone()
    }

    /// Writes what is buffered to the file.
    pub fn flush(&self) {
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.flush().expect("the history can be written");
        }
    }
}

/// The time, in seconds since the Unix epoch.
pub fn now_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
