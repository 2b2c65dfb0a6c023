//! A stack in a temporary folder, and a platform that runs it with real processes.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farm_core::gateway::FunctionStatus;
use farm_local::{Event, Options, Platform, PlatformError, Stack};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Longest wait for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A crate that compiles in a moment.
const MANIFEST: &str = r#"
[package]
name = "work"
version = "0.1.0"
edition = "2024"

[profile.release]
opt-level = 0
"#;

/// A folder with a stack file, a template and one handler, `work`.
pub struct Fixture {
    folder: TempDir,
}

/// A stack file with these functions.
pub fn stack_of(functions: &str) -> String {
    format!("version: 1.0\nprovider: {{name: openfaas}}\nfunctions:\n{functions}\n")
}

/// One function of the handler `work`, with more keys in YAML's flow style.
pub fn function(name: &str, keys: &str) -> String {
    format!("  {name}: {{lang: rust-farm, handler: ./work, image: fixture:1{keys}}}")
}

impl Fixture {
    pub fn new(stack: &str) -> Self {
        let fixture = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fixture.write("stack.yml", stack);
        fixture.write(
            "template/rust-farm/template.yml",
            "language: rust-farm\nfprocess: \"\"\n",
        );
        fixture.write("template/rust-farm/.dockerignore", "**/target\n");
        fixture.write(
            "template/rust-farm/function/README.md",
            "from the template\n",
        );
        fixture.write("work/Cargo.toml", MANIFEST);
        fixture.write("work/src/main.rs", include_str!("fixture/main.rs"));
        fixture
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn options(&self) -> Options {
        let mut options = Options::new(Stack::load(&self.path("stack.yml")).unwrap());
        options.port = Some(0);
        options.nats.server = Some(tool("NATS_SERVER", "nats/bin/nats-server"));
        options
    }

    pub async fn start(self) -> Running {
        self.start_with(|_| {}).await
    }

    pub async fn start_with(self, change: impl FnOnce(&mut Options)) -> Running {
        let (events, told) = mpsc::channel(10_000);
        let mut options = self.options();
        options.events = Some(events);
        change(&mut options);
        let password = options.password.clone();
        let platform = Platform::start(options).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Running {
            platform,
            client,
            password,
            told,
            fixture: self,
        }
    }

    /// The one line with which a start is refused.
    pub async fn refusal(self) -> (PlatformError, Self) {
        match Platform::start(self.options()).await {
            Ok(_) => panic!("the platform started"),
            Err(error) => (error, self),
        }
    }
}

/// A tool that `make tools` gets, unless the environment names another.
pub fn tool(variable: &str, path: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    let tool = std::env::var_os(variable).map_or(tools.join(path), PathBuf::from);
    assert!(
        tool.is_file(),
        "{} is missing: run `make tools`, or set {variable}",
        tool.display()
    );
    tool.canonicalize().unwrap()
}

/// A platform that runs a fixture.
pub struct Running {
    pub platform: Platform,
    pub client: Client,
    password: Option<String>,
    told: mpsc::Receiver<Event>,
    pub fixture: Fixture,
}

impl Running {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.platform.gateway_url()));
        match &self.password {
            Some(password) => request.basic_auth("admin", Some(password)),
            None => request,
        }
    }

    pub async fn send(&self, method: Method, path: &str, body: Value) -> Response {
        self.request(method, path).json(&body).send().await.unwrap()
    }

    /// The text that a GET answers with success.
    pub async fn get(&self, path: &str) -> String {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert!(
            response.status().is_success(),
            "{path}: {}",
            response.status()
        );
        response.text().await.unwrap()
    }

    /// The status of a POST without a body, and its text.
    pub async fn post(&self, path: &str) -> (u16, String) {
        let response = self.request(Method::POST, path).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub async fn status(&self, function: &str) -> FunctionStatus {
        serde_json::from_str(&self.get(&format!("/system/function/{function}")).await).unwrap()
    }

    pub async fn scale(&self, function: &str, replicas: u64) -> u16 {
        let path = format!("/system/scale-function/{function}");
        let body = json!({"serviceName": function, "replicas": replicas});
        self.send(Method::POST, &path, body).await.status().as_u16()
    }

    pub async fn wait_available(&self, function: &str, replicas: u64) {
        until(
            &format!("{replicas} available replicas of {function}"),
            async || {
                let status = self.status(function).await;
                status.available_replicas == replicas && status.replicas == replicas
            },
        )
        .await;
    }

    /// The texts of the log of a function.
    pub async fn logs(&self, query: &str) -> Vec<String> {
        let ndjson = self.get(&format!("/system/logs?{query}")).await;
        let text = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["text"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        ndjson.lines().map(text).collect()
    }

    /// The next event that `wanted` accepts.
    pub async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let next = async {
            loop {
                match self.told.recv().await.expect("the platform still tells") {
                    event if wanted(&event) => return event,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .expect("the event comes in time")
    }

    pub async fn stop(self) -> Fixture {
        self.platform.stop().await;
        self.fixture
    }
}

/// Polls until `holds`, for a bounded time.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a process runs (a zombie does not).
pub fn is_running(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}
