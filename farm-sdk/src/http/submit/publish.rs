//! Publishes the tasks of a job: many on their way at once, each acknowledged before it counts.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use axum::http::StatusCode;
use bytes::Bytes;
use farm_core::{Codec, JobId, TaskId, TaskKey, envelope};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;

use super::{Request, Tasks};
use crate::codec;
use crate::http::Face;
use crate::http::refusal::Refusal;
use crate::runtime::broker::{self, Broker};

/// Publishes on their way at once.
const WINDOW: usize = 256;
/// The same in bytes.
const WINDOW_BYTES: usize = 16 << 20;
/// How long a full queue or an absent server may hold up a submit that has begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an acknowledgement may take before the task is sent again.
const ANSWER: Duration = Duration::from_secs(5);

pub(crate) struct Publisher<'a> {
    face: &'a Face,
    broker: &'a Broker,
    job: &'a JobId,
    subject: String,
    deadline: Option<String>,
    codec: Codec,
    traceparent: Option<&'a str>,
    next_sequence: u64,
    accepted: u64,
    window: VecDeque<Unacknowledged>,
    window_bytes: usize,
}

struct Unacknowledged {
    message: PublishMessage,
    sent: Instant,
    bytes: usize,
    answer: Result<PublishAckFuture, PublishError>,
}

impl<'a> Publisher<'a> {
    pub fn new(face: &'a Face, broker: &'a Broker, job: &'a JobId, request: &'a Request) -> Self {
        Self {
            face,
            broker,
            job,
            subject: broker.topology.task_subject(job),
            deadline: request
                .deadline
                .map(|d| envelope::format_seconds(d.as_secs_f64())),
            traceparent: request.traceparent.as_deref(),
            codec: request.form.tasks_in,
            next_sequence: 0,
            accepted: 0,
            window: VecDeque::with_capacity(WINDOW),
            window_bytes: 0,
        }
    }

    /// Tasks that are stored.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Publishes `held`, then what still comes; returns when all of it is stored.
    pub async fn publish_all(
        &mut self,
        held: Vec<Bytes>,
        tasks: &mut Tasks,
    ) -> Result<(), Refusal> {
        for task in held {
            self.publish(task).await?;
        }
        loop {
            match tasks.try_recv() {
                Ok(task) => self.publish(task?).await?,
                Err(TryRecvError::Disconnected) => break,
                // Nothing to publish: an acknowledgement that nobody awaits holds up others.
                Err(TryRecvError::Empty) if !self.window.is_empty() => self.await_oldest().await?,
                Err(TryRecvError::Empty) => match tasks.recv().await {
                    Some(task) => self.publish(task?).await?,
                    None => break,
                },
            }
        }
        while !self.window.is_empty() {
            self.await_oldest().await?;
        }
        Ok(())
    }

    async fn publish(&mut self, body: Bytes) -> Result<(), Refusal> {
        while self.window.len() >= WINDOW || self.window_bytes > WINDOW_BYTES {
            self.await_oldest().await?;
        }
        let bytes = body.len();
        self.window_bytes += bytes;
        let task = TaskId::new(self.job.clone(), TaskKey::from_sequence(self.next_sequence));
        self.next_sequence += 1;
        let span = self.face.tracer.submit(&task, self.traceparent);
        let mut headers = HeaderMap::new();
        headers.insert(envelope::TASK, task.key.as_str());
        codec::note(&mut headers, self.codec);
        if let Some(deadline) = &self.deadline {
            headers.insert(envelope::DEADLINE_SECONDS, deadline.as_str());
        }
        if let Some(traceparent) = span.traceparent() {
            headers.insert(envelope::TRACEPARENT, traceparent);
        }
        let message = PublishMessage::build()
            .payload(body)
            .headers(headers)
            .message_id(task.to_string());
        let answer = self.send(&message).await;
        self.window.push_back(Unacknowledged {
            message,
            bytes,
            sent: Instant::now(),
            answer,
        });
        span.end(None);
        Ok(())
    }

    async fn send(&self, message: &PublishMessage) -> Result<PublishAckFuture, PublishError> {
        self.broker
            .jetstream
            .send_publish(self.subject.clone(), message.clone())
            .await
    }

    /// Waits until the oldest task is stored, sending it again while that can help.
    async fn await_oldest(&mut self) -> Result<(), Refusal> {
        let Some(oldest) = self.window.pop_front() else {
            return Ok(());
        };
        self.window_bytes -= oldest.bytes;
        let Unacknowledged {
            message,
            mut sent,
            mut answer,
            ..
        } = oldest;
        let give_up = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        let mut place = None;
        loop {
            let Err(refusal) = self.stored(answer, sent).await else {
                self.accepted += 1;
                return Ok(());
            };
            if Instant::now() + pause > give_up {
                return Err(refusal);
            }
            match refusal.status {
                StatusCode::PAYLOAD_TOO_LARGE => return Err(refusal),
                StatusCode::TOO_MANY_REQUESTS => {
                    let room = &self.face.room;
                    room.note_full();
                    place = place.or_else(|| room.wait());
                    // A queue that is full from the start is for the client to wait for.
                    if self.accepted == 0 || place.is_none() {
                        return Err(refusal);
                    }
                }
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
            sent = Instant::now();
            answer = self.send(&message).await;
        }
    }

    /// Whether it is certain that no task is stored, nor on its way to be.
    pub async fn has_stored_nothing(&mut self) -> bool {
        while self.accepted == 0
            && let Some(Unacknowledged { sent, answer, .. }) = self.window.pop_front()
        {
            match self.stored(answer, sent).await {
                Ok(()) => self.accepted += 1,
                Err(refusal) if refusal.status == StatusCode::SERVICE_UNAVAILABLE => return false,
                Err(_) => {}
            }
        }
        self.accepted == 0
    }

    /// Waits for an acknowledgement, counted from when its task was sent: what a lost server did
    /// not acknowledge then costs one wait, not one for each task of the window.
    async fn stored(
        &self,
        answer: Result<PublishAckFuture, PublishError>,
        sent: Instant,
    ) -> Result<(), Refusal> {
        let acknowledgement = answer.map_err(|error| self.refusal(&error))?;
        match tokio::time::timeout_at(sent + ANSWER, acknowledgement.into_future()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.refusal(&error)),
            Err(_) => Err(Refusal::unavailable(format!(
                "NATS did not acknowledge task {} within {} s",
                self.accepted,
                ANSWER.as_secs()
            ))),
        }
    }

    fn refusal(&self, error: &PublishError) -> Refusal {
        let place = self.accepted;
        match broker::refusal(error) {
            broker::Refusal::TooLarge(limit) => Refusal::too_large(format!(
                "task {place} is larger than NATS takes ({limit}): raise max_payload, or send a reference to the data"
            )),
            broker::Refusal::Full(cause) => super::full(self.face, &cause),
            broker::Refusal::Passing(cause) => {
                Refusal::unavailable(format!("NATS did not store task {place}: {cause}"))
            }
            // Tasks carry no condition on their subject.
            broker::Refusal::AlreadyThere => Refusal::unavailable("NATS refused the task"),
        }
    }
}
