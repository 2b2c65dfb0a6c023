//! What runs around the user's functions: one replica, from its configuration to its last drain.

pub(crate) mod broker;
pub(crate) mod collector;
pub(crate) mod dead_letter;
pub(crate) mod jobs;
pub(crate) mod outcomes;
pub(crate) mod place;
pub(crate) mod publishing;
pub(crate) mod pull;
pub(crate) mod reading;
pub(crate) mod service_times;
pub(crate) mod streams;
pub(crate) mod task_name;
pub(crate) mod worker;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use farm_core::Role;
use farm_core::control::MAX_SLOTS;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config, LogFormat};
use crate::error::Error;
use crate::farm::Parts;
use crate::http::{self, Face};
use crate::metrics::Metrics;
use crate::task_error::BoxError;
use crate::trace::Tracer;
use crate::worker::ErasedWorker;

use broker::Broker;
use collector::CollectorRole;
use service_times::ServiceTimes;
use worker::{Sums, WorkerRole};

/// Plays the configured roles until the platform says stop.
///
/// The connection, the heartbeats and the HTTP face run on a runtime of their own, so that user
/// code that blocks the caller's runtime cannot make the farm believe this replica is lost.
pub(crate) async fn run(
    parts: Parts,
    init: impl Future<Output = Result<Arc<dyn ErasedWorker>, BoxError>>,
) -> Result<(), Error> {
    let started = Instant::now();
    let config = Arc::new(Config::from_environment()?);
    start_logging(&config);
    for key in config::unknown_keys(std::env::vars().map(|(key, _)| key)) {
        tracing::warn!(key, "no such setting; misspelt?");
    }
    // One TLS provider for NATS, callbacks and traces; an application that chose one keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        // Plain functions run on its blocking threads, one each, beside its own needs.
        .max_blocking_threads(MAX_SLOTS as usize + 512)
        .thread_name("farm")
        .enable_all()
        .build()
        .map_err(|error| Error::Runtime(error.to_string()))?;
    let served = if config.roles.is_setup() {
        set_up(&config, io.handle()).await
    } else {
        serve(&config, parts, init, io.handle(), started).await
    };
    io.shutdown_background();
    served
}

/// Makes what the farm needs on NATS, and ends: for an administrator, where functions may not.
async fn set_up(config: &Arc<Config>, io: &Handle) -> Result<(), Error> {
    let setting_up = Arc::clone(config);
    on(io, async move { broker::set_up(&setting_up).await }).await??;
    tracing::info!(farm = %config.farm, "the farm is set up");
    Ok(())
}

/// Runs a future of ours on the I/O runtime.
async fn on<T: Send + 'static>(
    io: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let joined = io.spawn(future).await;
    joined.map_err(|error| Error::Runtime(error.to_string()))
}

async fn serve(
    config: &Arc<Config>,
    parts: Parts,
    init: impl Future<Output = Result<Arc<dyn ErasedWorker>, BoxError>>,
    io: &Handle,
    started: Instant,
) -> Result<(), Error> {
    let mut stop = on(io, async { Stop::listen() }).await??;
    let for_tracer = Arc::clone(config);
    // The exporter's blocking client must not be built on an async thread.
    let tracer = io
        .spawn_blocking(move || Tracer::start(&for_tracer))
        .await
        .map_err(|error| Error::Runtime(error.to_string()))?
        .map_err(|error| Error::Configuration(vec![format!("OTEL_EXPORTER_OTLP_*: {error}")]))?;
    let metrics = Arc::new(Metrics::new(config));
    let replica = Replica {
        started,
        draining: CancellationToken::new(),
        closing: CancellationToken::new(),
        grace_over: CancellationToken::new(),
        config: Arc::clone(config),
        user: Handle::current(),
        metrics,
        tracer,
        parts,
        service_times: Arc::default(),
        sums: Arc::new(Sums::new(&config.replica, config.function.clone())),
    };
    let face = Arc::new(Face::new(&replica)?);
    let servers = on(io, http::listen(Arc::clone(&face))).await??;
    let opening = Arc::clone(config);
    let starting = async {
        let broker = on(io, async move { broker::open(&opening).await }).await??;
        let worker = match config.roles.has(Role::Worker) {
            true => Some(init.await.map_err(|cause| Error::Init {
                farm: config.farm.to_string(),
                cause,
            })?),
            false => None,
        };
        Ok::<_, Error>((Arc::new(broker), worker))
    };
    let (broker, worker) = tokio::select! {
        started = starting => started?,
        signal = stop.wait() => {
            tracing::info!(signal, "told to stop before there was anything to drain");
            return Ok(());
        }
    };
    face.ready(Arc::clone(&broker));
    let cold_start = started.elapsed();
    replica.metrics.cold_start(cold_start);
    tracing::info!(
        farm = %config.farm, roles = %config.roles, replica = config.replica,
        version = env!("CARGO_PKG_VERSION"), token = face.wants_token(),
        cold_start_seconds = cold_start.as_secs_f64(), "ready"
    );
    on(io, replica.play(broker, worker, servers, stop)).await?
}

/// One replica and what its roles share.
pub(crate) struct Replica {
    pub started: Instant,
    pub config: Arc<Config>,
    pub user: Handle,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    pub parts: Parts,
    pub service_times: Arc<ServiceTimes>,
    /// What it computed itself, if it is a worker.
    pub sums: Arc<Sums>,
    pub draining: CancellationToken,
    /// Cancelled when the roles are done and the HTTP face is to close.
    pub closing: CancellationToken,
    pub grace_over: CancellationToken,
}

impl Replica {
    async fn play(
        self,
        broker: Arc<Broker>,
        worker: Option<Arc<dyn ErasedWorker>>,
        servers: TaskTracker,
        mut stop: Stop,
    ) -> Result<(), Error> {
        let roles = TaskTracker::new();
        if let Some(worker) = worker {
            self.start_worker(&roles, &broker, worker);
        }
        if self.config.roles.has(Role::Collector) {
            self.start_collector(&roles, &broker)?;
        }
        // Of a worker there may be many, and it has its own tasks to judge by.
        let roles_that_listen = [Role::Emitter, Role::Collector];
        if roles_that_listen
            .into_iter()
            .any(|role| self.config.roles.has(role))
        {
            self.listen_to_workers(&broker);
        }
        let signal = stop.wait().await;
        tracing::info!(
            signal,
            grace_seconds = self.config.grace_period.as_secs_f64(),
            "draining"
        );
        self.draining.cancel();
        roles.close();
        let all = async {
            roles.wait().await;
            // Until now probes could be answered: alive, but not ready.
            self.closing.cancel();
            servers.wait().await;
        };
        tokio::pin!(all);
        let in_grace = tokio::select! {
            () = &mut all => true,
            () = tokio::time::sleep(self.config.grace_period) => false,
        };
        if !in_grace {
            tracing::warn!("the grace period is over: handing back what is not finished");
            self.grace_over.cancel();
            // Handing back is quick; what does not even manage that is left to the ack wait.
            let _ = tokio::time::timeout(Duration::from_secs(1), all).await;
        }
        // Closing does not wait for what is still to be written, and those may be hand-backs.
        let _ = tokio::time::timeout(Duration::from_secs(1), broker.client.flush()).await;
        if let Err(error) = broker.client.drain().await {
            tracing::debug!(%error, "the connection to NATS was not closed in order");
        }
        let tracer = self.tracer.clone();
        let _ = tokio::task::spawn_blocking(move || tracer.stop()).await;
        if !in_grace {
            // A plain function that still computes cannot be stopped, and would keep the process
            // until the platform kills it. Its task is handed back.
            std::process::exit(0);
        }
        Ok(())
    }

    fn start_worker(
        &self,
        roles: &TaskTracker,
        broker: &Arc<Broker>,
        worker: Arc<dyn ErasedWorker>,
    ) {
        let role = Arc::new(WorkerRole {
            config: Arc::clone(&self.config),
            broker: Arc::clone(broker),
            worker,
            user: self.user.clone(),
            threads: Handle::current(),
            slots: watch::Sender::new(self.config.slots),
            sums: Arc::clone(&self.sums),
            started: self.started,
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
            draining: self.draining.clone(),
            grace_over: self.grace_over.clone(),
        });
        roles.spawn(async move {
            if let Err(error) = worker::run(role).await {
                tracing::error!(%error, "the worker stopped");
            }
        });
    }

    fn listen_to_workers(&self, broker: &Arc<Broker>) {
        let (times, broker) = (Arc::clone(&self.service_times), Arc::clone(broker));
        let config = Arc::clone(&self.config);
        let listening = async move { service_times::listen(&times, &broker, &config).await };
        tokio::spawn(self.draining.clone().run_until_cancelled_owned(listening));
    }

    fn start_collector(&self, roles: &TaskTracker, broker: &Arc<Broker>) -> Result<(), Error> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::Runtime(error.to_string()))?;
        let role = Arc::new(CollectorRole {
            config: Arc::clone(&self.config),
            broker: Arc::clone(broker),
            collector: Arc::clone(&self.parts.collector),
            user: self.user.clone(),
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
            draining: self.draining.clone(),
            http,
            folds: Semaphore::new(collector::FOLDS),
            callbacks: Semaphore::new(collector::CALLBACKS),
        });
        roles.spawn(collector::run(role));
        Ok(())
    }
}

/// The signals by which a platform stops a replica.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Runtime(error.to_string()));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Logs to stderr unless the application has set a subscriber of its own.
fn start_logging(config: &Config) {
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;
    let of_client: Vec<_> = config
        .log
        .iter()
        .filter(|(target, _)| target.starts_with("async_nats"))
        .map(|(target, level)| (target.to_owned(), level))
        .collect();
    let mut filter = config.log.clone();
    if of_client.is_empty() {
        // The client's own events repeat what the farm logs of the connection.
        filter = filter.with_target("async_nats", LevelFilter::OFF);
    }
    for (target, level) in of_client {
        // Its trace shows whole messages: tasks, and the callback URLs of jobs.
        filter = filter.with_target(target, level.min(LevelFilter::DEBUG));
    }
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // An error only says that there is a subscriber already.
    let _ = match config.log_format {
        LogFormat::Json => registry.with(lines.json()).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
    };
}
