//! One delivery of one task, read off its NATS message.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use farm_core::envelope;
use farm_core::topology::Topology;
use farm_core::{Codec, TaskId};

use crate::clock;
use crate::codec;
use crate::runtime::task_name;
use crate::task_error::chain;

/// A task in this replica's hands.
pub(crate) struct Delivery {
    pub message: Message,
    pub task: TaskId,
    /// Deliveries of this task so far, this one included.
    pub delivered: u64,
    /// Numbers deliveries of the farm; unique also when one task is delivered twice to us.
    pub delivery_sequence: u64,
    /// Tasks that still waited when this one was delivered.
    pub pending: u64,
    pub submitted_seconds: f64,
    pub deadline: Option<Duration>,
    pub replay: u64,
    pub codec: Codec,
    /// Why the message is no task of this farm, if it is none.
    pub defect: Option<String>,
}

impl Delivery {
    /// Reads the envelope. A message that is no delivery at all is an error; a delivery whose
    /// envelope makes no sense is a task with a defect, so that it can be kept as a dead letter.
    pub fn read(
        message: async_nats::Message,
        context: &async_nats::jetstream::Context,
        topology: &Topology,
        default_deadline: Option<Duration>,
    ) -> Result<Self, String> {
        let message = Message {
            message,
            context: context.clone(),
        };
        let info = message
            .info()
            .map_err(|error| format!("no JetStream delivery: {error}"))?;
        let (delivered, delivery_sequence) = (
            u64::try_from(info.delivered).unwrap_or(1),
            info.consumer_sequence,
        );
        let (pending, stream_sequence) = (info.pending, info.stream_sequence);
        let stored_seconds = clock::seconds(SystemTime::from(info.published));
        let headers = message.headers.as_ref();
        let (task, defect) = task_name::of(&message.subject, headers, topology, stream_sequence)?;
        let (codec, unknown) = match codec::of(headers) {
            Ok(codec) => (codec, None),
            Err(error) => (Codec::Raw, Some(error.to_string())),
        };
        Ok(Self {
            task,
            defect: defect.or(unknown),
            codec,
            delivered,
            delivery_sequence,
            pending,
            submitted_seconds: text(headers, envelope::SUBMITTED_SECONDS)
                .and_then(envelope::parse_seconds)
                .unwrap_or(stored_seconds),
            deadline: text(headers, envelope::DEADLINE_SECONDS)
                .and_then(envelope::parse_duration_seconds)
                .or(default_deadline),
            replay: text(headers, envelope::REPLAY)
                .and_then(|replay| replay.parse::<u32>().ok())
                .map_or(0, u64::from),
            message,
        })
    }

    pub fn body(&self) -> Bytes {
        self.message.payload.clone()
    }

    /// The word for how the body is encoded, if the task has one.
    pub fn codec_word(&self) -> Option<&str> {
        codec::word(self.message.headers.as_ref())
    }

    pub fn traceparent(&self) -> Option<&str> {
        text(self.message.headers.as_ref(), envelope::TRACEPARENT)
    }

    pub fn due(&self) -> Option<SystemTime> {
        let submitted = clock::at_seconds(self.submitted_seconds)?;
        submitted.checked_add(self.deadline?)
    }

    /// Gives the task back to the queue, to be delivered again at once or after `delay`.
    ///
    /// A lost hand-back is no loss: the server delivers again after the ack wait.
    pub async fn hand_back(&self, delay: Option<Duration>) {
        if let Err(error) = self.message.ack_with(AckKind::Nak(delay)).await {
            tracing::debug!(task = %self.task, %error, "a task could not be handed back");
        }
    }

    /// Removes the task from the queue, and waits until the server says it did.
    ///
    /// A lost acknowledgement is no loss either: the outcome is stored, and a further attempt
    /// finds it.
    pub async fn remove(&self, kind: AckKind) {
        if let Err(error) = self.message.double_ack_with(kind).await {
            tracing::debug!(task = %self.task, error = chain(error.as_ref()), "an acknowledgement was lost");
        }
    }
}

fn text<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(async_nats::HeaderValue::as_str)
}
