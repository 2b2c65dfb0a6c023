//! What the parts of one autoscaler replica share.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::board::Board;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::Config;
use crate::decide::Replicas;
use crate::desk::Desks;
use crate::gateway::Gateway;
use crate::lease::Standing;
use crate::metrics::Metrics;
use crate::reports::Reports;

/// One per process.
pub(crate) struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub gateway: Gateway,
    pub broker: Broker,
    pub standing: watch::Receiver<Standing>,
    pub listing: watch::Receiver<Listing>,
    pub reports: Reports,
    pub board: Board,
    pub desks: Desks,
    pub metrics: Metrics,
}

/// What the gateway said when it was asked for all functions the last time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// When it was asked; absent if it has not answered yet.
    pub asked_at: Option<Instant>,
    /// The functions that want to be scaled.
    pub replicas: Arc<HashMap<String, Replicas>>,
    /// Name of what runs the functions, once it is known.
    pub provider: Option<String>,
    /// Why it does not answer, if it does not; says since when.
    pub failing: Option<String>,
}

impl Shared {
    /// What keeps this replica from working, if anything does.
    pub fn unready(&self) -> Option<String> {
        if let Err(error) = self.broker.check() {
            return Some(error.to_string());
        }
        let listing = self.listing.borrow();
        match (&listing.failing, listing.asked_at) {
            (Some(failing), _) => Some(failing.clone()),
            (None, None) => Some("the gateway has not been asked yet".to_owned()),
            (None, Some(_)) => None,
        }
    }
}
