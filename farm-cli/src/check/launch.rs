//! Starts a function: as a process, or as a container.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use farm_local::{Process, Spawner, ending, free_ports};
use reqwest::Client;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::docker::{Container, Image};
use super::log::{Lines, Log};
use super::probe::Face;
use crate::failure::Failure;

/// How long the last words of a process that has ended are waited for.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// The exit code of `docker run` when it is Docker that failed.
const DOCKER_FAILED: i32 = 125;

/// What is started.
#[derive(Debug, Clone)]
pub enum Program {
    /// A built function.
    Executable(PathBuf),
    /// An image, on the network of this machine.
    Image {
        /// Which.
        image: Image,
        /// Whether nothing but `/tmp` can be written.
        read_only: bool,
    },
}

/// Starts one function again and again.
pub struct Launcher {
    /// What is started.
    pub program: Program,
    /// What starts it.
    pub spawner: Spawner,
    /// What asks it.
    pub client: Client,
    /// Its environment beside what the check sets.
    pub environment: Vec<(String, String)>,
    /// Time it has to drain.
    pub grace: Duration,
    /// What all its runs wrote.
    pub log: Arc<Log>,
}

/// A function that was started. Dropping it kills it.
pub struct Running {
    process: Process,
    // After the process: killing the client of Docker does not end the container.
    _container: Option<Container>,
    /// Its HTTP face.
    pub http: Face,
    /// Its metrics.
    pub metrics: Face,
    /// What it wrote.
    pub lines: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
    _folder: TempDir,
}

impl Launcher {
    /// Starts the function with `settings`, which win over its other environment; one without a
    /// value is not set.
    ///
    /// # Errors
    /// No port or process is to be had.
    pub async fn launch(&self, settings: &[(&str, Option<&str>)]) -> Result<Running, Failure> {
        let io_error = |error| Failure::Failed(format!("cannot start the function: {error}"));
        let [http, metrics] = free_ports().map_err(io_error)?;
        let folder = tempfile::tempdir().map_err(io_error)?;
        let environment = self.environment(http, metrics, settings);
        let (mut command, container) = match &self.program {
            Program::Executable(file) => {
                let mut command = self.spawner.command(file);
                let path = std::env::var_os("PATH").unwrap_or_default();
                command.env_clear().env("PATH", path).envs(environment);
                command.env("TMPDIR", folder.path());
                command.current_dir(folder.path());
                (command, None)
            }
            Program::Image { image, read_only } => {
                let name = format!("farm-check-{}", uuid::Uuid::new_v4().simple());
                let command = self.container(&name, image, *read_only, &environment);
                (command, Some(Container(name)))
            }
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = self.spawner.spawn(command).await.map_err(io_error)?;
        let lines = Arc::new(Lines::default());
        let readers = self.read_output(&mut process, &lines);
        let face = |port: u16| {
            let base = format!("http://127.0.0.1:{port}");
            Face::new(self.client.clone(), &base, None)
        };
        Ok(Running {
            process,
            _container: container,
            http: face(http),
            metrics: face(metrics),
            lines,
            readers,
            _folder: folder,
        })
    }

    /// A container that Docker refused says nothing about its image.
    ///
    /// # Errors
    /// It did.
    pub async fn is_docker_to_blame(&self, running: &mut Running) -> Result<(), Failure> {
        let Program::Image { image, .. } = &self.program else {
            return Ok(());
        };
        let ended = running.ends(Duration::from_millis(1)).await;
        if ended.and_then(|status| status.code()) != Some(DOCKER_FAILED) {
            return Ok(());
        }
        let lines = running.lines.all();
        let said = lines.first().map(String::as_str).unwrap_or_default();
        Err(Failure::Failed(format!(
            "docker cannot run the image {}: {said}",
            image.name
        )))
    }

    fn environment(
        &self,
        http: u16,
        metrics: u16,
        settings: &[(&str, Option<&str>)],
    ) -> Vec<(String, String)> {
        let own = |key: &str, value: String| (key.to_owned(), value);
        let mut environment = vec![own("FARM_NAME", "farm-check".to_owned())];
        environment.extend(self.environment.iter().cloned());
        environment.extend([
            own("FARM_BIND_ADDRESS", "127.0.0.1".to_owned()),
            own("FARM_HTTP_PORT", http.to_string()),
            own("FARM_METRICS_PORT", metrics.to_string()),
            own("FARM_GRACE_PERIOD", format!("{}ms", self.grace.as_millis())),
        ]);
        environment.retain(|(key, _)| settings.iter().all(|(setting, _)| key != setting));
        let set = settings
            .iter()
            .filter_map(|(key, value)| Some((key, (*value)?)));
        environment.extend(set.map(|(key, value)| own(key, value.to_owned())));
        environment
    }

    /// The client stays with its container: it passes on signals, output and exit code.
    fn container(
        &self,
        name: &str,
        image: &Image,
        read_only: bool,
        environment: &[(String, String)],
    ) -> Command {
        let mut command = self.spawner.command("docker".as_ref());
        command.args(["run", "--rm", "--pull", "never", "--network", "host"]);
        command.args(["--name", name, "--tmpfs", "/tmp"]);
        if read_only {
            command.arg("--read-only");
        }
        for (key, value) in environment {
            command.args(["--env", &format!("{key}={value}")]);
        }
        command.arg(&image.name);
        command
    }

    fn read_output(&self, process: &mut Process, lines: &Arc<Lines>) -> Vec<JoinHandle<()>> {
        let (stdout, stderr) = process.take_output();
        let mut readers = Vec::new();
        if let Some(stdout) = stdout {
            let (lines, log) = (Arc::clone(lines), Arc::clone(&self.log));
            readers.push(tokio::spawn(async move { lines.read(&log, stdout).await }));
        }
        if let Some(stderr) = stderr {
            let (lines, log) = (Arc::clone(lines), Arc::clone(&self.log));
            readers.push(tokio::spawn(async move { lines.read(&log, stderr).await }));
        }
        readers
    }
}

impl Running {
    /// Waits for its end, and for its last words; `None` if it still runs after `limit`.
    pub async fn ends(&mut self, limit: Duration) -> Option<ExitStatus> {
        let waited = tokio::time::timeout(limit, self.process.wait()).await;
        let status = waited.ok()?.ok()?;
        let reading = async {
            for reader in &mut self.readers {
                let _ = reader.await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS_WITHIN, reading).await;
        self.readers.clear();
        Some(status)
    }

    /// Why it does not answer: that it has ended, if it has.
    pub async fn excuse(&mut self) -> String {
        let ended = self.ends(Duration::from_millis(1)).await;
        let words = self.lines.last_words();
        match ended {
            Some(status) => format!("it {}; {words}", ending(status)),
            None => format!("it runs; {words}"),
        }
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        self.process.terminate();
    }
}
