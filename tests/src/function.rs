//! Functions, and the processes that are their replicas.

use std::collections::BTreeMap;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use farm_core::FarmName;
use farm_core::topology::Topology;

use crate::build::binary;
use crate::client::Client;
use crate::eventually::{POLL, within};
use crate::metrics::Metrics;
use crate::nats_server::NatsServer;
use crate::port::free_port;
use crate::process::{Process, Signal};

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// One function of a stack: a binary and its environment.
#[derive(Debug, Clone)]
pub struct Function {
    package: &'static str,
    environment: BTreeMap<String, String>,
}

impl Function {
    /// The example whose tasks take as long and fail as often as they are told to.
    pub fn sleeper(nats: &NatsServer) -> Self {
        Self::new("sleeper", nats)
    }

    /// The example with an emitter and a collector.
    pub fn mandelbrot(nats: &NatsServer) -> Self {
        Self::new("mandelbrot", nats)
    }

    /// The farm of raw bytes: each task comes back in reverse.
    pub fn mirror(nats: &NatsServer) -> Self {
        Self::new("mirror", nats)
    }

    /// The sleeper on servers that anybody may use, at `nats_url`.
    pub fn sleeper_at(nats_url: &str) -> Self {
        Self::at("sleeper", nats_url)
    }

    fn new(package: &'static str, nats: &NatsServer) -> Self {
        Self::at(package, &nats.url()).set("FARM_SECRETS_DIR", nats.secrets_folder().display())
    }

    fn at(package: &'static str, nats_url: &str) -> Self {
        let function = Self {
            package,
            environment: BTreeMap::new(),
        };
        function
            .set("FARM_NAME", package)
            .set("FARM_NATS_URL", nats_url)
            .set("FARM_BIND_ADDRESS", "127.0.0.1")
            .set("FARM_LOG", "info,farm_sdk=debug")
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.insert(key.to_owned(), value.to_string());
        self
    }

    /// Removes a variable from its environment.
    #[must_use]
    pub fn unset(mut self, key: &str) -> Self {
        self.environment.remove(key);
        self
    }

    /// Restricts it to some roles.
    #[must_use]
    pub fn roles(self, roles: &str) -> Self {
        self.set("FARM_ROLE", roles)
    }

    /// Where its farm is on NATS.
    pub fn topology(&self) -> Topology {
        let name = FarmName::new(&self.environment["FARM_NAME"]).expect("a usable name");
        Topology::new(name)
    }

    /// Starts a replica and waits until it is ready.
    pub async fn start(&self) -> Replica {
        let mut replica = self.spawn();
        replica.ready().await;
        replica
    }

    /// Starts `count` replicas and waits until all are ready.
    pub async fn start_many(&self, count: usize) -> Vec<Replica> {
        let mut replicas: Vec<_> = (0..count).map(|_| self.spawn()).collect();
        for replica in &mut replicas {
            replica.ready().await;
        }
        replicas
    }

    /// Starts a replica without waiting for it.
    pub fn spawn(&self) -> Replica {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", self.package);
        let function = self.clone();
        let port = |key: &str| match self.environment.get(key) {
            Some(port) => port.parse().unwrap_or(0),
            None => free_port(),
        };
        let (http_port, metrics_port) = (port("FARM_HTTP_PORT"), port("FARM_METRICS_PORT"));
        let mut command = Command::new(binary(self.package));
        command
            .env_clear()
            .env("HOSTNAME", &name)
            .env("FARM_HTTP_PORT", http_port.to_string())
            .env("FARM_METRICS_PORT", metrics_port.to_string())
            .envs(&function.environment);
        Replica {
            process: Process::spawn(&name, &mut command),
            http: Client::new(format!("http://127.0.0.1:{http_port}")),
            scrape: Client::new(format!("http://127.0.0.1:{metrics_port}")),
            name,
        }
    }
}

/// One running process of a function.
pub struct Replica {
    /// Its HTTP face.
    pub http: Client,
    /// Its process.
    pub process: Process,
    scrape: Client,
    name: String,
}

impl Replica {
    /// What it calls itself in results.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// If it ends before, or takes too long.
    pub async fn ready(&mut self) {
        let name = self.name.clone();
        within(&format!("{name} is ready"), STARTS_WITHIN, async {
            while !self.http.is_ready().await {
                let ended = self.process.ended();
                assert!(ended.is_none(), "{name} ended at its start: {ended:?}");
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
    }

    /// Asks it to stop, as a platform does that scales down.
    pub fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// Kills it as a lost machine would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits until it ends by itself.
    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        self.process.exit(limit).await
    }

    /// What it measures.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.scrape.text("/metrics").await)
    }
}
