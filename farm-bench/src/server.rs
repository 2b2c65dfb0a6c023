//! The NATS servers of one run: fresh, on free ports, with stores that are removed at the end.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::iter::Sum;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Sub;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::child::{Process, guarded};
use crate::error::Error;
use crate::usage::Usage;

const READY_SECONDS: u64 = 20;
/// A cluster has its leader to elect.
const CLUSTER_READY_SECONDS: u64 = 60;
const CLUSTER_SERVERS: usize = 3;
/// Where ports are looked for: below those that Linux gives to outgoing connections.
const FIRST_PORT: u16 = 11_000;
const PORTS: u16 = 20_000;
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const ASK_CLUSTER_AGAIN: Duration = Duration::from_millis(100);

/// What a message outlives that the servers have acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// The server's end. What it wrote in its last two minutes may be lost with the machine.
    Process,
    /// The machine's end: every write waits for the disk.
    Machine,
    /// The end of one of three servers, with its disk.
    ThreeServers,
}

impl Durability {
    /// Copies of each message.
    pub fn replicas(self) -> usize {
        match self {
            Durability::Process | Durability::Machine => 1,
            Durability::ThreeServers => CLUSTER_SERVERS,
        }
    }

    /// Starts what it takes, and returns once it answers.
    pub async fn start(self, executable: &Path) -> Result<Vec<Server>, Error> {
        match self {
            Durability::Process => Ok(vec![Server::start(executable).await?]),
            Durability::Machine => {
                let server = Server::launch(executable, "sync_interval: always", "")?;
                server.answers().await?;
                Ok(vec![server])
            }
            Durability::ThreeServers => cluster(executable).await,
        }
    }
}

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
    /// Headers and bodies of all messages that came in, in bytes; their subjects do not count.
    pub in_bytes: u64,
    /// The same of all messages that went out.
    pub out_bytes: u64,
    /// Messages that came in.
    pub in_msgs: u64,
    /// Messages that went out.
    pub out_msgs: u64,
    /// Clients connected.
    pub connections: u64,
}

impl Sub for Traffic {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            in_bytes: self.in_bytes.saturating_sub(earlier.in_bytes),
            out_bytes: self.out_bytes.saturating_sub(earlier.out_bytes),
            in_msgs: self.in_msgs.saturating_sub(earlier.in_msgs),
            out_msgs: self.out_msgs.saturating_sub(earlier.out_msgs),
            connections: self.connections,
        }
    }
}

impl Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(traffics: I) -> Self {
        traffics.fold(Self::default(), |sum, traffic| Self {
            in_bytes: sum.in_bytes + traffic.in_bytes,
            out_bytes: sum.out_bytes + traffic.out_bytes,
            in_msgs: sum.in_msgs + traffic.in_msgs,
            out_msgs: sum.out_msgs + traffic.out_msgs,
            connections: sum.connections + traffic.connections,
        })
    }
}

impl Server {
    /// Starts the server at that path and returns once it answers.
    pub async fn start(executable: &Path) -> Result<Self, Error> {
        let server = Self::launch(executable, "", "")?;
        server.answers().await?;
        Ok(server)
    }

    /// Starts a server with more settings, those of JetStream apart; does not wait for it.
    fn launch(executable: &Path, of_jetstream: &str, more: &str) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(Error::io("create a folder for the run"))?;
        let [port, monitoring] = free_ports()?;
        let store = serde_json::Value::from(folder.path().join("store").to_string_lossy());
        // As `farm up` sets its server up, and with a page of counts.
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring}\"\nmax_payload: 8MB\n\
             max_connections: 65536\njetstream {{ store_dir: {store}, {of_jetstream} }}\n{more}\n"
        );
        let configuration = folder.path().join("nats.conf");
        fs::write(&configuration, text).map_err(Error::io("configure the NATS server"))?;
        let mut command = tied_to_us(executable);
        command
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(Self {
            process: Process::start("nats-server", &mut command, folder.path())?,
            folder,
            port,
            monitoring: format!("http://127.0.0.1:{monitoring}"),
            http: reqwest::Client::new(),
        })
    }

    async fn answers(&self) -> Result<(), Error> {
        let answers = async {
            while self.get::<serde_json::Value>("/healthz").await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        guarded(
            "the start of the NATS server",
            READY_SECONDS,
            [&self.process],
            answers,
        )
        .await
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

/// Starts servers that know each other, and returns once they keep a stream together.
async fn cluster(executable: &Path) -> Result<Vec<Server>, Error> {
    let ports: [u16; CLUSTER_SERVERS] = free_ports()?;
    let routes = ports.map(|port| format!("nats://127.0.0.1:{port}"));
    let routes = routes.join(", ");
    let servers = ports.iter().map(|port| {
        // Clients know all servers from the beginning.
        let more = format!(
            "server_name: \"bench-{port}\"\ncluster {{ name: bench, \
             listen: \"127.0.0.1:{port}\", no_advertise: true, routes: [{routes}] }}"
        );
        Server::launch(executable, "", &more)
    });
    let servers = servers.collect::<Result<Vec<Server>, Error>>()?;
    let together = async {
        while keep_together(&servers).await.is_err() {
            tokio::time::sleep(ASK_CLUSTER_AGAIN).await;
        }
        Ok(())
    };
    let processes = servers.iter().map(|server| &server.process);
    let what = "the start of three NATS servers";
    guarded(what, CLUSTER_READY_SECONDS, processes, together).await?;
    Ok(servers)
}

/// Makes a stream on all servers, and removes it.
async fn keep_together(servers: &[Server]) -> Result<(), Error> {
    let failed = "make a stream on all servers";
    for server in servers {
        let jetstream = jetstream::new(server.connect().await?);
        let config = stream::Config {
            name: "ready".to_owned(),
            num_replicas: servers.len(),
            ..stream::Config::default()
        };
        let made = jetstream.create_stream(config).await;
        made.map_err(Error::broker(failed))?;
        let removed = jetstream.delete_stream("ready").await;
        removed.map_err(Error::broker(failed))?;
    }
    Ok(())
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
