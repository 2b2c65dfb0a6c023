//! Publishes with many acknowledgements outstanding, at less cost than a future each.
//!
//! One subscription gets all acknowledgements. They come in the order of the publishes: one connection
//! to one stream, whose leader stores them one after another.

use std::collections::VecDeque;

use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::{WINDOW, WINDOW_BYTES};
use crate::error::Error;

/// A message to be stored.
pub(super) struct Outgoing {
    pub subject: Subject,
    pub headers: Option<HeaderMap>,
    pub body: Bytes,
}

pub(super) struct Publisher {
    client: Client,
    inbox: String,
    answers: Subscriber,
    /// Sizes of the publishes on their way, oldest first.
    outstanding: VecDeque<usize>,
    outstanding_bytes: usize,
}

impl Publisher {
    pub async fn new(client: &Client) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        Ok(Self {
            client: client.clone(),
            inbox,
            answers: answers.map_err(Error::broker("subscribe to acknowledgements"))?,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
        })
    }

    /// Whether as many publishes are on their way as may be.
    pub fn is_full(&self) -> bool {
        self.outstanding.len() >= WINDOW || self.outstanding_bytes >= WINDOW_BYTES
    }

    /// Publishes not acknowledged yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub async fn publish(&mut self, message: Outgoing) -> Result<(), Error> {
        let Outgoing {
            subject,
            headers,
            body,
        } = message;
        let bytes = body.len();
        let (client, inbox) = (&self.client, self.inbox.clone());
        let published = match headers {
            Some(headers) => {
                let publish = client.publish_with_reply_and_headers(subject, inbox, headers, body);
                publish.await
            }
            None => client.publish_with_reply(subject, inbox, body).await,
        };
        published.map_err(Error::broker("publish"))?;
        self.outstanding.push_back(bytes);
        self.outstanding_bytes += bytes;
        Ok(())
    }

    /// Waits until the oldest publish is acknowledged.
    pub async fn acknowledged(&mut self) -> Result<(), Error> {
        let answer = self.answers.next().await;
        self.check(answer)
    }

    /// Whether the oldest publish is acknowledged, without waiting for it.
    pub fn is_acknowledged(&mut self) -> Result<bool, Error> {
        match self.answers.next().now_or_never() {
            Some(answer) => self.check(answer).map(|()| true),
            None => Ok(false),
        }
    }

    fn check(&mut self, answer: Option<Message>) -> Result<(), Error> {
        let refused = |cause: String| Error::Broker {
            action: "store a message".to_owned(),
            cause,
        };
        let answer = answer.ok_or_else(|| refused("the connection is closed".to_owned()))?;
        let stored = answer.status.is_none() && !answer.payload.starts_with(b"{\"error\"");
        if !stored {
            return Err(refused(
                String::from_utf8_lossy(&answer.payload).into_owned(),
            ));
        }
        self.outstanding_bytes -= self.outstanding.pop_front().unwrap_or(0);
        Ok(())
    }
}
