//! The NATS server the farms talk through: a child of the platform, or one that runs already.

mod address;
mod error;
mod executable;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use error::NatsError;
pub use server::NatsServer;

use crate::backoff::Backoff;
use crate::event::{Event, Reporter};
use crate::port;
use crate::process::{Process, Spawner, ending};
pub(crate) use address::redacted;
use address::{Address, check_joinable};

/// The port NATS clients expect.
const USUAL_PORT: u16 = 4222;
const READY_WITHIN: Duration = Duration::from_secs(15);
const READY_POLL: Duration = Duration::from_millis(20);
/// Time to write down what is in memory.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Another process may take a port between the moment it is found free and its use.
const PORT_ATTEMPTS: usize = 3;

/// Which NATS server to use.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// Join the server at this URL instead of starting one.
    pub url: Option<String>,
    /// The `nats-server` to start, instead of the one found.
    pub server: Option<PathBuf>,
    /// Keep streams in this folder, instead of one that is removed at the end.
    pub data: Option<PathBuf>,
}

/// Finds the `nats-server` that a platform would start; `sdk` is the folder of the SDK's crate.
///
/// # Errors
/// There is none, or none that is new enough.
pub async fn find_nats_server(
    named: Option<&Path>,
    sdk: Option<&Path>,
) -> Result<PathBuf, NatsError> {
    executable::find(named, sdk).await
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Nats {
    url: String,
    child: Option<Supervised>,
}

#[derive(Debug)]
struct Supervised {
    stop: CancellationToken,
    task: JoinHandle<()>,
    _data_lock: Option<fs::File>,
}

impl Nats {
    /// Joins or starts a server, and returns once it answers.
    pub(crate) async fn start(
        options: &NatsOptions,
        sdk: Option<&Path>,
        run_folder: &Path,
        spawner: &Spawner,
        reporter: &Reporter,
    ) -> Result<Self, NatsError> {
        if let Some(url) = &options.url {
            let version = check_joinable(url).await?;
            reporter.report(Event::NatsReady {
                url: redacted(url),
                version,
            });
            return Ok(Self {
                url: url.clone(),
                child: None,
            });
        }
        let executable = executable::find(options.server.as_deref(), sdk).await?;
        let store = options
            .data
            .clone()
            .unwrap_or_else(|| run_folder.join("nats"));
        let data_lock = lock_data(&store, options.data.is_some())?;
        let mut last = NatsError::Missing;
        for attempt in 0..PORT_ATTEMPTS {
            let preferred = if attempt == 0 { USUAL_PORT } else { 0 };
            let server = Server::new(
                &executable,
                preferred,
                &store,
                run_folder,
                spawner,
                reporter,
            )?;
            match server.start().await {
                Ok(process) => {
                    let url = server.url();
                    let stop = CancellationToken::new();
                    let task = tokio::spawn(server.supervise(process, stop.clone()));
                    let child = Some(Supervised {
                        stop,
                        task,
                        _data_lock: data_lock,
                    });
                    return Ok(Self { url, child });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The URL with which clients connect.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server if it is a child.
    pub(crate) async fn stop(self) {
        if let Some(mut child) = self.child {
            child.stop.cancel();
            let _ = (&mut child.task).await;
        }
    }
}

impl Drop for Supervised {
    /// Ends the supervision at once, and with it the process.
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock_data(store: &Path, kept: bool) -> Result<Option<fs::File>, NatsError> {
    let io_error = |source| NatsError::Io {
        path: store.to_owned(),
        source,
    };
    fs::create_dir_all(store).map_err(io_error)?;
    if !kept {
        return Ok(None);
    }
    let lock = fs::File::create(store.join(".farm.lock")).map_err(io_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => Err(NatsError::DataInUse(store.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(io_error(error)),
    }
}

/// How to start the server, again and again with the same port and store.
#[derive(Debug)]
struct Server {
    executable: PathBuf,
    port: u16,
    configuration: PathBuf,
    log: PathBuf,
    spawner: Spawner,
    reporter: Reporter,
}

impl Server {
    fn new(
        executable: &Path,
        preferred_port: u16,
        store: &Path,
        run_folder: &Path,
        spawner: &Spawner,
        reporter: &Reporter,
    ) -> Result<Self, NatsError> {
        let configuration = run_folder.join("nats.conf");
        let log = run_folder.join("nats.log");
        let io_error = |source| NatsError::Io {
            path: configuration.clone(),
            source,
        };
        let port = port::prefer(preferred_port).map_err(io_error)?;
        let store = std::path::absolute(store).map_err(io_error)?;
        let text = [
            format!("listen: \"127.0.0.1:{port}\""),
            "max_payload: 8MB".to_owned(),
            format!("jetstream {{ store_dir: {} }}", quoted(&store)),
            format!("pid_file: {}", quoted(&run_folder.join("nats.pid"))),
            format!("log_file: {}\n", quoted(&log)),
        ];
        fs::write(&configuration, text.join("\n")).map_err(io_error)?;
        Ok(Self {
            executable: executable.to_owned(),
            port,
            configuration,
            log,
            spawner: spawner.clone(),
            reporter: reporter.clone(),
        })
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts the process and returns once it answers.
    async fn start(&self) -> Result<Process, NatsError> {
        let failed = |reason: String| NatsError::Start { reason };
        let mut command = self.spawner.command(&self.executable);
        command
            .arg("--config")
            .arg(&self.configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = self
            .spawner
            .spawn(command)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let address = Address::loopback(self.port);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            tokio::select! {
                status = process.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), ending);
                    return Err(failed(format!("it {status}{}", self.end_of_log())));
                }
                () = tokio::time::sleep(READY_POLL) => {}
            }
            if let Ok(info) = address.info().await {
                let version = info.version;
                self.reporter.report(Event::NatsReady {
                    url: self.url(),
                    version,
                });
                return Ok(process);
            }
            if Instant::now() > deadline {
                return Err(failed(format!("it does not answer{}", self.end_of_log())));
            }
        }
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .next_back()
            .map(|line| format!(": {}", line.trim()))
            .unwrap_or_default()
    }

    /// Keeps the server running until told to stop it.
    async fn supervise(self, mut process: Process, stop: CancellationToken) {
        let mut backoff = Backoff::new();
        let mut started = Instant::now();
        loop {
            let status = tokio::select! {
                status = process.wait() => status.map_or_else(|error| error.to_string(), ending),
                () = stop.cancelled() => {
                    process.stop(STOP_GRACE, &CancellationToken::new()).await;
                    return;
                }
            };
            let mut reason = status;
            process = loop {
                let restart_in = backoff.after_failure(started.elapsed());
                self.reporter.report(Event::NatsExited {
                    status: reason,
                    restart_in,
                });
                tokio::select! {
                    () = tokio::time::sleep(restart_in) => {}
                    () = stop.cancelled() => return,
                }
                started = Instant::now();
                tokio::select! {
                    again = self.start() => match again {
                        Ok(process) => break process,
                        Err(error) => reason = error.to_string(),
                    },
                    () = stop.cancelled() => return,
                }
            };
        }
    }
}

/// A path as a string of the server's configuration language.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
