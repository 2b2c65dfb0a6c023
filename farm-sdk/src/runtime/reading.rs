//! Reads a stream in its order from some place on, holds little, and leaves nothing behind at the
//! server.
//!
//! It asks for some messages, and for more only when those were taken: a reader that pauses holds one
//! batch. When the server's consumer is lost, with its server or because the reader paused for long,
//! another takes its place after the last message that was given out. The server keeps an abandoned
//! consumer for half a minute and a stream takes about a thousand of them: a farm asked some dozen
//! times a second would soon be refused, so a reading that ends deletes its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::runtime::broker::Broker;
use crate::runtime::place::Place;
use crate::runtime::pull::{Arrival, Pull};
use crate::task_error::chain;

/// Messages on their way at once, at most.
const MOST: usize = 1024;
/// The same in bytes, judged by the largest of late. Where larger ones follow, the server stops at as
/// many bytes, or at one message.
const MOST_BYTES: usize = 512 << 10;
/// The same of all readings of this process. They share its connection, and the server cuts one
/// behind which 64 MiB pile up.
const MOST_BYTES_TOGETHER: usize = 16 << 20;
/// On their way at first, while their size is not known.
const AT_FIRST: usize = 2;
/// How long the server keeps a consumer that nobody asks.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Consumers that this process has open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// What of a stream to read.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub subjects: String,
    /// The first sequence of interest; 1 is the beginning of the stream.
    pub first_sequence: u64,
    pub headers_only: bool,
}

/// A message of a stream, and its place there.
pub(crate) struct Stored {
    pub message: Message,
    place: Place,
}

impl Stored {
    /// `None` for what came from no stream.
    pub fn read(message: Message) -> Option<Self> {
        let place = Place::read(message.reply.as_deref())?;
        Some(Self { message, place })
    }

    pub fn sequence(&self) -> u64 {
        self.place.stream_sequence
    }

    /// When it was stored, since the Unix epoch.
    pub fn stored_nanoseconds(&self) -> i128 {
        self.place.stored_nanoseconds
    }

    /// How many of the selection were stored behind it when it was delivered.
    pub fn pending(&self) -> u64 {
        self.place.pending
    }

    /// How many its consumer had delivered with it.
    fn delivery(&self) -> u64 {
        self.place.consumer_sequence
    }

    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    pub fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    pub fn body(&self) -> &Bytes {
        &self.message.payload
    }

    /// When it was stored, in seconds since the Unix epoch.
    pub fn stored_seconds(&self) -> f64 {
        self.place.stored_seconds()
    }
}

/// The messages of a stream in their order, as they come.
pub(crate) struct Reading {
    client: Client,
    stream: Stream,
    /// What is still to be read.
    selection: Selection,
    batch: usize,
    largest_bytes: usize,
    waiting: u64,
    state: State,
}

enum State {
    /// Kept here, so that a caller that stops waiting does not stop it.
    Opening(BoxFuture<'static, Result<Box<Open>, String>>),
    Open(Box<Open>),
}

/// A consumer at the server.
struct Open {
    pull: Pull,
    stream: Stream,
    consumer: String,
    waiting: u64,
    /// Messages it has delivered.
    delivered: u64,
}

impl Reading {
    pub async fn start(
        broker: &Broker,
        stream: &Stream,
        selection: Selection,
    ) -> Result<Self, String> {
        let client = broker.client.clone();
        let open = open(client.clone(), stream.clone(), selection.clone()).await?;
        Ok(Self {
            client,
            stream: stream.clone(),
            selection,
            batch: AT_FIRST,
            largest_bytes: 1,
            waiting: open.waiting,
            state: State::Open(open),
        })
    }

    /// How many messages were stored already when the reading began.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The next message. Loses none if it is not awaited to its end.
    ///
    /// # Errors
    /// NATS gives no more; what was given out stays in order and complete.
    pub async fn next(&mut self) -> Result<Stored, String> {
        loop {
            let open = match &mut self.state {
                State::Open(open) => open,
                State::Opening(opening) => {
                    let opened = opening.as_mut().await;
                    if opened.is_err() {
                        self.open_again();
                    }
                    self.state = State::Open(opened?);
                    continue;
                }
            };
            if open.pull.outstanding() <= self.batch / 2 {
                open.pull.ask(self.batch, false).await;
            }
            match tokio::time::timeout_at(open.pull.silent_at(), open.pull.next()).await {
                Ok(Arrival::Nothing) => {
                    open.pull.forget_overdue();
                    // Perhaps the next message is larger than was allowed: it comes if asked for alone.
                    self.batch = 1;
                }
                Ok(Arrival::Message(message)) => {
                    if let Some(message) = self.take(message) {
                        return Ok(message);
                    }
                }
                Ok(Arrival::Refused) | Err(_) => self.open_again(),
                Ok(Arrival::Closed) => return Err("the connection is closed".to_owned()),
            }
        }
    }

    /// The next message, if it has arrived already: many are read without waiting for each.
    pub fn at_hand(&mut self) -> Option<Stored> {
        match self.state {
            State::Open(_) => self.next().now_or_never()?.ok(),
            State::Opening(_) => None,
        }
    }

    /// The message, if it is the one that follows.
    fn take(&mut self, message: Message) -> Option<Stored> {
        let State::Open(open) = &mut self.state else {
            return None;
        };
        let length_bytes = message.length;
        let stored = Stored::read(message)?;
        if stored.delivery() != open.delivered + 1 {
            self.open_again();
            return None;
        }
        open.delivered = stored.delivery();
        self.selection.first_sequence = stored.sequence() + 1;
        // One large chunk among small ones is forgotten again: the server bounds a request's bytes.
        let remembered_bytes = self.largest_bytes - self.largest_bytes / 32;
        self.largest_bytes = length_bytes.max(remembered_bytes).max(1);
        let share_bytes = MOST_BYTES_TOGETHER / OPEN.load(Ordering::Relaxed).max(1);
        self.batch = (share_bytes.min(MOST_BYTES) / self.largest_bytes).clamp(1, MOST);
        Some(stored)
    }

    fn open_again(&mut self) {
        let (client, stream) = (self.client.clone(), self.stream.clone());
        let opening = open(client, stream, self.selection.clone());
        // Replacing the old one deletes its consumer.
        self.state = State::Opening(opening.boxed());
    }
}

async fn open(client: Client, stream: Stream, selection: Selection) -> Result<Box<Open>, String> {
    let config = pull::Config {
        name: Some(format!("reading-{}", Uuid::new_v4().simple())),
        ack_policy: AckPolicy::None,
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: selection.first_sequence.max(1),
        },
        filter_subject: selection.subjects,
        headers_only: selection.headers_only,
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await;
    let consumer = consumer.map_err(|error| chain(&error))?;
    let info = consumer.cached_info();
    let (name, waiting) = (info.name.clone(), info.num_pending);
    let pull = Pull::open(&client, &info.stream_name, &name).await;
    let mut pull = pull.map_err(|error| chain(&error))?;
    if !info.config.headers_only {
        // The server counts more than the client does: what was judged well shall not be cut.
        pull.limit_bytes(2 * MOST_BYTES);
    }
    OPEN.fetch_add(1, Ordering::Relaxed);
    Ok(Box::new(Open {
        pull,
        stream,
        consumer: name,
        waiting,
        delivered: 0,
    }))
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
        let (stream, consumer) = (self.stream.clone(), std::mem::take(&mut self.consumer));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // One that is missed here the server forgets by itself.
                let _ = stream.delete_consumer(&consumer).await;
            });
        }
    }
}
