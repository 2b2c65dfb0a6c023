//! Creates what a farm needs on NATS, or takes it as it is, or says how it conflicts.

mod wanted;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{self, Stream};
use async_nats::jetstream::{Context, ErrorCode, kv};
use farm_core::topology::Topology;
use farm_nats::{Denial, Link, is_absent};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::config::{Config, Setting};
use crate::error::Error;
use crate::task_error::chain;
use wanted::{
    Explicit, Wanted, adjusted, check_fixed, control_stream, dead_stream, result_stream, storage,
    task_stream,
};

/// How long a collector's lease holds without being renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(6);

/// Idle pulls that may wait at the server at once: one per idle worker replica.
const MAX_WAITING_PULLS: i64 = 16_384;

/// How often to look for what somebody else is to make.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Requests that change something, without the names they end in.
const CREATE: &str = "$JS.API.STREAM.CREATE.";
const UPDATE: &str = "$JS.API.STREAM.UPDATE.";
const CONSUMER_CREATE: &str = "$JS.API.CONSUMER.CREATE.";

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

/// Finds every part of the farm, making those that are not there yet.
///
/// Who may not make them waits until `give_up` for somebody who may.
pub(crate) async fn ensure(
    config: &Config,
    topology: &Topology,
    jetstream: &Context,
    link: &Link,
    give_up: Instant,
) -> Result<Parts, Error> {
    let setup = Setup {
        config,
        jetstream,
        link,
        give_up,
    };
    let tasks = async {
        let tasks = setup.stream(task_stream(config, topology)).await?;
        let workers = setup.workers(&tasks).await?;
        Ok((tasks, workers))
    };
    // Boxed: together they are larger than what a thread's stack bears in a debug build.
    let ((tasks, workers), results, dead, control, jobs, lease, attempts, summaries) = tokio::try_join!(
        tasks.boxed(),
        setup.stream(result_stream(config, topology)).boxed(),
        setup.stream(dead_stream(config, topology)).boxed(),
        setup.stream(control_stream(config, topology)).boxed(),
        setup
            .bucket(topology.jobs_bucket(), kept_as_results(config))
            .boxed(),
        setup.bucket(topology.lease_bucket(), fixed(LEASE)).boxed(),
        setup
            .bucket(topology.attempts_bucket(), kept_as_results(config))
            .boxed(),
        setup.object_store(topology.summaries_store()).boxed(),
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

/// Makes the bucket in which autoscaler replicas agree who leads: the autoscaler itself may not,
/// where permissions are set.
pub(crate) async fn autoscaler_lease(
    config: &Config,
    jetstream: &Context,
    link: &Link,
    give_up: Instant,
) -> Result<(), Error> {
    let setup = Setup {
        config,
        jetstream,
        link,
        give_up,
    };
    let name = Topology::AUTOSCALER_LEASE_BUCKET.to_owned();
    let lease = setup.bucket(name, fixed(Topology::AUTOSCALER_LEASE));
    lease.await.map(drop)
}

fn kept_as_results(config: &Config) -> Setting<Duration> {
    config.result_ttl
}

/// An age that nobody chooses.
fn fixed(value: Duration) -> Setting<Duration> {
    Setting {
        value,
        explicit: false,
    }
}

/// What NATS sets aside for a stream when it is made, and refuses if it has not got that.
fn reserved(stream: &stream::Config) -> String {
    let (bytes, is_queue) = (
        stream.max_bytes,
        stream.retention == stream::RetentionPolicy::WorkQueue,
    );
    match is_queue && bytes > 0 {
        true => format!(" (NATS reserves FARM_QUEUE_MAX_BYTES for it: {bytes} bytes)"),
        false => String::new(),
    }
}

/// Whether what was denied is a change to the farm's parts: without it a farm that exists works.
pub(crate) fn is_change(denial: &Denial) -> bool {
    let subject = denial.subject.as_str();
    let workers = format!(".{}", Topology::WORKERS_CONSUMER);
    subject.starts_with(CREATE)
        || subject.starts_with(UPDATE)
        || (subject.starts_with(CONSUMER_CREATE) && subject.ends_with(&workers))
}

struct Setup<'a> {
    config: &'a Config,
    jetstream: &'a Context,
    link: &'a Link,
    give_up: Instant,
}

/// What came of a request to change something.
enum Change<T> {
    Made(T),
    Denied(Denial),
}

impl<'a> Setup<'a> {
    fn broker_error(&self, action: String, error: &(dyn std::error::Error + 'static)) -> Error {
        Error::Broker {
            farm: self.config.farm.to_string(),
            action,
            cause: chain(error),
        }
    }

    /// Awaits `request`, which NATS may deny on `subject` without ever answering.
    async fn change<T>(&self, subject: String, request: BoxFuture<'_, T>) -> Change<T> {
        let denied = self.link.denied(|denial| denial.subject == subject);
        tokio::select! {
            biased;
            answer = request => Change::Made(answer),
            denial = denied => Change::Denied(denial),
        }
    }

    /// Waits a little for somebody else to make `what`; an error once there is no time left.
    async fn wait_for(&self, what: &str, denial: &Denial) -> Result<(), Error> {
        if self.config.roles.is_setup() || Instant::now() + LOOK_AGAIN >= self.give_up {
            return Err(Error::NotSetUp {
                farm: self.config.farm.to_string(),
                what: what.to_owned(),
                denied: denial.to_string(),
            });
        }
        tracing::debug!(what, "waits for the farm to be set up");
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }

    async fn find(&self, name: &str) -> Result<Option<Stream>, Error> {
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.broker_error(format!("look stream {name} up"), &error)),
        }
    }

    async fn stream(&self, wanted: Wanted) -> Result<Stream, Error> {
        let name = wanted.config.name.clone();
        loop {
            if let Some(existing) = self.find(&name).await? {
                let found = existing.cached_info().config.clone();
                check_fixed(&self.config.farm, &found, &wanted.config)?;
                return match self.adjust(&found, &wanted).await? {
                    true => self
                        .find(&name)
                        .await
                        .map(|again| again.unwrap_or(existing)),
                    false => Ok(existing),
                };
            }
            let created = self.jetstream.create_stream(wanted.config.clone()).boxed();
            match self.change(format!("{CREATE}{name}"), created).await {
                Change::Made(Ok(stream)) => return Ok(stream),
                // Another replica was quicker, with settings of its own.
                Change::Made(Err(error)) if is_taken(&error) => {}
                Change::Made(Err(error)) => {
                    let action = format!("create stream {name}{}", reserved(&wanted.config));
                    return Err(self.broker_error(action, &error));
                }
                Change::Denied(denial) => self.wait_for(&format!("stream {name}"), &denial).await?,
            }
        }
    }

    /// Gives a stream that exists the limits that were asked for; tells whether it did.
    async fn adjust(&self, found: &stream::Config, wanted: &Wanted) -> Result<bool, Error> {
        let Some(config) = adjusted(found, wanted) else {
            return Ok(false);
        };
        let name = &found.name;
        let updated = self.jetstream.update_stream(config).boxed();
        match self.change(format!("{UPDATE}{name}"), updated).await {
            Change::Made(Ok(_)) => {
                tracing::info!(stream = name, "changed limits of an existing stream");
                Ok(true)
            }
            Change::Made(Err(error)) => {
                Err(self.broker_error(format!("update stream {name}"), &error))
            }
            Change::Denied(_) => {
                self.keeps_its_limits(name);
                Ok(false)
            }
        }
    }

    fn keeps_its_limits(&self, what: &str) {
        tracing::warn!(
            what,
            "keeps its limits, though these settings ask for others: these credentials may not change them; run this image once with FARM_ROLE=setup"
        );
    }

    async fn workers(&self, tasks: &Stream) -> Result<PullConsumer, Error> {
        let name = Topology::WORKERS_CONSUMER;
        let stream = tasks.cached_info().config.name.clone();
        let wanted = pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.config.ack_wait.value,
            // The SDK counts attempts: past the server's limit a task is stranded silently.
            max_deliver: -1,
            max_ack_pending: -1,
            max_waiting: MAX_WAITING_PULLS,
            ..Default::default()
        };
        loop {
            let found = tasks.get_consumer::<pull::Config>(name).await.ok();
            if let Some(found) = &found {
                let found_wait = found.cached_info().config.ack_wait;
                if !self.config.ack_wait.explicit || found_wait == wanted.ack_wait {
                    return Ok(found.clone());
                }
            }
            let created = tasks.create_consumer(wanted.clone()).boxed();
            let subject = format!("{CONSUMER_CREATE}{stream}.{name}");
            match (self.change(subject, created).await, found) {
                (Change::Made(Ok(consumer)), _) => return Ok(consumer),
                (Change::Made(Err(error)), _) => {
                    return Err(self.broker_error(format!("create consumer {name}"), &error));
                }
                (Change::Denied(_), Some(found)) => {
                    self.keeps_its_limits(&format!("consumer {name}"));
                    return Ok(found);
                }
                (Change::Denied(denial), None) => {
                    let what = format!("consumer {name} of stream {stream}");
                    self.wait_for(&what, &denial).await?;
                }
            }
        }
    }

    /// Finds the stream under a bucket with the limits that were asked for, or makes the bucket.
    async fn under<T, E: std::error::Error + 'static>(
        &self,
        stream: String,
        max_age: Setting<Duration>,
        create: impl Fn() -> BoxFuture<'a, Result<T, E>>,
    ) -> Result<(), Error> {
        loop {
            if let Some(existing) = self.find(&stream).await? {
                let found = existing.cached_info().config.clone();
                let wanted = Wanted {
                    config: stream::Config {
                        max_age: max_age.value,
                        num_replicas: self.config.replicas.value,
                        ..found.clone()
                    },
                    explicit: Explicit {
                        max_age: max_age.explicit,
                        replicas: self.config.replicas.explicit,
                        ..Explicit::default()
                    },
                };
                return self.adjust(&found, &wanted).await.map(drop);
            }
            match self.change(format!("{CREATE}{stream}"), create()).await {
                Change::Made(Ok(_)) => return Ok(()),
                // Perhaps another replica was quicker.
                Change::Made(Err(error)) if self.find(&stream).await?.is_none() => {
                    return Err(self.broker_error(format!("create {stream}"), &error));
                }
                Change::Made(Err(_)) => {}
                Change::Denied(denial) => self.wait_for(&stream, &denial).await?,
            }
        }
    }

    async fn bucket(&self, name: String, max_age: Setting<Duration>) -> Result<kv::Store, Error> {
        let config = stream::Config {
            storage: storage(self.config),
            num_replicas: self.config.replicas.value,
            ..farm_nats::bucket(&name, max_age.value)
        };
        let create = || self.jetstream.create_stream(config.clone()).boxed();
        self.under(format!("KV_{name}"), max_age, create).await?;
        let opened = self.jetstream.get_key_value(&name).await;
        opened.map_err(|error| self.broker_error(format!("open bucket {name}"), &error))
    }

    async fn object_store(&self, name: String) -> Result<ObjectStore, Error> {
        let max_age = self.config.result_ttl;
        let config = object_store::Config {
            bucket: name.clone(),
            max_age: max_age.value,
            storage: storage(self.config),
            num_replicas: self.config.replicas.value,
            ..Default::default()
        };
        let create = || self.jetstream.create_object_store(config.clone()).boxed();
        self.under(format!("OBJ_{name}"), max_age, create).await?;
        let opened = self.jetstream.get_object_store(&name).await;
        opened.map_err(|error| self.broker_error(format!("open object store {name}"), &error))
    }
}

fn is_taken(error: &async_nats::jetstream::context::CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}
