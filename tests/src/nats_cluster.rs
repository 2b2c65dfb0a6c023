//! Real nats-servers with file storage: one, or several that form a cluster.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::eventually::eventually;
use crate::nats_server::executable;
use crate::port::free_port;
use crate::process::{Process, Signal};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// The servers. Dropping them kills them and removes their stores.
pub struct NatsCluster {
    nodes: Vec<Node>,
    folder: TempDir,
    max_file_store_bytes: u64,
}

struct Node {
    port: u16,
    cluster_port: u16,
    process: Process,
}

impl NatsCluster {
    /// Starts `servers` servers that may keep `max_file_store_bytes` each; returns once streams can
    /// be created.
    ///
    /// # Panics
    /// If they do not come up.
    pub async fn start(servers: usize, max_file_store_bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<_> = (0..servers).map(|_| (free_port(), free_port())).collect();
        let nodes = ports.iter().enumerate().map(|(index, (port, _))| {
            let text = configuration(folder.path(), index, &ports, max_file_store_bytes);
            std::fs::write(configuration_file(folder.path(), index), text).expect("a file");
            Node {
                port: *port,
                cluster_port: ports[index].1,
                process: launch(folder.path(), index),
            }
        });
        let cluster = Self {
            nodes: nodes.collect(),
            folder,
            max_file_store_bytes,
        };
        cluster.ready().await;
        cluster
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none; there is always one.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What each server may keep on disk, in bytes.
    pub fn max_file_store_bytes(&self) -> u64 {
        self.max_file_store_bytes
    }

    /// Where clients connect: all servers, separated by commas.
    pub fn url(&self) -> String {
        let urls = self.nodes.iter().map(Node::url);
        urls.collect::<Vec<_>>().join(",")
    }

    /// Ports of the servers.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// The name by which a cluster calls a server.
    pub fn name(&self, node: usize) -> String {
        node_name(node)
    }

    /// Kills a server without warning.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].process.kill();
    }

    /// Removes all that a server, which has ended, had on its disk.
    pub fn wipe(&self, node: usize) {
        let store = self.folder.path().join(node_name(node));
        std::fs::remove_dir_all(store).expect("the store can be removed");
    }

    /// Asks a server to stop, and waits until it has.
    pub async fn stop(&mut self, node: usize) {
        let process = &mut self.nodes[node].process;
        process.signal(Signal::TERM);
        process.exit(STOPS_WITHIN).await;
    }

    /// Sends a server a signal, such as one that holds it up.
    pub fn signal(&mut self, node: usize, signal: Signal) {
        self.nodes[node].process.signal(signal);
    }

    /// Starts a server that ended, on the same ports with the same store; does not wait for it.
    pub fn start_again(&mut self, node: usize) {
        self.nodes[node].process = launch(self.folder.path(), node);
    }

    /// What a server has printed since its last start.
    pub fn output(&self, node: usize) -> String {
        self.nodes[node].process.output()
    }

    /// Waits until all servers listen and JetStream answers.
    pub async fn ready(&self) {
        for node in &self.nodes {
            let (port, cluster_port) = (node.port, node.cluster_port);
            let clustered = self.nodes.len() > 1;
            eventually("nats-server listens", STARTS_WITHIN, async || {
                TcpStream::connect(("127.0.0.1", port)).await.ok()?;
                if clustered {
                    TcpStream::connect(("127.0.0.1", cluster_port)).await.ok()?;
                }
                Some(())
            })
            .await;
        }
        // Without a leader of the cluster JetStream does not answer.
        let servers = self.nodes.len();
        let url = self.url();
        eventually("JetStream answers", STARTS_WITHIN, async || {
            let client = connect(&url).await.ok()?;
            let jetstream = async_nats::jetstream::new(client);
            let wanted = async_nats::jetstream::stream::Config {
                name: "ready".to_owned(),
                num_replicas: servers,
                ..Default::default()
            };
            jetstream.create_stream(wanted).await.ok()?;
            jetstream.delete_stream("ready").await.ok()?;
            Some(())
        })
        .await;
    }
}

/// Connects to one of the servers of `url`, which commas separate.
///
/// # Errors
/// If none answers.
pub async fn connect(url: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
    let servers: Result<Vec<async_nats::ServerAddr>, _> = url.split(',').map(str::parse).collect();
    async_nats::connect(servers?).await
}

impl Node {
    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

fn node_name(node: usize) -> String {
    format!("node-{node}")
}

fn configuration_file(folder: &Path, node: usize) -> std::path::PathBuf {
    folder.join(format!("{}.conf", node_name(node)))
}

fn launch(folder: &Path, node: usize) -> Process {
    let mut command = Command::new(executable());
    command
        .arg("--config")
        .arg(configuration_file(folder, node));
    Process::spawn(format!("nats-server {}", node_name(node)), &mut command)
}

fn configuration(
    folder: &Path,
    node: usize,
    ports: &[(u16, u16)],
    max_file_store_bytes: u64,
) -> String {
    let (port, cluster_port) = ports[node];
    let name = node_name(node);
    let store = folder.join(&name);
    let mut text = format!(
        "listen: \"127.0.0.1:{port}\"\nserver_name: \"{name}\"\n\
         jetstream {{ store_dir: {store:?}, max_file_store: {max_file_store_bytes} }}\n"
    );
    if ports.len() > 1 {
        let routes = ports
            .iter()
            .map(|(_, other)| format!("nats://127.0.0.1:{other}"));
        let routes = routes.collect::<Vec<_>>().join(", ");
        // Clients know all servers; one behind a proxy is to know only the proxy.
        let _ = writeln!(
            text,
            "cluster {{ name: \"farm-tests\", listen: \"127.0.0.1:{cluster_port}\", \
             no_advertise: true, routes: [{routes}] }}"
        );
    }
    text
}
