//! Creates what a farm needs on NATS, or takes it as it is, or says how it conflicts.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode, kv};
use farm_core::FarmName;
use farm_core::topology::Topology;

use crate::config::{Config, Storage};
use crate::error::Error;
use crate::task_error::chain;

/// How long a collector's lease holds without being renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

/// Idle pulls that may wait at the server at once: one per idle worker replica.
const MAX_WAITING_PULLS: i64 = 16_384;

pub(crate) struct Parts {
    pub tasks: Stream,
    pub results: Stream,
    pub dead: Stream,
    pub control: Stream,
    pub workers: PullConsumer,
    pub jobs: kv::Store,
    pub lease: kv::Store,
    pub attempts: kv::Store,
    pub summaries: ObjectStore,
}

pub(crate) async fn ensure(
    config: &Config,
    topology: &Topology,
    jetstream: &Context,
) -> Result<Parts, Error> {
    let setup = Setup { config, jetstream };
    let tasks = async {
        let tasks = setup.stream(task_stream(config, topology)).await?;
        let workers = setup.workers(&tasks).await?;
        Ok((tasks, workers))
    };
    let ((tasks, workers), results, dead, control, jobs, lease, attempts, summaries) = tokio::try_join!(
        tasks,
        setup.stream(result_stream(config, topology)),
        setup.stream(dead_stream(config, topology)),
        setup.stream(control_stream(config, topology)),
        setup.bucket(topology.jobs_bucket(), config.result_ttl.value),
        setup.bucket(topology.lease_bucket(), LEASE),
        setup.bucket(topology.attempts_bucket(), config.result_ttl.value),
        setup.object_store(topology.summaries_store()),
    )?;
    Ok(Parts {
        tasks,
        results,
        dead,
        control,
        workers,
        jobs,
        lease,
        attempts,
        summaries,
    })
}

fn storage(config: &Config) -> StorageType {
    match config.storage.value {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

/// A stream as this function wants it, and which of its limits somebody asked for.
struct Wanted {
    config: stream::Config,
    explicit: Explicit,
}

#[derive(Default)]
struct Explicit {
    max_messages: bool,
    max_bytes: bool,
    max_age: bool,
    replicas: bool,
}

fn base(config: &Config, name: String, subject: String) -> stream::Config {
    stream::Config {
        name,
        subjects: vec![subject],
        storage: storage(config),
        num_replicas: config.replicas.value,
        discard: DiscardPolicy::New,
        allow_direct: true,
        ..Default::default()
    }
}

fn task_stream(config: &Config, topology: &Topology) -> Wanted {
    Wanted {
        config: stream::Config {
            retention: RetentionPolicy::WorkQueue,
            max_messages: config.queue_max_tasks.value,
            max_bytes: config.queue_max_bytes.value,
            duplicate_window: Duration::from_secs(120),
            description: Some("Tasks nobody has finished".to_owned()),
            ..base(config, topology.tasks_stream(), topology.task_wildcard())
        },
        explicit: Explicit {
            max_messages: config.queue_max_tasks.explicit,
            max_bytes: config.queue_max_bytes.explicit,
            replicas: config.replicas.explicit,
            ..Explicit::default()
        },
    }
}

fn result_stream(config: &Config, topology: &Topology) -> Wanted {
    Wanted {
        config: stream::Config {
            max_age: config.result_ttl.value,
            description: Some("The one outcome of every task".to_owned()),
            ..base(
                config,
                topology.results_stream(),
                topology.result_wildcard(),
            )
        },
        explicit: Explicit {
            max_age: config.result_ttl.explicit,
            replicas: config.replicas.explicit,
            ..Explicit::default()
        },
    }
}

fn dead_stream(config: &Config, topology: &Topology) -> Wanted {
    Wanted {
        config: stream::Config {
            description: Some("Tasks that failed for good".to_owned()),
            ..base(config, topology.dead_stream(), topology.dead_wildcard())
        },
        explicit: Explicit {
            replicas: config.replicas.explicit,
            ..Explicit::default()
        },
    }
}

/// An order is some dozen bytes long, and only the last of each kind is kept.
fn control_stream(config: &Config, topology: &Topology) -> Wanted {
    Wanted {
        config: stream::Config {
            max_messages_per_subject: 1,
            max_message_size: 4 << 10,
            max_bytes: 64 << 10,
            discard: DiscardPolicy::Old,
            description: Some("The last order of each kind to the workers".to_owned()),
            ..base(
                config,
                topology.control_stream(),
                topology.control_wildcard(),
            )
        },
        explicit: Explicit {
            replicas: config.replicas.explicit,
            ..Explicit::default()
        },
    }
}

struct Setup<'a> {
    config: &'a Config,
    jetstream: &'a Context,
}

impl Setup<'_> {
    fn broker_error(&self, action: String, error: &(dyn std::error::Error + 'static)) -> Error {
        Error::Broker {
            farm: self.config.farm.to_string(),
            action,
            cause: chain(error),
        }
    }

    async fn stream(&self, wanted: Wanted) -> Result<Stream, Error> {
        let name = wanted.config.name.clone();
        let existing = match self.jetstream.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) if is_absent(&error) => {
                return match self.jetstream.create_stream(wanted.config.clone()).await {
                    Ok(stream) => Ok(stream),
                    // Another replica was quicker, with settings of its own.
                    Err(error) if is_taken(&error) => Box::pin(self.stream(wanted)).await,
                    Err(error) => Err(self.broker_error(format!("create stream {name}"), &error)),
                };
            }
            Err(error) => return Err(self.broker_error(format!("look stream {name} up"), &error)),
        };
        let found = existing.cached_info().config.clone();
        check_fixed(&self.config.farm, &found, &wanted.config)?;
        match adjusted(&found, &wanted) {
            None => Ok(existing),
            Some(config) => {
                tracing::info!(stream = name, "changing limits of an existing stream");
                self.jetstream
                    .update_stream(config)
                    .await
                    .map_err(|error| self.broker_error(format!("update stream {name}"), &error))?;
                self.jetstream
                    .get_stream(&name)
                    .await
                    .map_err(|error| self.broker_error(format!("look stream {name} up"), &error))
            }
        }
    }

    async fn workers(&self, tasks: &Stream) -> Result<PullConsumer, Error> {
        let name = Topology::WORKERS_CONSUMER;
        let mut wanted = pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.config.ack_wait.value,
            // The SDK counts attempts: past the server's limit a task is stranded silently.
            max_deliver: -1,
            max_ack_pending: -1,
            max_waiting: MAX_WAITING_PULLS,
            ..Default::default()
        };
        if let Ok(found) = tasks.get_consumer::<pull::Config>(name).await {
            let found_wait = found.cached_info().config.ack_wait;
            if !self.config.ack_wait.explicit || found_wait == wanted.ack_wait {
                return Ok(found);
            }
            wanted.ack_wait = self.config.ack_wait.value;
        }
        tasks
            .create_consumer(wanted)
            .await
            .map_err(|error| self.broker_error(format!("create consumer {name}"), &error))
    }

    async fn bucket(&self, name: String, max_age: Duration) -> Result<kv::Store, Error> {
        if let Ok(store) = self.jetstream.get_key_value(&name).await {
            self.adjust(&format!("KV_{name}"), max_age).await?;
            return Ok(store);
        }
        let config = kv::Config {
            bucket: name.clone(),
            max_age,
            storage: storage(self.config),
            num_replicas: self.config.replicas.value,
            ..Default::default()
        };
        match self.jetstream.create_key_value(config).await {
            Ok(store) => Ok(store),
            Err(error) => match self.jetstream.get_key_value(&name).await {
                Ok(store) => Ok(store),
                Err(_) => Err(self.broker_error(format!("create bucket {name}"), &error)),
            },
        }
    }

    /// Gives the stream under a bucket the limits that were asked for.
    async fn adjust(&self, stream: &str, max_age: Duration) -> Result<(), Error> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            self.broker_error(format!("update {stream}"), error)
        };
        let found = self
            .jetstream
            .get_stream(stream)
            .await
            .map_err(|e| failed(&e))?;
        let found = found.cached_info().config.clone();
        let wanted = Wanted {
            config: stream::Config {
                max_age,
                num_replicas: self.config.replicas.value,
                ..found.clone()
            },
            explicit: Explicit {
                max_age: self.config.result_ttl.explicit,
                replicas: self.config.replicas.explicit,
                ..Explicit::default()
            },
        };
        if let Some(config) = adjusted(&found, &wanted) {
            self.jetstream
                .update_stream(config)
                .await
                .map_err(|e| failed(&e))?;
        }
        Ok(())
    }

    async fn object_store(&self, name: String) -> Result<ObjectStore, Error> {
        if let Ok(store) = self.jetstream.get_object_store(&name).await {
            let max_age = self.config.result_ttl.value;
            self.adjust(&format!("OBJ_{name}"), max_age).await?;
            return Ok(store);
        }
        let config = object_store::Config {
            bucket: name.clone(),
            max_age: self.config.result_ttl.value,
            storage: storage(self.config),
            num_replicas: self.config.replicas.value,
            ..Default::default()
        };
        match self.jetstream.create_object_store(config).await {
            Ok(store) => Ok(store),
            Err(error) => match self.jetstream.get_object_store(&name).await {
                Ok(store) => Ok(store),
                Err(_) => Err(self.broker_error(format!("create object store {name}"), &error)),
            },
        }
    }
}

fn is_absent(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_taken(error: &async_nats::jetstream::context::CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// What NATS does not let anyone change must already be right.
fn check_fixed(
    farm: &FarmName,
    found: &stream::Config,
    wanted: &stream::Config,
) -> Result<(), Error> {
    let fields = [
        (
            "retention",
            format!("{:?}", found.retention),
            format!("{:?}", wanted.retention),
        ),
        (
            "storage",
            format!("{:?}", found.storage),
            format!("{:?}", wanted.storage),
        ),
        (
            "subjects",
            found.subjects.join(","),
            wanted.subjects.join(","),
        ),
        (
            "discard policy",
            format!("{:?}", found.discard),
            format!("{:?}", wanted.discard),
        ),
    ];
    match fields
        .into_iter()
        .find(|(_, found, wanted)| found != wanted)
    {
        None => Ok(()),
        Some((field, is, should)) => Err(Error::Conflict {
            farm: farm.to_string(),
            what: format!("stream {}", wanted.name),
            field,
            found: is,
            wanted: should,
        }),
    }
}

/// The existing configuration with the limits that were asked for, if any of them differs.
fn adjusted(found: &stream::Config, wanted: &Wanted) -> Option<stream::Config> {
    let mut config = found.clone();
    let Wanted {
        config: want,
        explicit,
    } = wanted;
    if explicit.max_messages {
        config.max_messages = want.max_messages;
    }
    if explicit.max_bytes {
        config.max_bytes = want.max_bytes;
    }
    if explicit.max_age {
        config.max_age = want.max_age;
    }
    if explicit.replicas {
        config.num_replicas = want.num_replicas;
    }
    let changed = config.max_messages != found.max_messages
        || config.max_bytes != found.max_bytes
        || config.max_age != found.max_age
        || config.num_replicas != found.num_replicas;
    changed.then_some(config)
}
