//! A server without a platform, which its owner starts and stops.

use std::path::Path;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::error::NatsError;
use super::{STOP_GRACE, Server, executable};
use crate::event::Reporter;
use crate::process::{Process, Spawner};

/// A `nats-server` with JetStream at one address, with a temporary store: it can be stopped and
/// started again, and keeps what it stored. Dropping it kills it and removes the store.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
    process: Option<Process>,
    _folder: TempDir,
}

impl NatsServer {
    /// Finds the server as [`find_nats_server`](super::find_nats_server) does, and a free port on
    /// the loopback interface. Nothing runs yet.
    ///
    /// # Errors
    /// There is no server that is new enough, or no temporary folder.
    pub async fn prepare(
        named: Option<&Path>,
        sdk: Option<&Path>,
        spawner: &Spawner,
    ) -> Result<Self, NatsError> {
        let executable = executable::find(named, sdk).await?;
        let folder = tempfile::tempdir().map_err(|source| NatsError::Io {
            path: std::env::temp_dir(),
            source,
        })?;
        let (run, store) = (folder.path(), folder.path().join("store"));
        let reporter = Reporter::new(None);
        let server = Server::new(&executable, 0, &store, run, spawner, &reporter)?;
        Ok(Self {
            server,
            process: None,
            _folder: folder,
        })
    }

    /// Where clients connect, whether it runs or not.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Starts it, unless it runs; returns once it answers.
    ///
    /// # Errors
    /// It ends, or does not answer in 15 s.
    pub async fn start(&mut self) -> Result<(), NatsError> {
        if self.process.is_none() {
            self.process = Some(self.server.start().await?);
        }
        Ok(())
    }

    /// Stops it, and returns when it has ended: at most after 10 s.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(STOP_GRACE, &CancellationToken::new()).await;
        }
    }
}
