//! Publishes with many acknowledgements outstanding, at less cost than a future each.
//!
//! One subscription gets all acknowledgements. They come in the order of the publishes: one connection
//! to one stream of one server.

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::WINDOW;
use super::streams::MESSAGE_ID;
use crate::error::Error;

pub(super) struct Publisher {
    client: Client,
    subject: &'static str,
    inbox: String,
    answers: Subscriber,
    outstanding: usize,
}

impl Publisher {
    pub async fn new(client: &Client, subject: &'static str) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        Ok(Self {
            client: client.clone(),
            subject,
            inbox,
            answers: answers.map_err(Error::broker("subscribe to acknowledgements"))?,
            outstanding: 0,
        })
    }

    /// Whether as many publishes are on their way as may be.
    pub fn is_full(&self) -> bool {
        self.outstanding >= WINDOW
    }

    /// Publishes not acknowledged yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub async fn publish(&mut self, id: &str, body: Bytes) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, id);
        self.client
            .publish_with_reply_and_headers(self.subject, self.inbox.clone(), headers, body)
            .await
            .map_err(Error::broker("publish"))?;
        self.outstanding += 1;
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
        self.outstanding = self.outstanding.saturating_sub(1);
        Ok(())
    }
}
