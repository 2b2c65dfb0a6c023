//! A gateway with one farm function, `sleeper`, that keeps its jobs in memory and misbehaves on
//! demand. Its other function, `hello`, is no farm.

mod dead;
mod jobs;
mod submit;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, extract::DefaultBodyLimit};
use farm_core::gateway::FunctionStatus;
use farm_core::http::{DeadLetter, FarmStatus, Problem, TaskOutcome};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const PASSWORD: &str = "open sesame";
/// `admin:open sesame`.
const BASIC: &str = "Basic YWRtaW46b3BlbiBzZXNhbWU=";

/// What the farm holds, and how it misbehaves.
#[derive(Default)]
pub struct Farm {
    pub jobs: BTreeMap<String, Job>,
    /// Requests to `POST /`, whatever came of them.
    pub submits: Vec<Submit>,
    pub dead: Vec<DeadLetter>,
    pub roles: Option<&'static str>,
    /// Whether there is a collector function.
    pub folds: bool,
    /// Whether jobs stay unfinished until [`Server::end_jobs`].
    pub hold: bool,
    /// Whether results are no longer kept.
    pub expired: bool,
    /// Answer so many submits with 429.
    pub full_for: u32,
    /// Break off the answer to so many submits, after the job was taken in.
    pub cut_answers: u32,
    /// Break off so many result streams, each after one line.
    pub cut_results: u32,
}

#[derive(Default)]
pub struct Job {
    pub bodies: Vec<String>,
    pub outcomes: Vec<TaskOutcome>,
    pub idempotency_key: Option<String>,
    pub cancelled: bool,
    pub ended: bool,
}

/// One request to `POST /`.
#[derive(Debug, Default, Clone)]
pub struct Submit {
    pub content_type: String,
    pub deadline: Option<String>,
    pub idempotency_key: Option<String>,
    pub callback_url: Option<String>,
    pub body: String,
}

type Shared = Arc<Mutex<Farm>>;

fn lock(farm: &Shared) -> MutexGuard<'_, Farm> {
    farm.lock().unwrap()
}

/// The server, and a folder to run the program in.
pub struct Server {
    address: SocketAddr,
    farm: Shared,
    serving: JoinHandle<()>,
    folder: TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let farm = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = serve(listener, farm.clone());
        Self {
            address,
            farm,
            serving,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn farm_state(&self) -> MutexGuard<'_, Farm> {
        lock(&self.farm)
    }

    /// Writes a file into the folder and gives back its path.
    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn end_jobs(&self) {
        let mut farm = self.farm_state();
        farm.hold = false;
        farm.jobs.values_mut().for_each(|job| job.ended = true);
    }

    /// Cuts every connection and listens no more.
    pub async fn stop(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// Listens again, at the same address, as soon as the old listener is gone.
    pub async fn restart(&mut self) {
        let rebinding = async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let listener = tokio::time::timeout(Duration::from_secs(10), rebinding)
            .await
            .unwrap();
        self.serving = serve(listener, self.farm.clone());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn serve(listener: TcpListener, farm: Shared) -> JoinHandle<()> {
    let face = Router::new()
        .route("/", get(status).post(submit::submit))
        .route("/jobs/{job}", get(jobs::status).delete(jobs::cancel))
        .route("/jobs/{job}/results", get(jobs::results))
        .route("/jobs/{job}/summary", get(jobs::summary))
        .route("/dead", get(dead::list).delete(dead::purge_all))
        .route("/dead/replay", post(dead::replay_all))
        .route("/dead/{task}", get(dead::show).delete(dead::purge))
        .route("/dead/{task}/replay", post(dead::replay));
    let router = Router::new()
        .route("/system/functions", get(functions))
        .route(
            "/function/hello/",
            get(|| async { "hello" }).post(|| async { "hello" }),
        )
        .nest("/function/sleeper/", face)
        .fallback(|| async { (StatusCode::NOT_FOUND, "error finding function") })
        .layer(DefaultBodyLimit::disable())
        .with_state(farm);
    // One runtime of its own: aborting it cuts the connections too, as the end of a process does.
    tokio::spawn(async move {
        let runtime = Runtime(Some(tokio::runtime::Runtime::new().unwrap()));
        let listener = listener.into_std().unwrap();
        let serving = runtime.0.as_ref().unwrap().spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        serving.await.unwrap();
    })
}

struct Runtime(Option<tokio::runtime::Runtime>);

impl Drop for Runtime {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

async fn functions(headers: HeaderMap) -> Response {
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|given| given != BASIC)
    {
        return (StatusCode::UNAUTHORIZED, "invalid credentials").into_response();
    }
    let function = |name: &str, available_replicas| FunctionStatus {
        name: name.to_owned(),
        available_replicas,
        ..FunctionStatus::default()
    };
    Json([
        function("sleeper", 2),
        function("hello", 1),
        function("asleep", 0),
    ])
    .into_response()
}

async fn status(State(farm): State<Shared>) -> Json<FarmStatus> {
    let farm = lock(&farm);
    Json(FarmStatus {
        farm: "sleeper".parse().unwrap(),
        roles: farm.roles.unwrap_or("emitter,worker,collector").to_owned(),
        version: "0.1.0".to_owned(),
        backlog_tasks: 3,
        backlog_messages: 3,
        in_flight_tasks: 2,
        in_flight_messages: 2,
        result_tasks: 1,
        dead_tasks: farm.dead.len() as u64,
        queue_max_tasks: 1_000_000,
    })
}

fn refuse(status: StatusCode, error: &str) -> Response {
    let problem = Problem {
        error: error.to_owned(),
        ..Problem::default()
    };
    (status, Json(problem)).into_response()
}
