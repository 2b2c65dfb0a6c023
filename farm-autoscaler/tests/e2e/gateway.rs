//! A gateway as OpenFaaS's is, as far as the autoscaler sees of it, and failing on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use farm_core::gateway::{FunctionStatus, NAMESPACE, ScaleRequest};
use farm_tests::free_port;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How the gateway fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It answers this status.
    Status(u16),
    /// It answers 200 and nonsense.
    Garbage,
    /// It takes the request and never answers.
    Hang,
}

/// What a test sets and sees.
pub struct Platform {
    pub functions: BTreeMap<String, FunctionStatus>,
    /// How every request fails.
    pub fault: Option<Fault>,
    /// How scale requests fail, of this function.
    pub scale_fault: Option<(String, Fault)>,
    /// So many scale requests are accepted without effect.
    pub lost_requests: u32,
    /// Fewest and most replicas; what is beyond is clamped without a word.
    pub replicas: (u64, u64),
    pub provider: &'static str,
    pub credentials: Option<(&'static str, &'static str)>,
    /// Scale requests that were accepted.
    pub scaled: Vec<(String, u64)>,
    /// What a client did that no gateway would bear.
    pub violations: Vec<String>,
}

type Shared = Arc<Mutex<Platform>>;

/// The gateway's HTTP server; `None` while it is gone.
pub struct Gateway {
    platform: Shared,
    port: u16,
    server: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Gateway {
    pub async fn start() -> Self {
        let platform = Platform {
            functions: BTreeMap::new(),
            fault: None,
            scale_fault: None,
            lost_requests: 0,
            replicas: (0, 1_000),
            provider: "a-provider",
            credentials: None,
            scaled: Vec::new(),
            violations: Vec::new(),
        };
        let mut gateway = Self {
            platform: Arc::new(Mutex::new(platform)),
            port: free_port(),
            server: None,
        };
        gateway.come_back().await;
        gateway
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn platform(&self) -> MutexGuard<'_, Platform> {
        lock(&self.platform)
    }

    /// A second hand on the platform, for the workers.
    pub fn shared(&self) -> Shared {
        Arc::clone(&self.platform)
    }

    /// Deploys a function with one replica.
    pub fn deploy(&self, name: &str, annotations: &[(&str, &str)]) {
        let annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let status = FunctionStatus {
            name: name.to_owned(),
            image: format!("{name}:1"),
            namespace: NAMESPACE.to_owned(),
            annotations: Some(annotations.collect()),
            replicas: 1,
            available_replicas: 1,
            ..FunctionStatus::default()
        };
        self.platform().functions.insert(name.to_owned(), status);
    }

    pub fn replicas(&self, function: &str) -> u64 {
        self.platform().functions[function].replicas
    }

    /// Has so many replicas all of a sudden, whatever was asked for.
    pub fn set_replicas(&self, function: &str, replicas: u64) {
        let mut platform = self.platform();
        let status = platform.functions.get_mut(function);
        status.expect("it is deployed").replicas = replicas;
    }

    /// Closes its port, and every connection that is not in use.
    pub async fn go(&mut self) {
        let (stop, server) = self.server.take().expect("it is there");
        stop.cancel();
        server.await.expect("the server ends");
    }

    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port))
            .await
            .expect("its port is free");
        let router = router(&self.platform);
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopped)
                .await
                .expect("the server serves");
        });
        self.server = Some((stop, server));
    }
}

pub fn lock(platform: &Shared) -> MutexGuard<'_, Platform> {
    platform.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(platform: &Shared) -> Router {
    Router::new()
        .route("/system/functions", get(list))
        .route("/system/function/{name}", get(status))
        .route("/system/scale-function/{name}", post(scale))
        .route("/system/info", get(info))
        .layer(middleware::from_fn_with_state(Arc::clone(platform), front))
        .with_state(Arc::clone(platform))
}

async fn front(State(platform): State<Shared>, request: Request, next: Next) -> Response {
    let (fault, allowed) = {
        let platform = lock(&platform);
        let scaled = request.uri().path().strip_prefix("/system/scale-function/");
        let scale_fault = platform
            .scale_fault
            .as_ref()
            .filter(|(function, _)| scaled == Some(function))
            .map(|(_, fault)| *fault);
        let credentials = platform.credentials;
        let allowed = credentials.is_none_or(|pair| is_allowed(request.headers(), pair));
        (platform.fault.or(scale_fault), allowed)
    };
    match fault {
        _ if !allowed => (StatusCode::UNAUTHORIZED, "invalid credentials").into_response(),
        None => next.run(request).await,
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, "something went wrong").into_response()
        }
        Some(Fault::Garbage) => "<html>Welcome to the wifi of this hotel".into_response(),
        Some(Fault::Hang) => std::future::pending().await,
    }
}

fn is_allowed(headers: &HeaderMap, (user, password): (&str, &str)) -> bool {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let given = headers.get(header::AUTHORIZATION);
    given.is_some_and(|given| given.as_bytes() == format!("Basic {encoded}").as_bytes())
}

#[derive(serde::Deserialize)]
struct Namespace {
    #[serde(default)]
    namespace: String,
}

async fn list(State(platform): State<Shared>) -> Response {
    let platform = lock(&platform);
    let functions: Vec<_> = platform.functions.values().collect();
    axum::Json(functions).into_response()
}

async fn status(State(platform): State<Shared>, Path(name): Path<String>) -> Response {
    match lock(&platform).functions.get(&name) {
        Some(status) => axum::Json(status).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// As gateway and faas-netes CE do it, and strict about what faasd needs.
async fn scale(
    State(platform): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<Namespace>,
    body: Bytes,
) -> Response {
    let mut platform = lock(&platform);
    let request: ScaleRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    if request.service_name != name
        || request.namespace != NAMESPACE
        || query.namespace != NAMESPACE
    {
        let violation = format!("{name} in {:?}: {request:?}", query.namespace);
        platform.violations.push(violation);
    }
    let (least, most) = platform.replicas;
    let lost = platform.lost_requests > 0;
    platform.lost_requests = platform.lost_requests.saturating_sub(1);
    let Some(function) = platform.functions.get_mut(&name) else {
        let unknown = format!("unable to find function {name}");
        return (StatusCode::INTERNAL_SERVER_ERROR, unknown).into_response();
    };
    if !lost {
        function.replicas = request.replicas.clamp(least, most);
        function.available_replicas = function.available_replicas.min(function.replicas);
    }
    platform.scaled.push((name, request.replicas));
    StatusCode::ACCEPTED.into_response()
}

async fn info(State(platform): State<Shared>) -> Response {
    let provider = lock(&platform).provider;
    axum::Json(json!({
        "provider": {"provider": provider, "version": {"sha": "s", "release": "0.18.17"},
                     "orchestration": "kubernetes"},
        "version": {"sha": "t", "release": "0.27.13"}, "arch": "x86_64"
    }))
    .into_response()
}
