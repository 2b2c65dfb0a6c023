//! The connection to NATS, and everything of the farm that lives there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, kv};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use farm_core::quantity::format_duration;
use farm_core::topology::Topology;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::runtime::streams;
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

/// Whether the connection stands, and how often it was made.
#[derive(Clone)]
pub(crate) struct Link {
    up: Arc<AtomicBool>,
    connections: watch::Receiver<u64>,
}

impl Link {
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Counts connections made; changes when the client has reconnected.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }
}

/// Connects within `FARM_CONNECT_TIMEOUT` and sets the farm's streams up.
pub(crate) async fn open(config: &Config) -> Result<Broker, Error> {
    let (client, link) = connect(config).await?;
    check_server(config, &client)?;
    let jetstream = ContextBuilder::new()
        .timeout(Duration::from_secs(5))
        .max_ack_inflight(MAX_UNACKED_PUBLISHES)
        .build(client.clone());
    jetstream
        .query_account()
        .await
        .map_err(|error| Error::NoJetStream {
            farm: config.farm.to_string(),
            url: printable(&config.nats_url),
            cause: chain(&error),
        })?;
    let topology = Topology::new(config.farm.clone());
    let parts = streams::ensure(config, &topology, &jetstream).await?;
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

async fn connect(config: &Config) -> Result<(Client, Link), Error> {
    // The connection speaks TLS if the server asks for it; one provider for the whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (connections, seen) = watch::channel(0);
    let up = Arc::new(AtomicBool::new(false));
    let link = Link {
        up: Arc::clone(&up),
        connections: seen,
    };
    let options = {
        let connections = Arc::new(connections);
        move || -> Result<ConnectOptions, Error> {
            let (up, connections) = (Arc::clone(&up), Arc::clone(&connections));
            Ok(credentials(config)?
                .name(format!("rust-farm {} {}", config.farm, config.replica))
                .ping_interval(Duration::from_secs(10))
                .connection_timeout(Duration::from_secs(5))
                .event_callback(move |event| {
                    note(&event, &up, &connections);
                    std::future::ready(())
                }))
        }
    };
    let give_up = Instant::now() + config.connect_timeout;
    let mut pause = Duration::from_millis(50);
    let mut told = false;
    loop {
        let error = match async_nats::connect_with_options(&config.nats_url, options()?).await {
            Ok(client) => return Ok((client, link)),
            Err(error) => error,
        };
        let farm = config.farm.to_string();
        let url = printable(&config.nats_url);
        if is_refusal(&error) {
            return Err(Error::Unauthorised {
                farm,
                url,
                cause: chain(&error),
                secrets: config.secrets_dir.join("farm-nats-*").display().to_string(),
            });
        }
        if Instant::now() + pause >= give_up || error.kind() == ConnectErrorKind::ServerParse {
            return Err(Error::Unreachable {
                farm,
                url,
                waited: format_duration(config.connect_timeout),
                cause: chain(&error),
            });
        }
        if !told {
            told = true;
            tracing::warn!(%url, error = chain(&error), "no NATS server yet, trying again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn is_refusal(error: &async_nats::ConnectError) -> bool {
    matches!(
        error.kind(),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
    ) || chain(error)
        .to_lowercase()
        .contains("authorization violation")
}

fn note(event: &Event, up: &AtomicBool, connections: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            up.store(true, Ordering::Relaxed);
            connections.send_modify(|count| *count += 1);
            tracing::debug!("connected to NATS");
        }
        Event::Disconnected => {
            up.store(false, Ordering::Relaxed);
            tracing::warn!("lost the connection to NATS, reconnecting");
        }
        Event::Draining | Event::Closed => up.store(false, Ordering::Relaxed),
        other => tracing::warn!(event = %other, "NATS"),
    }
}

/// Reads the credentials that are there: a creds file, a token, or user and password.
fn credentials(config: &Config) -> Result<ConnectOptions, Error> {
    let secret = |name: &str| read_secret(&config.secrets_dir.join(name));
    let options = ConnectOptions::new();
    if let Some(creds) = secret("farm-nats-creds")? {
        return options.credentials(&creds).map_err(|error| {
            let place = config.secrets_dir.join("farm-nats-creds");
            Error::Configuration(vec![format!("{}: {error}", place.display())])
        });
    }
    if let Some(token) = secret("farm-nats-token")? {
        return Ok(options.token(token));
    }
    match (secret("farm-nats-user")?, secret("farm-nats-password")?) {
        (Some(user), Some(password)) => Ok(options.user_and_password(user, password)),
        (None, None) => Ok(options),
        _ => Err(Error::Configuration(vec![format!(
            "{}: farm-nats-user and farm-nats-password come together",
            config.secrets_dir.display()
        )])),
    }
}

fn read_secret(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Configuration(vec![format!(
            "{}: {error}",
            path.display()
        )])),
    }
}

fn check_server(config: &Config, client: &Client) -> Result<(), Error> {
    if client.is_server_compatible(2, 10, 0) {
        return Ok(());
    }
    Err(Error::TooOld {
        farm: config.farm.to_string(),
        url: printable(&config.nats_url),
        found: client.server_info().version,
    })
}

/// The URL without user and password.
pub(crate) fn printable(url: &str) -> String {
    url.split(',')
        .map(|url| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            (_, None) => url.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// What a refused publish means to the farm.
#[derive(Debug, PartialEq)]
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
        PublishErrorKind::Other if text.contains("message size exceeds") => Refusal::TooLarge(text),
        PublishErrorKind::Other
            if text.contains("maximum messages exceeded")
                || text.contains("maximum bytes exceeded")
                || text.contains("insufficient")
                || text.contains("resource limits") =>
        {
            Refusal::Full(text)
        }
        _ => Refusal::Passing(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_printed_without_its_password() {
        assert_eq!(
            printable("nats://me:secret@a:4222,nats://b:4222"),
            "nats://a:4222,nats://b:4222"
        );
        assert_eq!(printable("me:secret@a:4222"), "a:4222");
    }
}
