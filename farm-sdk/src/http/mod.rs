//! The HTTP face of a farm function: OpenFaaS's workload contract, and the farm's own requests.

mod admit;
mod dead;
mod extract;
#[cfg(test)]
mod fuzz;
mod health;
mod jobs;
mod measure;
mod refusal;
mod submit;
mod values;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use farm_core::Role;
use farm_http::{BearerToken, Bounds, Rate, Turns};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::collector::ErasedCollector;
use crate::config::Config;
use crate::emitter::ErasedEmitter;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::runtime::Replica;
use crate::runtime::broker::Broker;
use crate::runtime::publishing::Idle;
use crate::runtime::service_times::ServiceTimes;
use crate::runtime::worker::Sums;
use crate::trace::Tracer;

use refusal::Refusal;

/// What every request is answered with.
pub(crate) struct Face {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    tracer: Tracer,
    emitter: Arc<dyn ErasedEmitter>,
    collector: Arc<dyn ErasedCollector>,
    user: Handle,
    draining: CancellationToken,
    closing: CancellationToken,
    grace_over: CancellationToken,
    broker: OnceLock<Arc<Broker>>,
    token: Option<BearerToken>,
    /// Requests that are worked on.
    turns: Turns,
    /// Requests that wait or stream.
    streams: Turns,
    rate: Option<Rate>,
    room: submit::Room,
    service_times: Arc<ServiceTimes>,
    sums: Arc<Sums>,
    publishing: Idle,
}

impl Face {
    /// # Errors
    /// The secret `farm-http-token` is there and cannot be used.
    pub fn new(replica: &Replica) -> Result<Self, Error> {
        let limits = &replica.config.http;
        Ok(Self {
            config: Arc::clone(&replica.config),
            metrics: Arc::clone(&replica.metrics),
            tracer: replica.tracer.clone(),
            emitter: Arc::clone(&replica.parts.emitter),
            collector: Arc::clone(&replica.parts.collector),
            user: replica.user.clone(),
            draining: replica.draining.clone(),
            closing: replica.closing.clone(),
            grace_over: replica.grace_over.clone(),
            broker: OnceLock::new(),
            token: admit::read_token(&replica.config)?,
            turns: Turns::new(limits.requests),
            streams: Turns::new(limits.streams),
            rate: limits.requests_per_second.map(Rate::new),
            room: submit::Room::new(),
            service_times: Arc::clone(&replica.service_times),
            sums: Arc::clone(&replica.sums),
            publishing: Idle::default(),
        })
    }

    /// From now on requests that need NATS are answered.
    pub fn ready(&self, broker: Arc<Broker>) {
        // Called once; a second broker would be ignored.
        let _ = self.broker.set(broker);
    }

    fn broker(&self) -> Result<&Arc<Broker>, Refusal> {
        self.broker
            .get()
            .ok_or_else(|| Refusal::unavailable("not connected to NATS yet"))
    }

    /// How many tasks the next message is to hold; `left` is how many there still are, if known.
    fn tasks_in_next_message(&self, left: Option<u64>) -> u32 {
        let workers = self.service_times.workers();
        self.config.granularity.tasks(&workers, left)
    }

    /// How many tasks a message of the queue holds, on average, as far as can be known: as those that
    /// came to the workers of late; else as those that were published, or computed, here.
    fn tasks_per_message(&self) -> f64 {
        let heard = self.service_times.workers().tasks_per_message;
        let known = heard
            .or_else(|| self.room.published().tasks_per_message())
            .or_else(|| self.sums.carried().tasks_per_message());
        known.unwrap_or(1.0)
    }

    /// Takes room in the queue for a message of so many tasks, or says how full it is.
    async fn take_room(&self, tasks: u32) -> Result<(), String> {
        match self.broker.get() {
            Some(broker) => {
                self.room
                    .take(tasks, self.tasks_per_message(), broker)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Whether requests need the token.
    pub fn wants_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the farm folds results into a summary.
    fn folds(&self) -> bool {
        self.collector.folds()
    }
}

/// Opens both ports; the servers end when the roles have drained and their requests are answered.
pub(crate) async fn listen(face: Arc<Face>) -> Result<TaskTracker, Error> {
    let http = bind(&face, face.config.http_port, "FARM_HTTP_PORT").await?;
    let metrics = bind(&face, face.config.metrics_port, "FARM_METRICS_PORT").await?;
    let servers = TaskTracker::new();
    let faces = [(http, function(&face)), (metrics, scrape(&face))];
    let bounds = bounds(&face.config, faces.len());
    for (listener, router) in faces {
        let closing = face.closing.clone().cancelled_owned();
        let serving = farm_http::serve(listener, router, bounds, closing);
        servers.spawn(face.grace_over.clone().run_until_cancelled_owned(serving));
    }
    servers.close();
    Ok(servers)
}

fn bounds(config: &Config, listeners: usize) -> Bounds {
    let limits = &config.http;
    Bounds {
        connections: farm_http::fitting_connections(limits.connections, listeners),
        header_bytes: usize::try_from(limits.header_bytes).unwrap_or(usize::MAX),
        header_timeout: limits.header_timeout,
        stall_timeout: limits.body_timeout,
        ..Bounds::default()
    }
}

async fn bind(face: &Face, port: u16, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind((face.config.bind_address, port))
        .await
        .map_err(|error| Error::Listen {
            farm: face.config.farm.to_string(),
            port,
            key,
            cause: error.to_string(),
        })
}

fn function(face: &Arc<Face>) -> Router {
    let root = if face.config.roles.has(Role::Emitter) {
        get(health::farm).post(submit::submit)
    } else {
        get(health::farm).post(submit::not_an_emitter)
    };
    Router::new()
        .route("/", root)
        .route("/jobs/{job}", get(jobs::status).delete(jobs::cancel))
        .route("/jobs/{job}/results", get(jobs::results))
        .route("/jobs/{job}/summary", get(jobs::summary))
        .route("/dead", get(dead::list).delete(dead::purge_all))
        .route("/dead/replay", post(dead::replay_all))
        .route("/dead/{task}", get(dead::show).delete(dead::purge))
        .route("/dead/{task}/replay", post(dead::replay))
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(middleware::from_fn_with_state(
            Arc::clone(face),
            admit::admit,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(face),
            measure::measure,
        ))
        // Probes are always answered. Health is not counted, as of-watchdog does not.
        .route("/_/health", get(health::health))
        .route("/_/ready", get(health::ready))
        // Bodies are streamed and bounded where they are read.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(face))
}

fn scrape(face: &Arc<Face>) -> Router {
    Router::new()
        .route("/metrics", get(health::metrics))
        .with_state(Arc::clone(face))
}
