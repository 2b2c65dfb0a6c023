//! The farm's streams as its functions want them, and how they may differ from those that exist.

use std::time::Duration;

use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use farm_core::FarmName;
use farm_core::topology::Topology;

use crate::config::{Config, Storage};
use crate::error::Error;

pub(super) fn storage(config: &Config) -> StorageType {
    match config.storage.value {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

/// A stream as this function wants it, and which of its limits somebody asked for.
pub(super) struct Wanted {
    pub config: stream::Config,
    pub explicit: Explicit,
}

#[derive(Default)]
pub(super) struct Explicit {
    pub max_messages: bool,
    pub max_bytes: bool,
    pub max_age: bool,
    pub replicas: bool,
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

pub(super) fn task_stream(config: &Config, topology: &Topology) -> Wanted {
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

pub(super) fn result_stream(config: &Config, topology: &Topology) -> Wanted {
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

pub(super) fn dead_stream(config: &Config, topology: &Topology) -> Wanted {
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
pub(super) fn control_stream(config: &Config, topology: &Topology) -> Wanted {
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

/// What NATS does not let anyone change must already be right.
pub(super) fn check_fixed(
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
pub(super) fn adjusted(found: &stream::Config, wanted: &Wanted) -> Option<stream::Config> {
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
