//! The streams of the raw loop.

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};

use super::{Gathering, Safety};
use crate::error::Error;

pub(crate) const TASK_SUBJECT: &str = "raw.task";
const TASKS: &str = "raw-tasks";
pub(crate) const RESULTS: &str = "raw-results";
const MAX_UNACKNOWLEDGED: i64 = 100_000;

/// Makes streams and consumers.
pub(crate) async fn create(
    client: async_nats::Client,
    storage: StorageType,
    replicas: usize,
    safety: Safety,
) -> Result<(), Error> {
    let jetstream = jetstream::new(client);
    for (name, subject, retention) in [
        (TASKS, TASK_SUBJECT, RetentionPolicy::WorkQueue),
        (
            RESULTS,
            safety.once.result_subjects(),
            RetentionPolicy::Limits,
        ),
    ] {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            retention,
            storage,
            num_replicas: replicas,
            ..Config::default()
        };
        let made = jetstream.create_stream(config).await;
        made.map_err(Error::broker("create the streams of the raw loop"))?;
    }
    let acknowledged = |stream: &str, ack_policy| pull::Config {
        durable_name: Some(stream.to_owned()),
        ack_policy,
        max_ack_pending: MAX_UNACKNOWLEDGED,
        ..pull::Config::default()
    };
    let results = match safety.gathering {
        Gathering::Acknowledged => acknowledged(RESULTS, AckPolicy::All),
        Gathering::HeadersOnly => pull::Config {
            durable_name: Some(RESULTS.to_owned()),
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        },
    };
    let tasks = acknowledged(TASKS, AckPolicy::Explicit);
    for (stream, config) in [(TASKS, tasks), (RESULTS, results)] {
        let made = jetstream.create_consumer_on_stream(config, stream).await;
        made.map_err(Error::broker("create the consumers of the raw loop"))?;
    }
    Ok(())
}

pub(super) async fn tasks(client: async_nats::Client) -> Result<pull::Stream, Error> {
    messages(jetstream::new(client), TASKS).await
}

pub(super) async fn results(client: async_nats::Client) -> Result<pull::Stream, Error> {
    messages(jetstream::new(client), RESULTS).await
}

async fn messages(jetstream: Context, name: &str) -> Result<pull::Stream, Error> {
    let consumer = jetstream.get_consumer_from_stream(name, name).await;
    let consumer: Consumer<pull::Config> = consumer.map_err(Error::broker("find a consumer"))?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(super::PULL_BATCH)
        .messages()
        .await;
    messages.map_err(Error::broker("pull"))
}
