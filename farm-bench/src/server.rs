//! The NATS server of one run: fresh, on free ports, with a store that is removed at the end.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::child::{Process, guarded};
use crate::error::Error;
use crate::usage::Usage;

const READY_SECONDS: u64 = 20;
/// Where ports are looked for: below those that Linux gives to outgoing connections.
const FIRST_PORT: u16 = 11_000;
const PORTS: u16 = 20_000;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running server with JetStream.
#[derive(Debug)]
pub(crate) struct Server {
    pub process: Process,
    folder: TempDir,
    port: u16,
    monitoring: String,
    http: reqwest::Client,
}

/// What the server has counted so far.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Traffic {
    /// Bytes of all messages that clients sent.
    pub in_bytes: u64,
    /// Bytes of all messages that clients got.
    pub out_bytes: u64,
    /// Messages that clients sent.
    pub in_msgs: u64,
    /// Messages that clients got.
    pub out_msgs: u64,
    /// Clients connected.
    pub connections: u64,
}

impl Server {
    /// Starts the server at that path and returns once it answers.
    pub async fn start(executable: &Path) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(Error::io("create a folder for the run"))?;
        let [port, monitoring] = free_ports()?;
        let store = serde_json::Value::from(folder.path().join("store").to_string_lossy());
        // As `farm up` sets its server up, and with a page of counts.
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring}\"\nmax_payload: 8MB\n\
             max_connections: 65536\njetstream {{ store_dir: {store} }}\n"
        );
        let configuration = folder.path().join("nats.conf");
        fs::write(&configuration, text).map_err(Error::io("configure the NATS server"))?;
        let mut command = tied_to_us(executable);
        command
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let server = Self {
            process: Process::start("nats-server", &mut command, folder.path())?,
            folder,
            port,
            monitoring: format!("http://127.0.0.1:{monitoring}"),
            http: reqwest::Client::new(),
        };
        let answers = async {
            while server.get::<serde_json::Value>("/healthz").await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        guarded(
            "the start of the NATS server",
            READY_SECONDS,
            [&server.process],
            answers,
        )
        .await?;
        Ok(server)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A folder that lives as long as the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of the benchmark itself.
    pub async fn connect(&self) -> Result<async_nats::Client, Error> {
        let connected = async_nats::connect(self.url()).await;
        connected.map_err(Error::broker("connect"))
    }

    /// What it has counted so far.
    pub async fn traffic(&self) -> Result<Traffic, Error> {
        self.get("/varz").await
    }

    /// What its process has used so far.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.process.usage()
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, Error> {
        let failed = || Error::function(format!("read {path} of the NATS server"));
        let answer = self.http.get(format!("{}{path}", self.monitoring)).send();
        let answer = answer.await.map_err(failed())?;
        let answer = answer.error_for_status().map_err(failed())?;
        answer.json().await.map_err(failed())
    }
}

/// A command whose process the system kills should this one be killed, if `setpriv` is there to ask
/// for that. The parts of the benchmark see to it themselves.
fn tied_to_us(executable: &Path) -> Command {
    let setpriv = |program: &OsStr| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    };
    let works = setpriv("true".as_ref()).stderr(Stdio::null()).status();
    match works.is_ok_and(|status| status.success()) {
        true => setpriv(executable.as_os_str()),
        false => Command::new(executable),
    }
}

/// Ports that nothing listens on, all different.
///
/// None is of those the system gives to outgoing connections: it could give one away before the
/// process that is told of it has started.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = FIRST_PORT + (std::process::id() % u32::from(PORTS)) as u16;
    let mut candidates = (0..PORTS).map(|_| {
        let offset = first - FIRST_PORT + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        FIRST_PORT + offset % PORTS
    });
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = [0; N];
    for port in &mut ports {
        let found = candidates.find(is_free);
        let taken = || Error::io("find a free port")(io::ErrorKind::AddrInUse.into());
        *port = found.ok_or_else(taken)?;
    }
    Ok(ports)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_or_while_in_use() {
        let [first, second] = free_ports().unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let more: [u16; 8] = free_ports().unwrap();
        assert!(first != second && !more.contains(&first) && !more.contains(&second));
    }
}
