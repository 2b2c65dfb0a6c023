//! Publishes to streams with many messages on their way at once.
//!
//! The client's own way costs an inbox, a channel and a future for every message. Here all answers
//! come to one inbox, `<inbox>.<place>`, and the place says which message each is to. Places are few,
//! and the last that was freed is taken first: the server remembers who listens to a subject, but only
//! for some hundreds of subjects.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::client::PublishErrorKind;
use async_nats::header::HeaderMap;
use async_nats::jetstream;
use async_nats::{Client, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;

use crate::runtime::broker::{self, Refusal};
use crate::task_error::chain;

/// More than these are closed.
const MOST_IDLE: usize = 16;

/// Messages on their way, and the answers to them.
///
/// Answers may come in any order, more than once if a message is sent more than once, and never if
/// the connection is lost: what waits too long is the caller's to send again. The client holds
/// 65,536 answers that nobody has taken, and drops those that come then: no more messages than that
/// may be on their way.
pub(crate) struct Publishing {
    client: Client,
    /// Ends with a dot.
    inbox: String,
    answers: Subscriber,
    last_ticket: u64,
    places: Places,
}

/// Whose answer comes where. A place is free only once its answer came, so that no late one is taken
/// for that of another message; the places of lost answers stay taken.
#[derive(Default)]
struct Places {
    /// By place; 0 if it is free.
    tickets: Vec<u64>,
    free: Vec<usize>,
}

impl Places {
    fn take(&mut self, ticket: u64) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.tickets[place] = ticket;
                place
            }
            None => {
                self.tickets.push(ticket);
                self.tickets.len() - 1
            }
        }
    }

    fn free(&mut self, place: usize) -> Option<u64> {
        let ticket = std::mem::take(self.tickets.get_mut(place)?);
        if ticket == 0 {
            return None;
        }
        self.free.push(place);
        Some(ticket)
    }
}

/// What a stream answers: where it stored the message, also if it was there before, or why not.
#[derive(Deserialize)]
struct Answer {
    error: Option<jetstream::Error>,
}

impl Publishing {
    /// # Errors
    /// The connection is closed.
    pub async fn open(client: &Client) -> Result<Self, Refusal> {
        let inbox = client.new_inbox() + ".";
        let answers = client.subscribe(format!("{inbox}*")).await;
        Ok(Self {
            client: client.clone(),
            answers: answers.map_err(|error| Refusal::Passing(chain(&error)))?,
            inbox,
            last_ticket: 0,
            places: Places::default(),
        })
    }

    /// A number by which an answer is known: larger than all before.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Sends a message whose answer is to be known by `ticket`: another one, or the same again.
    /// Waits for the client alone.
    ///
    /// # Errors
    /// The message is larger than the server takes, or the connection is closed.
    pub async fn send(
        &mut self,
        ticket: u64,
        subject: Subject,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        let place = self.places.take(ticket);
        let mut reply = String::with_capacity(self.inbox.len() + 20);
        // Writing to a string cannot fail.
        let _ = write!(reply, "{}{place}", self.inbox);
        let reply = Subject::from(reply);
        let publish = &self.client;
        let sent = publish.publish_with_reply_and_headers(subject, reply, headers, payload);
        sent.await.map_err(|error| {
            self.places.free(place);
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Refusal::TooLarge(chain(&error)),
                _ => Refusal::Passing(chain(&error)),
            }
        })
    }

    /// The next answer, and the ticket of the message it is to; `None` when the connection is
    /// closed. To stop waiting for it loses none.
    pub async fn next(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        loop {
            let answer = self.answers.next().await?;
            let place = answer.subject.get(self.inbox.len()..);
            let place = place.and_then(|place| place.parse().ok());
            if let Some(ticket) = place.and_then(|place| self.places.free(place)) {
                return Some((ticket, read(&answer)));
            }
        }
    }
}

/// Those that serve nobody now: to open one for every small job is work for the server.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Vec<Publishing>>);

impl Idle {
    /// # Errors
    /// The connection is closed.
    pub async fn take(&self, client: &Client) -> Result<Publishing, Refusal> {
        let idle = self.lock().pop();
        match idle {
            Some(publishing) => Ok(publishing),
            None => Publishing::open(client).await,
        }
    }

    /// For whoever needs one next, to whom late answers mean nothing: tickets only grow.
    pub fn give_back(&self, publishing: Publishing) {
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(publishing);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Publishing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(answer: &Message) -> Result<(), Refusal> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Refusal::Passing("no stream takes the message".to_owned()));
    }
    let answer: Answer = serde_json::from_slice(&answer.payload)
        .map_err(|error| Refusal::Passing(format!("the answer cannot be read: {error}")))?;
    match answer.error {
        None => Ok(()),
        Some(error) => Err(broker::stream_refusal(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_nats::HeaderName;
    use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
    use async_nats::jetstream::stream::{Config, DiscardPolicy};
    use farm_tests::{NatsServer, within};
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    async fn stream(nats: &NatsServer, config: Config) -> (Client, Publishing) {
        let client = async_nats::connect(nats.url()).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        jetstream.create_stream(config).await.unwrap();
        let publishing = Publishing::open(&client).await.unwrap();
        (client, publishing)
    }

    fn tasks() -> Config {
        Config {
            name: "tasks".to_owned(),
            subjects: vec!["task.*".to_owned()],
            ..Config::default()
        }
    }

    async fn send(publishing: &mut Publishing, header: (HeaderName, &str), bytes: usize) -> u64 {
        let ticket = publishing.ticket();
        let mut headers = HeaderMap::new();
        headers.insert(header.0, header.1);
        let subject = Subject::from_static("task.a");
        let sent = publishing.send(ticket, subject, headers, vec![b'x'; bytes].into());
        sent.await.unwrap();
        ticket
    }

    async fn answer(publishing: &mut Publishing) -> (u64, Result<(), Refusal>) {
        within("an answer", SOON, publishing.next()).await.unwrap()
    }

    #[tokio::test]
    async fn every_message_is_answered_by_its_ticket() {
        let nats = NatsServer::start().await;
        let (_client, mut publishing) = stream(&nats, tasks()).await;
        for number in 1..=500u64 {
            let id = (NATS_MESSAGE_ID, &*number.to_string());
            assert_eq!(send(&mut publishing, id, 1).await, number);
        }
        for number in 1..=500 {
            assert_eq!(answer(&mut publishing).await, (number, Ok(())));
        }
        let again = send(&mut publishing, (NATS_MESSAGE_ID, "7"), 1).await;
        assert_eq!(answer(&mut publishing).await, (again, Ok(())));
        assert_eq!(
            publishing.places.tickets.len(),
            500,
            "places are used again"
        );
    }

    #[test]
    fn a_place_is_free_once_its_answer_came_and_not_before() {
        let mut places = Places::default();
        assert_eq!((places.take(1), places.take(2)), (0, 1));
        assert_eq!(places.free(0), Some(1));
        assert_eq!(places.free(0), None, "a second answer is nobody's");
        assert_eq!(places.free(7), None);
        assert_eq!((places.take(3), places.take(4)), (0, 2));
        assert_eq!(places.free(1), Some(2));
    }

    #[tokio::test]
    async fn a_refusal_says_what_it_means() {
        let nats = NatsServer::start().await;
        let few = Config {
            max_messages: 2,
            max_message_size: 1000,
            discard: DiscardPolicy::New,
            ..tasks()
        };
        let (_client, mut publishing) = stream(&nats, few).await;
        let only = || (NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        send(&mut publishing, only(), 1).await;
        assert!(answer(&mut publishing).await.1.is_ok());
        send(&mut publishing, only(), 1).await;
        assert_eq!(answer(&mut publishing).await.1, Err(Refusal::AlreadyThere));
        send(&mut publishing, (HeaderName::from_static("x"), "y"), 2000).await;
        let refused = answer(&mut publishing).await.1.unwrap_err();
        assert!(matches!(refused, Refusal::TooLarge(_)), "{refused:?}");
        send(&mut publishing, (HeaderName::from_static("x"), "y"), 1).await;
        assert!(answer(&mut publishing).await.1.is_ok());
        send(&mut publishing, (HeaderName::from_static("x"), "y"), 1).await;
        let refused = answer(&mut publishing).await.1.unwrap_err();
        assert!(matches!(refused, Refusal::Full(_)), "{refused:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_or_has_no_stream_is_refused() {
        let nats = NatsServer::start().await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut publishing = Publishing::open(&client).await.unwrap();
        send(&mut publishing, (HeaderName::from_static("x"), "y"), 1).await;
        let refused = answer(&mut publishing).await.1.unwrap_err();
        assert!(matches!(refused, Refusal::Passing(_)), "{refused:?}");
        let large = vec![0; client.server_info().max_payload + 1];
        let subject = Subject::from_static("task.a");
        let sent = publishing.send(9, subject, HeaderMap::new(), large.into());
        assert!(matches!(sent.await, Err(Refusal::TooLarge(_))));
    }
}
