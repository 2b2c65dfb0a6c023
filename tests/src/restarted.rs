//! Replicas that are started again when they end, as a platform does it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::eventually::POLL;
use crate::function::{Function, Replica};

/// How long a replica that ended stays away: about what starting a container takes.
const AWAY: Duration = Duration::from_millis(200);

/// A function's replicas, each replaced when it ends. Dropping this kills them.
pub struct Restarted {
    restarts: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Restarted {
    /// Starts `count` replicas of `function` and watches over them.
    pub async fn start(function: &Function, count: usize) -> Self {
        let replicas = function.start_many(count).await;
        let restarts = Arc::<AtomicU64>::default();
        let watching = tokio::spawn(watch(function.clone(), replicas, Arc::clone(&restarts)));
        Self { restarts, watching }
    }

    /// How often a replica was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch(function: Function, mut replicas: Vec<Replica>, restarts: Arc<AtomicU64>) {
    loop {
        for replica in &mut replicas {
            if replica.process.ended().is_some() {
                tokio::time::sleep(AWAY).await;
                *replica = function.spawn();
                restarts.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
