//! The HTTP face: OpenFaaS's workload contract, the live page and what feeds it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` and `app.js`, `style.css`, ... | the live page |
//! | `GET /farms` | all farms with their decisions of late, JSON |
//! | `GET /farms/{farm}` | what the policy of one farm saw last, JSON; see `farm.rs` |
//! | `POST /farms/{farm}/order` | scales a farm of the policy `external` |
//! | `GET /events` | the same, live: server-sent events |
//! | `GET /_/health` | 200 while the process lives |
//! | `GET /_/ready` | 200 while NATS and the gateway answer |
//! | `GET /metrics` on the metrics port | Prometheus |

mod events;
mod farm;
mod farms;
mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use farm_http::{Bounds, Overflow, Turns};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::error::Error;
use crate::shared::Shared;

/// Streams that may be open at once.
const MAX_STREAMS: usize = 64;
/// Requests that may be worked on at once: those of all streams, and as many others.
const MAX_REQUESTS: usize = 2 * MAX_STREAMS;
/// Connections that may be open at once.
const MAX_CONNECTIONS: usize = 512;

/// What requests are answered with.
pub(crate) struct Face {
    shared: Arc<Shared>,
    streams: Arc<Semaphore>,
    turns: Turns,
    farms: farms::Snapshots,
    stopping: CancellationToken,
}

/// Both ports, taken before anything else is done.
pub(crate) struct Ports {
    http: TcpListener,
    metrics: TcpListener,
}

impl Ports {
    pub async fn take(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            http: bind(config, config.http_port, "FARM_HTTP_PORT").await?,
            metrics: bind(config, config.metrics_port, "FARM_METRICS_PORT").await?,
        })
    }

    /// Answers requests until `stopping`; the servers are run by `servers`.
    pub fn serve(self, shared: Arc<Shared>, servers: &TaskTracker, stopping: &CancellationToken) {
        let face = Arc::new(Face {
            shared,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            turns: Turns::new(MAX_REQUESTS),
            farms: farms::Snapshots::default(),
            stopping: stopping.clone(),
        });
        let routers = [(self.http, function(&face)), (self.metrics, scrape(&face))];
        for (listener, router) in routers {
            let bounds = Bounds {
                connections: MAX_CONNECTIONS,
                ..Bounds::default()
            };
            let stopped = stopping.clone().cancelled_owned();
            servers.spawn(farm_http::serve(listener, router, bounds, stopped));
        }
    }
}

async fn bind(config: &Config, port: u16, key: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind((config.bind_address, port))
        .await
        .map_err(|error| Error::Listen {
            port,
            key,
            cause: error.to_string(),
        })
}

fn function(face: &Arc<Face>) -> Router {
    page::routes()
        .route("/farms", get(farms::answer))
        .route("/farms/{farm}", get(farm::show))
        .route("/farms/{farm}/order", post(farm::order))
        .route("/events", get(events::stream))
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(Arc::clone(face), admit))
        // Probes are always answered.
        .route("/_/health", get(|| async { "OK" }))
        .route("/_/ready", get(ready))
        .layer(middleware::from_fn(protect))
        .with_state(Arc::clone(face))
}

fn scrape(face: &Arc<Face>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(face))
}

/// Refuses what is too much at once.
async fn admit(State(face): State<Arc<Face>>, request: Request, next: Next) -> Response {
    let overflow = request.extensions().get::<Overflow>();
    let room = overflow.is_none_or(|overflow| !overflow.0);
    let Some(_turn) = face.turns.take().filter(|_| room) else {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "1")],
            "too many requests at once: try again\n",
        )
            .into_response();
    };
    next.run(request).await
}

async fn ready(State(face): State<Arc<Face>>) -> Response {
    match face.shared.unready() {
        None => "OK".into_response(),
        Some(cause) => (StatusCode::SERVICE_UNAVAILABLE, cause).into_response(),
    }
}

async fn metrics(State(face): State<Arc<Face>>) -> Response {
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], face.shared.metrics.render()).into_response()
}

async fn no_such_path() -> Response {
    (
        StatusCode::NOT_FOUND,
        "no such path: the page is at /, its data at /farms and /events\n",
    )
        .into_response()
}

/// The page needs nothing from elsewhere, and is to be shown nowhere else.
async fn protect(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, page::SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
