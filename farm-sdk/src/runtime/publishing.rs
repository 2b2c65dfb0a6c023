//! Publishes to streams with many messages on their way at once.
//!
//! The client's own way costs an inbox, a channel and a future for every message. Here all answers
//! come to one inbox, `<inbox>.<place>`, and the place says which message each is to. One server answers
//! a message once, so a place that was answered is taken again: the server remembers who listens to a
//! subject, but only for some hundreds of subjects. In a cluster a message may be answered twice, by a
//! leader and by one that was frozen and does not know yet that it is none; so each has a place of its own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::client::PublishErrorKind;
use async_nats::header::HeaderMap;
use async_nats::jetstream;
use async_nats::{Client, Message, Statistics, StatusCode, Subject, Subscriber};
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
    /// Whether the server is one of a cluster, and of which connection that was found out.
    clustered: bool,
    connection: u64,
    statistics: Arc<Statistics>,
}

/// Whose answer comes where. A place is free only once its answer came, so that no late one is taken
/// for that of another message; the places of lost answers stay taken.
#[derive(Default)]
struct Places {
    tickets: HashMap<u64, u64>,
    free: Vec<u64>,
    last: u64,
}

impl Places {
    fn take(&mut self, ticket: u64) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        self.tickets.insert(place, ticket);
        place
    }

    /// Whose answer came. Another message may have the place if `again`.
    fn answered(&mut self, place: u64, again: bool) -> Option<u64> {
        let ticket = self.tickets.remove(&place)?;
        if again {
            self.free.push(place);
        }
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
            clustered: true,
            connection: 0,
            statistics: client.statistics(),
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
        self.note_connection();
        let place = self.places.take(ticket);
        let mut reply = String::with_capacity(self.inbox.len() + 20);
        // Writing to a string cannot fail.
        let _ = write!(reply, "{}{place}", self.inbox);
        let reply = Subject::from(reply);
        let publish = &self.client;
        let sent = publish.publish_with_reply_and_headers(subject, reply, headers, payload);
        sent.await.map_err(|error| {
            self.places.answered(place, true);
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
            let ticket = place.and_then(|place| self.places.answered(place, !self.clustered));
            if let Some(ticket) = ticket {
                return Some((ticket, read(&answer)));
            }
        }
    }

    /// Another connection may be to another server.
    fn note_connection(&mut self) {
        let connection = self.statistics.connects.load(Ordering::Relaxed);
        if connection == self.connection {
            return;
        }
        let server = self.client.server_info();
        self.connection = connection;
        // A server without JetStream of its own passes messages on to others.
        self.clustered = server.cluster.is_some() || !server.jetstream;
        if self.clustered {
            self.places.free.clear();
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
    use farm_tests::{NatsCluster, NatsServer, within};
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
        assert_eq!(publishing.places.last, 500, "places are used again");
    }

    #[test]
    fn a_place_is_free_once_its_answer_came_and_not_before() {
        let mut places = Places::default();
        assert_eq!((places.take(1), places.take(2)), (1, 2));
        assert_eq!(places.answered(1, true), Some(1));
        assert_eq!(
            places.answered(1, true),
            None,
            "a second answer is nobody's"
        );
        assert_eq!(places.answered(7, true), None);
        assert_eq!((places.take(3), places.take(4)), (1, 3));
        assert_eq!(places.answered(2, true), Some(2));
    }

    #[test]
    fn a_place_that_may_be_answered_twice_is_nobodys_afterwards() {
        let mut places = Places::default();
        let place = places.take(1);
        assert_eq!(places.answered(place, false), Some(1));
        assert_ne!(places.take(2), place);
        assert_eq!(places.answered(place, false), None);
    }

    #[tokio::test]
    async fn in_a_cluster_a_second_answer_is_not_taken_for_that_of_the_next_message() {
        let cluster = NatsCluster::start(3, 1 << 30).await;
        cluster.ready().await;
        let port = cluster.ports()[0];
        let client = async_nats::connect(format!("127.0.0.1:{port}")).await;
        let client = client.unwrap();
        let mut config = tasks();
        config.num_replicas = 3;
        let jetstream = jetstream::new(client.clone());
        jetstream.create_stream(config).await.unwrap();
        let mut publishing = Publishing::open(&client).await.unwrap();
        let first = send(&mut publishing, (NATS_MESSAGE_ID, "1"), 1).await;
        assert_eq!(answer(&mut publishing).await, (first, Ok(())));
        let second_answer = format!("{}1", publishing.inbox);
        let stored = r#"{"stream":"tasks","seq":1}"#;
        let refused = (NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "77");
        client.publish(second_answer, stored.into()).await.unwrap();
        let second = send(&mut publishing, refused, 1).await;
        let (ticket, stored) = answer(&mut publishing).await;
        assert_eq!(ticket, second);
        assert!(stored.is_err(), "{stored:?}");
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
