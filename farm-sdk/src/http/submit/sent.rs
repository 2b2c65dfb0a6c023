//! A message of tasks on its way to the queue.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use farm_core::chunk::{ChunkId, ChunkRange};
use farm_core::{Codec, JobId, envelope};
use tokio::time::Instant;

use crate::codec;
use crate::runtime::broker;

/// How long an acknowledgement may take before the message is sent again.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

const CHUNK: HeaderName = HeaderName::from_static(envelope::CHUNK);
const DEADLINE_SECONDS: HeaderName = HeaderName::from_static(envelope::DEADLINE_SECONDS);
const TRACEPARENT: HeaderName = HeaderName::from_static(envelope::TRACEPARENT);

/// A message that was sent, and is kept until all before it are stored, too.
pub(super) struct Sent {
    pub ticket: u64,
    pub first: u64,
    pub tasks: u32,
    pub body: Bytes,
    pub traceparent: Option<String>,
    pub when: Instant,
    pub answer: Answer,
}

pub(super) enum Answer {
    Unsent,
    Awaited,
    Stored,
    Refused(broker::Refusal),
}

impl Sent {
    /// When to do something about it, if nothing is heard of it.
    pub fn overdue(&self) -> Instant {
        match self.answer {
            Answer::Refused(_) => self.when,
            _ => self.when + ANSWER,
        }
    }

    /// Whether it is neither stored nor on its way to be.
    pub fn is_absent(&self) -> bool {
        use broker::Refusal::Full;
        matches!(self.answer, Answer::Unsent | Answer::Refused(Full(_)))
    }

    pub fn headers(&self, job: &JobId, codec: Codec, deadline: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        codec::note(&mut headers, codec);
        let mut id = String::with_capacity(job.as_str().len() + 32);
        // Writing to a string cannot fail.
        let _ = match ChunkRange::new(self.first, self.tasks) {
            Ok(range) if self.tasks > 1 => {
                headers.insert(CHUNK, range.to_string());
                let job = job.clone();
                write!(id, "{}", ChunkId { job, range })
            }
            // The key of the task is in it, too.
            _ => write!(id, "{job}.{}", self.first),
        };
        headers.insert(NATS_MESSAGE_ID, id);
        if let Some(deadline) = deadline {
            headers.insert(DEADLINE_SECONDS, deadline);
        }
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.as_str());
        }
        headers
    }
}
