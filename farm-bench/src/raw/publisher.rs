//! Publishes with many acknowledgements outstanding, at less cost than a future each.
//!
//! One subscription gets all acknowledgements. They come in the order of the publishes: one connection
//! to one stream, whose leader stores them one after another.

use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::WINDOW;
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
    outstanding: usize,
}

impl Publisher {
    pub async fn new(client: &Client) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await;
        Ok(Self {
            client: client.clone(),
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

    pub async fn publish(&mut self, message: Outgoing) -> Result<(), Error> {
        let Outgoing {
            subject,
            headers,
            body,
        } = message;
        let (client, inbox) = (&self.client, self.inbox.clone());
        let published = match headers {
            Some(headers) => {
                let publish = client.publish_with_reply_and_headers(subject, inbox, headers, body);
                publish.await
            }
            None => client.publish_with_reply(subject, inbox, body).await,
        };
        published.map_err(Error::broker("publish"))?;
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
