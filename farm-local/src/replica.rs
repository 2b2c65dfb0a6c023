//! One replica: a process that is started, probed, restarted when it fails, and drained.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::event::{Event, Reporter};
use crate::lines::each_line;
use crate::logs::LogBook;
use crate::port;
use crate::process::{Process, Spawner, ending};
use crate::program::Program;

/// Between probes until the first success.
const STARTING_POLL: Duration = Duration::from_millis(50);
/// Between probes from then on, as OpenFaaS CE has it.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a probe may take, as OpenFaaS CE has it.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Failed probes in a row after which a replica is killed, as OpenFaaS CE has it.
const FAILURES: u32 = 3;
/// Failures to run in a row after which a replica counts as broken.
const BROKEN_AFTER: u32 = 5;

/// How the replicas of one deployment of a function are started.
pub(crate) struct Launch {
    pub(crate) spawner: Spawner,
    pub(crate) reporter: Reporter,
    pub(crate) logs: Arc<LogBook>,
    pub(crate) client: reqwest::Client,
    pub(crate) program: Program,
    pub(crate) environment: BTreeMap<String, String>,
    /// Folder of the secrets it was given.
    pub(crate) secrets: PathBuf,
    /// Folder for what belongs to single replicas.
    pub(crate) folder: PathBuf,
    /// Time to drain after SIGTERM.
    pub(crate) grace: Duration,
    /// Time before the first probe.
    pub(crate) initial_delay: Duration,
    /// Cancelled when nothing is to be waited for any more.
    pub(crate) kill: CancellationToken,
}

/// Whether a replica answers its probes, and what came before.
#[derive(Debug, Clone, Copy, Default)]
struct Health {
    healthy: bool,
    failures_in_a_row: u32,
}

/// A running replica.
pub(crate) struct Replica {
    port: Arc<AtomicU16>,
    health: watch::Receiver<Health>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Replica {
    /// Starts a replica called `instance`.
    pub(crate) fn start(instance: String, launch: Arc<Launch>) -> Self {
        let (announce, health) = watch::channel(Health::default());
        let stop = CancellationToken::new();
        let port = Arc::new(AtomicU16::new(0));
        let supervised = Supervised {
            instance,
            launch,
            port: Arc::clone(&port),
            health: announce,
            stop: stop.clone(),
        };
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            supervised.run().await;
            drop(end);
        });
        Self {
            port,
            health,
            stop,
            ended,
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.health.borrow().healthy && !self.is_leaving()
    }

    /// Whether it was told to drain.
    pub(crate) fn is_leaving(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until it is healthy (true), or is to stop or fails again and again (false).
    pub(crate) async fn settled(&self) -> bool {
        let mut health = self.health.clone();
        let settles = |health: &Health| health.healthy || health.failures_in_a_row >= BROKEN_AFTER;
        tokio::select! {
            () = self.stop.cancelled() => false,
            settled = health.wait_for(settles) => settled.is_ok_and(|health| health.healthy),
        }
    }

    /// Waits until it is healthy (true) or is to stop (false), however often it fails.
    pub(crate) async fn healthy(&self) -> bool {
        let mut health = self.health.clone();
        tokio::select! {
            () = self.stop.cancelled() => false,
            healthy = health.wait_for(|health| health.healthy) => healthy.is_ok(),
        }
    }

    /// The port its HTTP face listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Lets it drain: no new requests from now on.
    pub(crate) fn leave(&self) {
        self.stop.cancel();
    }

    /// Drains it; returns when its process has ended.
    pub(crate) async fn stop(&self) {
        self.leave();
        self.ended.cancelled().await;
    }
}

struct Supervised {
    instance: String,
    launch: Arc<Launch>,
    port: Arc<AtomicU16>,
    health: watch::Sender<Health>,
    stop: CancellationToken,
}

impl Supervised {
    async fn run(self) {
        let mut backoff = Backoff::new();
        let mut failures_in_a_row = 0;
        loop {
            let mut healthy_since = None;
            let reason = match self.start().await {
                Ok(mut process) => match self.watch(&mut process, &mut healthy_since).await {
                    Some(reason) => reason,
                    None => return self.drain(process).await,
                },
                Err(error) => format!("cannot be started: {error}"),
            };
            let healthy_for =
                healthy_since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
            let restart_in = backoff.after_failure(healthy_for);
            failures_in_a_row = match healthy_since {
                Some(_) => 1,
                None => failures_in_a_row + 1,
            };
            self.tell_failure(reason, restart_in);
            self.health.send_replace(Health {
                healthy: false,
                failures_in_a_row,
            });
            tokio::select! {
                () = self.stop.cancelled() => return self.clear(),
                () = tokio::time::sleep(restart_in) => {}
            }
        }
    }

    fn tell_failure(&self, reason: String, restart_in: Duration) {
        let failed = Event::ReplicaFailed {
            instance: self.instance.clone(),
            reason,
            restart_in,
        };
        self.launch
            .logs
            .push(&self.instance, format!("farm: {failed}"));
        self.launch.reporter.report(failed);
    }

    async fn start(&self) -> std::io::Result<Process> {
        let launch = &self.launch;
        let [http, metrics] = port::free()?;
        self.port.store(http, Ordering::Relaxed);
        let temporary = launch.folder.join(&self.instance);
        std::fs::create_dir_all(&temporary)?;
        let mut command = launch.spawner.command(&launch.program.executable);
        command
            .args(&launch.program.arguments)
            .env_clear()
            .envs(&launch.environment)
            .env("HOSTNAME", &self.instance)
            .env("FARM_HTTP_PORT", http.to_string())
            .env("FARM_METRICS_PORT", metrics.to_string())
            .env("TMPDIR", &temporary)
            .current_dir(&temporary)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = launch.spawner.spawn(command).await?;
        let (stdout, stderr) = process.take_output();
        if let Some(stdout) = stdout {
            self.keep_lines(stdout);
        }
        if let Some(stderr) = stderr {
            self.keep_lines(stderr);
        }
        Ok(process)
    }

    fn keep_lines(&self, output: impl tokio::io::AsyncRead + Unpin + Send + 'static) {
        let (logs, instance) = (Arc::clone(&self.launch.logs), self.instance.clone());
        tokio::spawn(async move {
            each_line(output, |line| logs.push(&instance, line)).await;
        });
    }

    /// Returns why the process failed; `None` when it is to stop.
    async fn watch(
        &self,
        process: &mut Process,
        healthy_since: &mut Option<Instant>,
    ) -> Option<String> {
        tokio::select! {
            () = self.stop.cancelled() => return None,
            status = process.wait() => {
                return Some(status.map_or_else(|error| error.to_string(), ending));
            }
            () = self.given_up(healthy_since) => {}
        }
        process.kill();
        let _ = process.wait().await;
        Some(format!(
            "did not answer {FAILURES} health probes and was killed"
        ))
    }

    /// Probes until there is no hope: a replica that was healthy fails several in a row, or one
    /// on OpenFaaS CE is not healthy in time. Elsewhere a replica may take any time to start.
    async fn given_up(&self, healthy_since: &mut Option<Instant>) {
        let started = Instant::now();
        let ce = !self.launch.initial_delay.is_zero();
        let mut failures = 0;
        let mut pause = self.launch.initial_delay;
        while failures < FAILURES {
            tokio::time::sleep(pause).await;
            let healthy = self.probe().await;
            if healthy && healthy_since.is_none() {
                *healthy_since = Some(Instant::now());
                self.health.send_modify(|health| health.healthy = true);
                self.launch.reporter.report(Event::ReplicaReady {
                    instance: self.instance.clone(),
                    took: started.elapsed(),
                });
            }
            let counts = ce || healthy_since.is_some();
            failures = if healthy || !counts { 0 } else { failures + 1 };
            pause = if counts { PERIOD } else { STARTING_POLL };
        }
    }

    async fn probe(&self) -> bool {
        let url = format!(
            "http://127.0.0.1:{}/_/health",
            self.port.load(Ordering::Relaxed)
        );
        let answer = self.launch.client.get(url).timeout(TIMEOUT).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn drain(&self, mut process: Process) {
        self.health.send_replace(Health::default());
        let killed = process.stop(self.launch.grace, &self.launch.kill).await;
        self.clear();
        self.launch.reporter.report(Event::ReplicaStopped {
            instance: self.instance.clone(),
            killed,
        });
    }

    fn clear(&self) {
        let _ = std::fs::remove_dir_all(self.launch.folder.join(&self.instance));
    }
}
