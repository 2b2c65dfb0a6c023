//! Pulls messages of a JetStream consumer: exactly as many as there is room for.
//!
//! The workers' tasks come this way, so that no busy worker hoards them, and whatever reads a stream,
//! so that a slow reader holds little. One subscription receives what any number of pull requests
//! bring. A request that is open at the server counts as messages on their way; what it did not bring
//! is told by the status message that ends it. An idle request is kept warm by heartbeats of the
//! server: their silence tells that it was lost with the server's leader, which a connection to
//! another server does not tell. Closed in step with the server, a pull gives back what was on its
//! way, so that it can be handed back rather than left to the ack wait.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::{Client, Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::Instant;

/// How long an idle pull waits at the server.
const IDLE_PULL: Duration = Duration::from_secs(10);
/// How often the server says that an idle pull still waits.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long without a word an idle pull counts as alive.
const SILENCE: Duration = Duration::from_millis(4500);
/// How long a pull for messages known to wait stays open.
const BUSY_PULL: Duration = Duration::from_millis(500);
/// Status of a heartbeat.
const HEARTBEAT_STATUS: u16 = 100;
/// How it says that the next message would make a request bring too many bytes.
const TOO_LARGE: &str = "Message Size Exceeds MaxBytes";
/// How long not to ask a server that could not answer.
const REST: Duration = Duration::from_millis(250);
/// How much longer than its own limit a request may stay unanswered before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Pull {
    client: Client,
    /// Where the consumer is asked.
    subject: String,
    inbox: String,
    subscriber: Subscriber,
    next_request: u64,
    /// Open requests and when to stop waiting for them.
    requests: HashMap<u64, Instant>,
    /// Messages asked for and not arrived.
    outstanding: usize,
    /// Bytes that a request may bring.
    most_bytes: Option<usize>,
    /// When the server was last asked, or last said anything.
    heard: Instant,
    /// When to ask again after the server could not answer.
    not_before: Instant,
}

/// What came in.
pub(crate) enum Arrival {
    Message(Message),
    /// None: a request ended without all of them, or still waits.
    Nothing,
    /// The server cannot give any now: without a leader, or without the consumer.
    Refused,
    Closed,
}

impl Pull {
    pub async fn open(
        client: &Client,
        stream: &str,
        consumer: &str,
    ) -> Result<Self, SubscribeError> {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Self::listen(client.clone(), subject).await
    }

    async fn listen(client: Client, subject: String) -> Result<Self, SubscribeError> {
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(format!("{inbox}.*")).await?;
        Ok(Self {
            client,
            subject,
            inbox,
            subscriber,
            next_request: 0,
            requests: HashMap::new(),
            outstanding: 0,
            most_bytes: None,
            heard: Instant::now(),
            not_before: Instant::now(),
        })
    }

    /// Lets a request for several messages end when the next one would make it bring more than so many
    /// bytes. A request for one message brings it however large it is.
    pub fn limit_bytes(&mut self, most_bytes: usize) {
        self.most_bytes = Some(most_bytes);
    }

    /// Keeps `room` messages on their way; `waiting` says whether there are known to be some.
    pub async fn ask(&mut self, room: usize, waiting: bool) {
        let Some(missing) = room.checked_sub(self.outstanding).filter(|n| *n > 0) else {
            return;
        };
        if Instant::now() < self.not_before {
            return;
        }
        let (limit, heartbeat) = if waiting {
            (BUSY_PULL, String::new())
        } else {
            let nanoseconds = HEARTBEAT.as_nanos();
            (IDLE_PULL, format!(r#","idle_heartbeat":{nanoseconds}"#))
        };
        let id = self.next_request;
        self.next_request += 1;
        let expires = limit.as_nanos();
        let limit_bytes = match self.most_bytes {
            Some(bytes) if missing > 1 => format!(r#","max_bytes":{bytes}"#),
            _ => String::new(),
        };
        let request =
            format!(r#"{{"batch":{missing},"expires":{expires}{heartbeat}{limit_bytes}}}"#);
        let reply = format!("{}.{id}", self.inbox);
        let sent = self
            .client
            .publish_with_reply(self.subject.clone(), reply, Bytes::from(request))
            .await;
        match sent {
            Ok(()) => {
                self.requests.insert(id, Instant::now() + limit + PATIENCE);
                self.outstanding += missing;
                self.heard = Instant::now();
            }
            Err(error) => tracing::debug!(%error, "a pull request could not be sent"),
        }
    }

    /// The next message, or the end of a request.
    pub async fn next(&mut self) -> Arrival {
        let Some(message) = self.subscriber.next().await else {
            return Arrival::Closed;
        };
        self.heard = Instant::now();
        let Some(status) = message.status else {
            self.outstanding = self.outstanding.saturating_sub(1);
            return Arrival::Message(message);
        };
        if status.as_u16() == HEARTBEAT_STATUS {
            return Arrival::Nothing;
        }
        let id = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|id| id.parse().ok());
        if let Some(id) = id
            && self.requests.remove(&id).is_some()
        {
            self.outstanding = self.outstanding.saturating_sub(unfilled(&message));
            if self.requests.is_empty() {
                self.outstanding = 0;
            }
            // One that found no message, waited in vain, or brought all the bytes it may is in order.
            // Any other end would repeat at once.
            if !matches!(status.as_u16(), 404 | 408) && !is_too_large(&message) {
                self.not_before = Instant::now() + REST;
                return Arrival::Refused;
            }
        }
        Arrival::Nothing
    }

    /// When to believe that the server has forgotten what it was asked.
    pub fn silent_at(&self) -> Instant {
        self.heard + SILENCE
    }

    /// Forgets every request: the server that had them is gone.
    pub fn reset(&mut self) {
        self.requests.clear();
        self.outstanding = 0;
    }

    /// Forgets requests that were filled, or lost without a word. What such a request brings all the
    /// same is taken like any other message.
    pub fn forget_overdue(&mut self) {
        let now = Instant::now();
        self.requests.retain(|_, give_up| *give_up > now);
        if now > self.silent_at() {
            self.requests.clear();
        }
        if self.requests.is_empty() {
            self.outstanding = 0;
        }
    }

    /// Messages asked for and not arrived.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Takes every open request back, and gives what came of them all the same.
    pub async fn take_back(&mut self) -> Vec<Message> {
        match Self::listen(self.client.clone(), self.subject.clone()).await {
            Ok(fresh) => std::mem::replace(self, fresh).close().await,
            Err(error) => {
                tracing::debug!(%error, "pull requests could not be taken back");
                Vec::new()
            }
        }
    }

    /// Gives back whatever was still on its way. Nothing comes after that.
    pub async fn close(&mut self) -> Vec<Message> {
        let mut late = Vec::new();
        if self.subscriber.drain().await.is_err() {
            return late;
        }
        let give_up = Instant::now() + PATIENCE;
        // Without a connection the end never comes; what was on its way comes back by itself.
        while let Ok(Some(message)) = tokio::time::timeout_at(give_up, self.subscriber.next()).await
        {
            if message.status.is_none() {
                late.push(message);
            }
        }
        late
    }
}

/// Whether a request ended because the next message would have brought too many bytes.
fn is_too_large(status: &Message) -> bool {
    let why = status.description.as_deref().unwrap_or_default();
    why.eq_ignore_ascii_case(TOO_LARGE)
}

/// How many of its messages a request that ended did not bring.
fn unfilled(status: &Message) -> usize {
    status
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Pending-Messages"))
        .and_then(|count| count.as_str().parse().ok())
        .unwrap_or(0)
}
