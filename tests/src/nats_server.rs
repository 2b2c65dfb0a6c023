//! A real nats-server with a store of its own.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use async_nats::ConnectOptions;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::eventually::eventually;
use crate::nats_access::Guarded;
use crate::port::free_port;
use crate::process::{Process, Signal};
use crate::repository;

const STARTS_WITHIN: Duration = Duration::from_secs(20);
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// Who may connect.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Anybody.
    #[default]
    Open,
    /// Who knows this user and password.
    Password(&'static str, &'static str),
    /// Who knows this token.
    Token(&'static str),
    /// Who has the files that go with this part of the configuration.
    Guarded(Guarded),
}

/// How the server is set up.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Whether it has JetStream.
    pub jetstream: bool,
    /// Who may connect.
    pub access: Access,
    /// The largest message, in bytes; the server's default if `None`.
    pub max_payload_bytes: Option<u64>,
    /// What JetStream may keep on disk, in bytes; the server's default if `None`.
    pub max_file_store_bytes: Option<u64>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            jetstream: true,
            access: Access::Open,
            max_payload_bytes: None,
            max_file_store_bytes: None,
        }
    }
}

/// A running server. Dropping it kills it and removes its store.
pub struct NatsServer {
    options: NatsOptions,
    port: u16,
    process: Process,
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server with JetStream that anybody may use.
    pub async fn start() -> Self {
        Self::start_with(NatsOptions::default()).await
    }

    /// Starts a server, and returns once it answers.
    ///
    /// # Panics
    /// If there is no server to start, or it does not come up.
    pub async fn start_with(options: NatsOptions) -> Self {
        Self::start_at(free_port(), options).await
    }

    /// Starts a server on `port`.
    pub async fn start_at(port: u16, options: NatsOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_secrets(&folder.path().join("secrets"), &options.access);
        let process = launch(folder.path(), port, &options);
        let mut server = Self {
            options,
            port,
            process,
            folder,
        };
        server.ready().await;
        server
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What it keeps on disk, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        folder_bytes(&self.folder.path().join("store"))
    }

    /// Where clients connect; without credentials.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A folder with the credentials as the files an OpenFaaS secret becomes.
    pub fn secrets_folder(&self) -> PathBuf {
        self.folder.path().join("secrets")
    }

    /// Where it keeps its streams, if JetStream is on.
    pub fn store_folder(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Changes how the server is set up from its next start on.
    pub fn options_mut(&mut self) -> &mut NatsOptions {
        &mut self.options
    }

    /// Kills the server without warning.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks the server to stop, and waits until it has.
    pub async fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.exit(STOPS_WITHIN).await;
    }

    /// Starts the server that ended, on the same port with the same store.
    pub async fn start_again(&mut self) {
        self.process = launch(self.folder.path(), self.port, &self.options);
        self.ready().await;
    }

    /// A connection to it.
    ///
    /// # Panics
    /// If it refuses.
    pub async fn client(&self) -> async_nats::Client {
        let options = match &self.options.access {
            Access::Open => ConnectOptions::new(),
            Access::Password(user, password) => {
                ConnectOptions::with_user_and_password((*user).into(), (*password).into())
            }
            Access::Token(token) => ConnectOptions::with_token((*token).into()),
            Access::Guarded(_) => {
                // The provider may be there already.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let access = farm_nats::Access::read(&self.url(), &self.secrets_folder());
                let options = access.and_then(|access| access.options());
                options.expect("usable secrets")
            }
        };
        options.connect(self.url()).await.expect("NATS lets us in")
    }

    async fn ready(&mut self) {
        let port = self.port;
        let name = server_name(port);
        eventually("nats-server answers", STARTS_WITHIN, async || {
            let ended = self.process.ended();
            assert!(ended.is_none(), "nats-server ended at its start: {ended:?}");
            let connection = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            let mut line = String::new();
            BufReader::new(connection).read_line(&mut line).await.ok()?;
            let ours = line.starts_with("INFO ") && line.contains(&name);
            ours.then_some(())
        })
        .await;
    }
}

fn launch(folder: &Path, port: u16, options: &NatsOptions) -> Process {
    let file = folder.join("nats.conf");
    std::fs::write(&file, configuration(folder, port, options)).expect("a configuration file");
    let mut command = Command::new(executable());
    command.arg("--config").arg(file);
    Process::spawn(format!("nats-server on {port}"), &mut command)
}

/// What is in `folder` may go while this looks.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let entries = entries.flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Tells this server from one that another test run starts on the same port.
fn server_name(port: u16) -> String {
    format!("farm-tests-{}-{port}", std::process::id())
}

fn configuration(folder: &Path, port: u16, options: &NatsOptions) -> String {
    let name = server_name(port);
    let mut text = format!("listen: \"127.0.0.1:{port}\"\nserver_name: \"{name}\"\n");
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
    if options.jetstream {
        let store = folder.join("store");
        line(format!("jetstream {{ store_dir: {store:?}"));
        if let Some(bytes) = options.max_file_store_bytes {
            line(format!("max_file_store: {bytes}"));
        }
        line("}".to_owned());
    }
    match &options.access {
        Access::Open => {}
        Access::Password(user, password) => line(format!(
            "authorization {{ user: {user:?}, password: {password:?} }}"
        )),
        Access::Token(token) => line(format!("authorization {{ token: {token:?} }}")),
        Access::Guarded(guarded) => line(guarded.configuration().to_owned()),
    }
    if let Some(bytes) = options.max_payload_bytes {
        line(format!("max_payload: {bytes}"));
    }
    text
}

fn write_secrets(folder: &Path, access: &Access) {
    std::fs::create_dir(folder).expect("a folder for secrets");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("a secret can be written");
    };
    match access {
        Access::Open => {}
        Access::Password(user, password) => {
            write("farm-nats-user", user);
            // As `kubectl create secret --from-file` keeps it.
            write("farm-nats-password", &format!("{password}\n"));
        }
        Access::Token(token) => write("farm-nats-token", token),
        Access::Guarded(guarded) => guarded.write_secrets(folder),
    }
}

/// The server to run: `NATS_SERVER`, the one on `PATH`, or the one `make tools` fetched.
pub(crate) fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| {
        if let Some(named) = env::var_os("NATS_SERVER") {
            return named.into();
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .map(|folder| folder.join("nats-server"))
            .chain([repository().join(".tools/nats/bin/nats-server")])
            .find(|server| is_new_enough(server))
            .expect("no nats-server 2.10 or later: run `make tools`, or name one with NATS_SERVER")
    })
}

fn is_new_enough(server: &Path) -> bool {
    let Ok(output) = Command::new(server).arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text
        .trim()
        .trim_start_matches("nats-server: v")
        .split('.')
        .map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(2), Some(10))
}
