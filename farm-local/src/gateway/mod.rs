//! The gateway API of OpenFaaS, with the answers that OpenFaaS CE really gives.

mod asynchronous;
mod auth;
mod functions;
mod logs;
mod proxy;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use farm_core::gateway::{NAMESPACE, ProviderInfo, SystemInfo, VersionInfo};
use farm_http::{Bounds, Overflow};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::provider::{Provider, Refused};

pub(crate) use auth::USER;

/// Largest body of a system request.
const SYSTEM_BODY_BYTES: usize = 2 << 20;
/// How long a connection to a replica is kept for the next request: less than a function does.
const REPLICA_IDLE: Duration = Duration::from_secs(2);
/// How long streams that clients keep open hold up the end of the platform.
const CLOSES_WITHIN: Duration = Duration::from_secs(1);

/// What every request is answered with.
pub(crate) struct Gateway {
    provider: Arc<Provider>,
    password: Option<String>,
    client: Client<HttpConnector, Body>,
    /// For callbacks, which may go anywhere.
    callbacks: reqwest::Client,
    /// Asynchronous calls that wait or run.
    asynchronous: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Gateway {
    pub(crate) fn new(
        provider: Arc<Provider>,
        password: Option<&str>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            provider,
            password: password.map(str::to_owned),
            client: Client::builder(TokioExecutor::new())
                // A function closes idle connections too: never use one it may be about to close.
                .pool_idle_timeout(REPLICA_IDLE)
                .pool_timer(TokioTimer::new())
                .build_http(),
            callbacks: reqwest::Client::new(),
            asynchronous: Arc::new(Semaphore::new(asynchronous::MOST_CALLS)),
            closing,
        }
    }
}

/// Serves until `closing`.
pub(crate) async fn serve(gateway: Gateway, listener: TcpListener, closing: CancellationToken) {
    let router = router(Arc::new(gateway));
    let stopped = closing.clone().cancelled_owned();
    let over = async {
        closing.cancelled().await;
        tokio::time::sleep(CLOSES_WITHIN).await;
    };
    tokio::select! {
        () = farm_http::serve(listener, router, Bounds::default(), stopped) => {}
        () = over => {}
    }
}

fn router(gateway: Arc<Gateway>) -> Router {
    let system = Router::new()
        .route(
            "/system/functions",
            get(functions::list)
                .post(functions::create)
                .put(functions::update)
                .delete(functions::remove),
        )
        .route("/system/function/{name}", get(functions::status))
        .route("/system/scale-function/{name}", post(functions::scale))
        .route("/system/info", get(info))
        .route("/system/namespaces", get(|| async { Json([NAMESPACE]) }))
        .route("/system/logs", get(logs::logs))
        .route("/system/alert", post(|| async { StatusCode::OK }))
        .route(
            "/system/secrets",
            get(secrets::list)
                .post(secrets::create)
                .put(secrets::update)
                .delete(secrets::remove),
        )
        .layer(DefaultBodyLimit::max(SYSTEM_BODY_BYTES))
        .layer(middleware::from_fn(only_namespace))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&gateway),
            auth::require,
        ));
    Router::new()
        .merge(system)
        .route("/function/{name}", any(proxy::root))
        .route("/function/{name}/", any(proxy::root))
        .route("/function/{name}/{*path}", any(proxy::path))
        .route("/async-function/{name}", post(asynchronous::root))
        .route("/async-function/{name}/", post(asynchronous::root))
        .route("/async-function/{name}/{*path}", post(asynchronous::path))
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(admit))
        .route("/healthz", get(|| async { StatusCode::OK }))
        .with_state(gateway)
}

/// Refuses what comes over a connection too many.
async fn admit(request: Request, next: Next) -> Response {
    let overflow = request.extensions().get::<Overflow>();
    if overflow.is_some_and(|overflow| overflow.0) {
        let retry = [(header::RETRY_AFTER, "1")];
        let message = "too many connections to the gateway: try again";
        return (StatusCode::TOO_MANY_REQUESTS, retry, message).into_response();
    }
    next.run(request).await
}

#[derive(Deserialize)]
struct Scope {
    #[serde(default)]
    namespace: String,
}

/// Refuses requests for a namespace other than the one there is, in the words of faas-netes.
async fn only_namespace(Query(scope): Query<Scope>, request: Request, next: Next) -> Response {
    match scope.namespace.as_str() {
        "" | NAMESPACE => next.run(request).await,
        _ => {
            let message = format!("namespace must be: {NAMESPACE}");
            (StatusCode::BAD_REQUEST, message).into_response()
        }
    }
}

async fn info(State(_): State<Arc<Gateway>>) -> Json<SystemInfo> {
    let version = VersionInfo {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        sha: "local".to_owned(),
        ..VersionInfo::default()
    };
    Json(SystemInfo {
        provider: Some(ProviderInfo {
            name: "farm-local".to_owned(),
            version: Some(version.clone()),
            orchestration: "processes".to_owned(),
        }),
        version: Some(version),
        arch: std::env::consts::ARCH.to_owned(),
    })
}

/// The name without the namespace that `faas-cli` appends.
fn plain(name: &str) -> &str {
    name.strip_suffix(NAMESPACE)
        .and_then(|name| name.strip_suffix('.'))
        .unwrap_or(name)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Refused::Invalid(_) => StatusCode::BAD_REQUEST,
            Refused::Unknown(_) => StatusCode::NOT_FOUND,
            Refused::Exists(_) | Refused::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.to_string()).into_response()
    }
}
