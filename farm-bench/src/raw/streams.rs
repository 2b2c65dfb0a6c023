//! The streams of the raw loop.

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};

use crate::error::Error;

pub(crate) const TASK_SUBJECT: &str = "raw.task";
pub(super) const RESULT_SUBJECT: &str = "raw.result";
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
const TASKS: &str = "raw-tasks";
pub(crate) const RESULTS: &str = "raw-results";
const MAX_UNACKNOWLEDGED: i64 = 100_000;

/// Makes streams and consumers.
pub(crate) async fn create(client: async_nats::Client, storage: StorageType) -> Result<(), Error> {
    let jetstream = jetstream::new(client);
    for (name, subject, retention) in [
        (TASKS, TASK_SUBJECT, RetentionPolicy::WorkQueue),
        (RESULTS, RESULT_SUBJECT, RetentionPolicy::Limits),
    ] {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            retention,
            storage,
            ..Config::default()
        };
        let made = jetstream.create_stream(config).await;
        made.map_err(Error::broker("create the streams of the raw loop"))?;
    }
    for (stream, ack_policy) in [(TASKS, AckPolicy::Explicit), (RESULTS, AckPolicy::All)] {
        let config = pull::Config {
            durable_name: Some(stream.to_owned()),
            ack_policy,
            max_ack_pending: MAX_UNACKNOWLEDGED,
            ..pull::Config::default()
        };
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
