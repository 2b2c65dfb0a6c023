//! The connection to NATS, and everything of the farm that lives there.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, ErrorCode, kv};
use async_nats::{Client, ConnectOptions};
use farm_core::permissions::inbox_prefix;
use farm_core::quantity::format_duration;
use farm_core::topology::Topology;
use farm_nats::{AccessError, Failure, Link};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::runtime::streams::{self, Parts};
use crate::task_error::chain;

/// How many publishes may wait for their acknowledgement at once, over all tasks of a process.
pub(crate) const MAX_UNACKED_PUBLISHES: usize = 4096;

/// A farm on NATS: connected, with its streams in place.
pub(crate) struct Broker {
    pub topology: Topology,
    pub client: Client,
    pub jetstream: jetstream::Context,
    pub tasks: Stream,
    pub results: Stream,
    pub dead: Stream,
    pub control: Stream,
    pub workers: PullConsumer,
    pub jobs: kv::Store,
    pub lease: kv::Store,
    pub attempts: kv::Store,
    pub summaries: ObjectStore,
    pub link: Link,
}

/// A connection whose server can serve a farm.
struct Connected {
    topology: Topology,
    client: Client,
    jetstream: jetstream::Context,
    link: Link,
    give_up: Instant,
}

/// Connects within `FARM_CONNECT_TIMEOUT` and sets the farm's streams up, or finds them.
pub(crate) async fn open(config: &Config) -> Result<Broker, Error> {
    let connected = connect(config).await?;
    let parts = connected.parts(config).await?;
    let Connected {
        topology,
        client,
        jetstream,
        link,
        ..
    } = connected;
    Ok(Broker {
        topology,
        client,
        jetstream,
        tasks: parts.tasks,
        results: parts.results,
        dead: parts.dead,
        control: parts.control,
        workers: parts.workers,
        jobs: parts.jobs,
        lease: parts.lease,
        attempts: parts.attempts,
        summaries: parts.summaries,
        link,
    })
}

/// Makes the farm's streams and buckets, and what the autoscaler keeps beside them.
pub(crate) async fn set_up(config: &Config) -> Result<(), Error> {
    let connected = connect(config).await?;
    connected.parts(config).await?;
    let Connected {
        client,
        jetstream,
        link,
        give_up,
        ..
    } = connected;
    streams::autoscaler_lease(config, &jetstream, &link, give_up).await?;
    let _ = client.drain().await;
    Ok(())
}

impl Connected {
    async fn parts(&self, config: &Config) -> Result<Parts, Error> {
        let denied = self.link.denied(|denial| !streams::is_change(denial));
        tokio::select! {
            parts = self.find_parts(config) => parts,
            // A request that is denied is never answered.
            denial = denied => Err(Error::Denied {
                farm: config.farm.to_string(),
                denied: denial.to_string(),
                roles: config.roles.to_string(),
            }),
        }
    }

    async fn find_parts(&self, config: &Config) -> Result<Parts, Error> {
        self.jetstream
            .query_account()
            .await
            .map_err(|error| Error::NoJetStream {
                farm: config.farm.to_string(),
                url: config.nats.url().to_owned(),
                cause: chain(&error),
            })?;
        let (topology, jetstream) = (&self.topology, &self.jetstream);
        streams::ensure(config, topology, jetstream, &self.link, self.give_up).await
    }
}

async fn connect(config: &Config) -> Result<Connected, Error> {
    // The connection speaks TLS if the server asks for it; one provider for the whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unusable = |error: AccessError| Error::Configuration(vec![error.to_string()]);
    let access = &config.nats;
    access.warn();
    let (topology, link) = (Topology::new(config.farm.clone()), Link::new());
    let give_up = Instant::now() + config.connect_timeout;
    let mut pause = Duration::from_millis(50);
    let mut told = false;
    loop {
        let options = access.options().map_err(unusable)?;
        let options = with_manners(options, config, &topology, &link);
        let error = match options.connect(access.servers()).await {
            Ok(client) => {
                check_server(config, &client)?;
                let jetstream = ContextBuilder::new()
                    .timeout(Duration::from_secs(5))
                    .max_ack_inflight(MAX_UNACKED_PUBLISHES)
                    .build(client.clone());
                return Ok(Connected {
                    topology,
                    client,
                    jetstream,
                    link,
                    give_up,
                });
            }
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        let passing = matches!(failure, Failure::Unreachable(_));
        if !passing || Instant::now() + pause >= give_up {
            return Err(not_connected(config, failure));
        }
        if !told {
            told = true;
            tracing::warn!(
                url = access.url(),
                error = chain(&error),
                "no NATS server yet, trying again"
            );
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn with_manners(
    options: ConnectOptions,
    config: &Config,
    topology: &Topology,
    link: &Link,
) -> ConnectOptions {
    let noted = link.clone();
    options
        .name(format!("rust-farm {} {}", config.farm, config.replica))
        .custom_inbox_prefix(inbox_prefix(topology, config.roles))
        .ping_interval(Duration::from_secs(10))
        .connection_timeout(Duration::from_secs(5))
        .event_callback(move |event| {
            noted.note(&event);
            std::future::ready(())
        })
}

fn not_connected(config: &Config, failure: Failure) -> Error {
    let farm = config.farm.to_string();
    let url = config.nats.url().to_owned();
    let secret = |name: &str| config.secrets_dir.join(name).display().to_string();
    match failure {
        Failure::Refused(cause) => Error::Unauthorised {
            farm,
            url,
            cause,
            secrets: secret("farm-nats-*"),
        },
        Failure::Untrusted(cause) => Error::Untrusted {
            farm,
            url,
            cause,
            secret: secret("farm-nats-ca.pem"),
        },
        Failure::Unreachable(cause) => Error::Unreachable {
            farm,
            url,
            waited: format_duration(config.connect_timeout),
            cause,
        },
    }
}

fn check_server(config: &Config, client: &Client) -> Result<(), Error> {
    let too_old = |needs: &'static str, why: &'static str| Error::TooOld {
        farm: config.farm.to_string(),
        url: config.nats.url().to_owned(),
        found: client.server_info().version,
        needs,
        why,
    };
    if !client.is_server_compatible(2, 10, 0) {
        return Err(too_old("2.10", ""));
    }
    if config.replicas.value > 1 && !client.is_server_compatible(2, 10, 23) {
        let why = " for FARM_REPLICAS above 1, because clusters before it lost streams when servers were killed";
        return Err(too_old("2.10.23", why));
    }
    Ok(())
}

/// What a refused publish means to the farm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// The subject already has its one message.
    AlreadyThere,
    /// The stream holds as much as it may.
    Full(String),
    /// The message is larger than the server takes.
    TooLarge(String),
    /// Anything else, worth trying again.
    Passing(String),
}

pub(crate) fn refusal(error: &PublishError) -> Refusal {
    let text = chain(error);
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Refusal::AlreadyThere,
        PublishErrorKind::MaxPayloadExceeded => Refusal::TooLarge(text),
        PublishErrorKind::Other => refusal_of_text(text),
        _ => Refusal::Passing(text),
    }
}

/// The same of what a stream itself answers.
pub(crate) fn stream_refusal(error: &jetstream::Error) -> Refusal {
    match error.error_code() {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
            Refusal::AlreadyThere
        }
        _ => refusal_of_text(error.to_string()),
    }
}

fn refusal_of_text(text: String) -> Refusal {
    const FULL: [&str; 4] = [
        "maximum messages exceeded",
        "maximum bytes exceeded",
        "insufficient",
        "resource limits",
    ];
    if text.contains("message size exceeds") {
        Refusal::TooLarge(text)
    } else if FULL.iter().any(|full| text.contains(full)) {
        Refusal::Full(text)
    } else {
        Refusal::Passing(text)
    }
}
