//! What the platform reports while it runs. It prints nothing itself.

use std::fmt;
use std::time::Duration;

use farm_core::gateway::LogLine;
use tokio::sync::mpsc;

/// Something that happened on the platform; [`Display`](fmt::Display) says it in one line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Something is ignored or differs from what was asked for.
    Warning(String),
    /// A crate is being compiled for these functions.
    Building {
        /// The functions that will run it.
        functions: Vec<String>,
    },
    /// A crate was compiled.
    Built {
        /// The functions that run it.
        functions: Vec<String>,
        /// How long it took.
        took: Duration,
    },
    /// The NATS server answers.
    NatsReady {
        /// Its URL, without credentials.
        url: String,
        /// Its version.
        version: String,
    },
    /// The NATS server ended by itself and is started again.
    NatsExited {
        /// How it ended.
        status: String,
        /// Delay before it is started again.
        restart_in: Duration,
    },
    /// A replica answers its health probe.
    ReplicaReady {
        /// The replica.
        instance: String,
        /// Time since its process was started.
        took: Duration,
    },
    /// A replica ended by itself, or was killed because its probe failed, and is started again.
    ReplicaFailed {
        /// The replica.
        instance: String,
        /// What happened.
        reason: String,
        /// Delay before it is started again.
        restart_in: Duration,
    },
    /// A replica was stopped on purpose.
    ReplicaStopped {
        /// The replica.
        instance: String,
        /// True if it outlived its grace period and had to be killed.
        killed: bool,
    },
    /// A function was created or changed through the gateway.
    Deployed {
        /// The function.
        function: String,
    },
    /// A function was removed through the gateway.
    Removed {
        /// The function.
        function: String,
    },
    /// A function is to have another number of replicas.
    Scaled {
        /// The function.
        function: String,
        /// Replicas asked for before.
        from: u64,
        /// Replicas asked for now.
        to: u64,
    },
    /// A replica wrote a line.
    Log(LogLine),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Warning(text) => write!(f, "warning: {text}"),
            Event::Building { functions } => write!(f, "building {}", functions.join(", ")),
            Event::Built { functions, took } => {
                write!(
                    f,
                    "built {} in {:.1} s",
                    functions.join(", "),
                    took.as_secs_f64()
                )
            }
            Event::NatsReady { url, version } => write!(f, "NATS {version} at {url}"),
            Event::NatsExited { status, restart_in } => {
                write!(
                    f,
                    "NATS server ended ({status}); starting it again in {restart_in:?}"
                )
            }
            Event::ReplicaReady { instance, took } => {
                write!(f, "{instance} ready in {:.2} s", took.as_secs_f64())
            }
            Event::ReplicaFailed {
                instance,
                reason,
                restart_in,
            } => {
                write!(
                    f,
                    "{instance} {reason}; starting it again in {restart_in:?}"
                )
            }
            Event::ReplicaStopped {
                instance,
                killed: false,
            } => write!(f, "{instance} stopped"),
            Event::ReplicaStopped {
                instance,
                killed: true,
            } => {
                write!(f, "{instance} outlived its grace period and was killed")
            }
            Event::Deployed { function } => write!(f, "{function} deployed"),
            Event::Removed { function } => write!(f, "{function} removed"),
            Event::Scaled { function, from, to } => {
                write!(f, "{function} scaled from {from} to {to}")
            }
            Event::Log(line) => write!(f, "{} | {}", line.instance, line.text),
        }
    }
}

/// Where events go: to a bounded channel, if somebody listens, and to `tracing`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter {
    listener: Option<mpsc::Sender<Event>>,
}

impl Reporter {
    pub(crate) fn new(listener: Option<mpsc::Sender<Event>>) -> Self {
        Self { listener }
    }

    /// Reports an event. A listener that does not keep up misses events; it never slows the platform.
    pub(crate) fn report(&self, event: Event) {
        match &event {
            Event::Log(line) => tracing::trace!(instance = line.instance, "{}", line.text),
            Event::Warning(_) | Event::NatsExited { .. } | Event::ReplicaFailed { .. } => {
                tracing::warn!("{event}");
            }
            _ => tracing::debug!("{event}"),
        }
        if let Some(listener) = &self.listener {
            let _ = listener.try_send(event);
        }
    }
}
