//! What keeps a task, or its result, from being stored twice.

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::Message;
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::publisher::Outgoing;
use super::streams::TASK_SUBJECT;

const RESULT_SUBJECT: &str = "raw.result";
/// Of a farm and a job whose names are as long as real ones.
const OWN_SUBJECTS: &str = "farm.bench.result.0123456789abcdef0123456789abcdef";
const OWN_SUBJECTS_WILDCARD: &str = "farm.bench.result.>";

/// What keeps a message from being stored twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Once {
    /// Nothing. Tasks are known by their place in the stream; for one task a message.
    Unchecked,
    /// Message ids on tasks and results: for as long as the server's window, two minutes.
    MessageIds,
    /// Message ids on tasks, and results written only to subjects that are empty: for as long as
    /// results are kept.
    OwnSubjects,
}

impl Once {
    /// What the stream of the results holds.
    pub(super) fn result_subjects(self) -> &'static str {
        match self {
            Once::Unchecked | Once::MessageIds => RESULT_SUBJECT,
            Once::OwnSubjects => OWN_SUBJECTS_WILDCARD,
        }
    }

    /// The message of tasks of which `number` is the first.
    pub(super) fn task(self, number: u64, body: Bytes) -> Outgoing {
        let headers = match self {
            Once::Unchecked => None,
            Once::MessageIds | Once::OwnSubjects => Some(message_id(&number.to_string())),
        };
        Outgoing {
            subject: Subject::from_static(TASK_SUBJECT),
            headers,
            body,
        }
    }

    /// The message of the result `body` of `task`.
    pub(super) fn result(self, task: &Message, body: Bytes) -> Outgoing {
        match self {
            Once::Unchecked => Outgoing {
                subject: Subject::from_static(RESULT_SUBJECT),
                headers: None,
                body: place(task).to_string().into(),
            },
            Once::MessageIds => Outgoing {
                subject: Subject::from_static(RESULT_SUBJECT),
                headers: Some(message_id(id(task))),
                body,
            },
            Once::OwnSubjects => {
                let mut headers = HeaderMap::new();
                headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
                Outgoing {
                    subject: format!("{OWN_SUBJECTS}.{}", id(task)).into(),
                    headers: Some(headers),
                    body,
                }
            }
        }
    }

    /// The number of the first task of a result, as text.
    pub(super) fn number(self, result: &Message) -> &str {
        match self {
            Once::Unchecked => std::str::from_utf8(&result.payload).unwrap_or_default(),
            Once::MessageIds => id(result),
            Once::OwnSubjects => result.subject.rsplit('.').next().unwrap_or_default(),
        }
    }
}

fn message_id(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers
}

fn id(message: &Message) -> &str {
    let headers = message.headers.as_ref();
    headers
        .and_then(|headers| headers.get(NATS_MESSAGE_ID))
        .map_or("", |id| id.as_str())
}

/// How many tasks are before `task` in a stream that was new when the run began.
fn place(task: &Message) -> u64 {
    let sequence = task.info().map_or(0, |info| info.stream_sequence);
    sequence.wrapping_sub(1)
}
