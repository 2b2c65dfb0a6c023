//! Buckets whose keys are written by who may not erase the others.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy};

/// The stream under a key-value bucket that keeps the last value of each key for `max_age`.
///
/// As the client's own `create_key_value` makes it, but for one thing: a message may not ask to
/// replace others. With that, who may write one key can erase the whole bucket. Purging a key by
/// the client needs it; putting, creating, updating and deleting do not.
#[must_use]
pub fn bucket(name: &str, max_age: Duration) -> Config {
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_age,
        allow_rollup: false,
        deny_delete: true,
        allow_direct: true,
        num_replicas: 1,
        discard: DiscardPolicy::New,
        ..Config::default()
    }
}

/// Whether a stream was not found because there is none.
#[must_use]
pub fn is_absent(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
