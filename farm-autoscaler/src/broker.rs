//! The connection to NATS, and the few JetStream requests the autoscaler makes.

use std::time::{Duration, UNIX_EPOCH};

use async_nats::Client;
use async_nats::client::RequestErrorKind;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use farm_core::control::SlotsOrder;
use farm_core::permissions::AUTOSCALER_INBOX_PREFIX;
use farm_core::topology::Topology;
use farm_nats::{Denial, Link};
use serde::Deserialize;

use crate::clock::time_of_day;
use crate::config::Config;
use crate::error::{Error, chain};

/// How long a request to JetStream may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Why NATS did not tell what it was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BrokerError {
    /// The text stays the same while it lasts, so that it is said once.
    #[error("NATS has been unreachable since {since}")]
    Away { since: String },
    #[error("{what} is not on NATS: the farm's functions create it when they start")]
    Absent { what: String },
    #[error(
        "NATS does not let these credentials {denial}: see `farm permissions --role autoscaler`"
    )]
    Denied { denial: String },
    #[error("NATS did not {action}: {cause}")]
    Failed { action: String, cause: String },
}

/// NATS, connected or not: the client connects, and connects again, by itself.
#[derive(Clone)]
pub(crate) struct Broker {
    pub client: Client,
    pub jetstream: jetstream::Context,
    link: Link,
}

/// The queue of a farm as JetStream counts it: in messages, each of which brings one task or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Messages that wait.
    pub backlog: u64,
    /// Messages handed out and not settled.
    pub in_flight: u64,
    /// Messages submitted since the farm began.
    pub submitted: u64,
    /// Messages of them that are settled.
    pub settled: u64,
}

#[derive(Deserialize)]
struct StreamInfo {
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    last_seq: u64,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    num_pending: u64,
    num_ack_pending: u64,
}

impl Broker {
    /// Begins to connect; returns before there is a connection.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        let access = &config.nats;
        access.warn();
        let link = Link::new();
        let noted = link.clone();
        let client = access
            .options()
            .map_err(|error| Error::Configuration(vec![error.to_string()]))?
            .name(format!("rust-farm autoscaler {}", config.replica))
            .custom_inbox_prefix(AUTOSCALER_INBOX_PREFIX)
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(5))
            .connection_timeout(Duration::from_secs(5))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(100 * attempts as u64).min(Duration::from_secs(1))
            })
            .event_callback(move |event| {
                noted.note(&event);
                std::future::ready(())
            })
            .connect(access.servers())
            .await
            .map_err(|error| Error::Configuration(vec![format!("FARM_NATS_URL: {error}")]))?;
        let jetstream = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            link,
        })
    }

    /// An error if there is no connection: requests would only run into their time limit.
    pub fn check(&self) -> Result<(), BrokerError> {
        match self.link.away_since() {
            None => Ok(()),
            Some(since) => {
                let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
                let since = time_of_day(since.as_secs_f64());
                Err(BrokerError::Away { since })
            }
        }
    }

    /// Waits until NATS has denied something that `concerns` us: what is denied is never answered.
    pub async fn denied(&self, concerns: impl Fn(&Denial) -> bool) -> Denial {
        self.link.denied(concerns).await
    }

    /// The queue of a farm.
    pub async fn queue(&self, topology: &Topology) -> Result<Queue, BrokerError> {
        self.check()?;
        let stream = topology.tasks_stream();
        let (info, consumer) = tokio::try_join!(
            self.ask::<StreamInfo>(format!("STREAM.INFO.{stream}"), || format!(
                "stream {stream}"
            )),
            self.workers(&stream),
        )?;
        Ok(Queue {
            backlog: consumer.num_pending,
            in_flight: consumer.num_ack_pending,
            submitted: info.state.last_seq,
            // A work queue forgets what is settled.
            settled: info.state.last_seq.saturating_sub(info.state.messages),
        })
    }

    /// Whether there is a task that waits or is handed out: one request, for who asks often.
    pub async fn has_work(&self, topology: &Topology) -> Result<bool, BrokerError> {
        self.check()?;
        let consumer = self.workers(&topology.tasks_stream()).await?;
        Ok(consumer.num_pending > 0 || consumer.num_ack_pending > 0)
    }

    async fn workers(&self, stream: &str) -> Result<ConsumerInfo, BrokerError> {
        let workers = Topology::WORKERS_CONSUMER;
        self.ask(format!("CONSUMER.INFO.{stream}.{workers}"), || {
            format!("consumer {workers} of stream {stream}")
        })
        .await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        subject: String,
        what: impl Fn() -> String,
    ) -> Result<T, BrokerError> {
        let failed = |cause: String| BrokerError::Failed {
            action: format!("tell of {}", what()),
            cause,
        };
        // The client's own way of asking sends a body, which this part of the API refuses.
        let subject = format!("$JS.API.{subject}");
        let denied = self.denied(|denial| denial.subject == subject);
        let request = self.client.request(subject.clone(), Bytes::new());
        let answer = tokio::select! {
            biased;
            answer = request => answer,
            // A request that is denied is never answered.
            denial = denied => return Err(BrokerError::Denied { denial: denial.to_string() }),
        };
        let message = match answer {
            Ok(message) => message,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(failed(
                    "there is no JetStream: start nats-server with -js, or enable it for the account"
                        .to_owned(),
                ));
            }
            Err(error) => return Err(failed(chain(&error))),
        };
        match serde_json::from_slice(&message.payload) {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => match error.error_code() {
                ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND => {
                    Err(BrokerError::Absent { what: what() })
                }
                _ => Err(failed(error.to_string())),
            },
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The slots ordered last, if any were.
    pub async fn slots_ordered(&self, topology: &Topology) -> Result<Option<u32>, BrokerError> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind;
        self.check()?;
        let subject = topology.control_slots_subject();
        let name = topology.control_stream();
        let failed = |cause: String| BrokerError::Failed {
            action: format!("tell the last order on {subject}"),
            cause,
        };
        let stream = self
            .jetstream
            .get_stream_no_info(&name)
            .await
            .map_err(|error| failed(chain(&error)))?;
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(serde_json::from_slice::<SlotsOrder>(&message.payload)
                .ok()
                .map(|order| order.slots)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(failed(chain(&error))),
            },
        }
    }

    /// Orders slots, and returns once the order is stored for replicas to come.
    pub async fn order_slots(
        &self,
        topology: &Topology,
        order: &SlotsOrder,
    ) -> Result<(), BrokerError> {
        self.check()?;
        let subject = topology.control_slots_subject();
        let failed = |cause: String| BrokerError::Failed {
            action: format!(
                "store the order on {subject} (stream {})",
                topology.control_stream()
            ),
            cause,
        };
        let payload = serde_json::to_vec(order).map_err(|error| failed(error.to_string()))?;
        self.jetstream
            .publish(subject.clone(), Bytes::from(payload))
            .await
            .map_err(|error| failed(chain(&error)))?
            .await
            .map_err(|error| failed(chain(&error)))?;
        Ok(())
    }
}
