//! The companion function of a farm: observe, decide, act, explain, once per control interval.
//!
//! One function serves all farms of a gateway. It finds them by the annotations of their
//! functions, sees their queues and workers on NATS, asks a policy of [`farm_policy`] how parallel
//! each of them is to be, and makes it so: by replicas, through the gateway, and by slots, through
//! an order to the workers. A farm that it cannot see it holds as it is.
//!
//! Of several replicas one leads; another takes over within 10 s if it is lost.

mod act;
mod allocate;
mod annotations;
mod board;
mod broker;
mod clock;
mod config;
mod controller;
mod decide;
mod desk;
mod discover;
mod error;
mod explain;
mod gateway;
mod http;
mod lease;
mod listen;
mod metrics;
mod models;
mod platform;
mod reports;
mod shared;

#[cfg(test)]
mod fuzz;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use board::Board;
use broker::Broker;
use clock::Clock;
use config::{Config, LogFormat};
use desk::Desks;
use gateway::Gateway;
use lease::Standing;
use metrics::Metrics;
use reports::Reports;
use shared::{Listing, Shared};

pub use error::Error;

/// How long the HTTP servers may take to end.
const STOPS_WITHIN: Duration = Duration::from_secs(3);

/// Runs the autoscaler until SIGTERM or SIGINT, configured by the environment.
///
/// | variable | meaning | default |
/// |---|---|---|
/// | `FARM_GATEWAY_URL` | the OpenFaaS gateway | `http://gateway.openfaas.svc.cluster.local:8080` |
/// | `FARM_NATS_URL` | the NATS servers | `nats://127.0.0.1:4222` |
/// | `FARM_SECRETS_DIR` | folder of `basic-auth-user`, `basic-auth-password`, `farm-nats-*` | `/var/openfaas/secrets` |
/// | `FARM_MODEL_DIR` | folder of trained policies that are not built in | `/var/openfaas/secrets` |
/// | `FARM_NAMESPACE` | namespace of the functions | `openfaas-fn` |
/// | `FARM_SCALER_INTERVAL` | how often functions are listed; control interval of a farm without `farm.interval` | `2s` |
/// | `FARM_BIND_ADDRESS` | address to listen on | `0.0.0.0` |
/// | `FARM_HTTP_PORT`, `FARM_METRICS_PORT` | ports of the page and of the metrics | `8080`, `8081` |
/// | `FARM_LOG`, `FARM_LOG_FORMAT` | log level, by target; `text` or `json` | `info`, `text` |
///
/// # Errors
/// Only what keeps it from starting: a bad configuration, a port that is taken. NATS or a gateway
/// that do not answer are waited for.
///
/// ```no_run
/// # async fn example() -> Result<(), farm_autoscaler::Error> {
/// farm_autoscaler::run().await
/// # }
/// ```
pub async fn run() -> Result<(), Error> {
    let config = Config::from_environment()?;
    start_logging(&config);
    let mut stop = Stop::listen()?;
    let present = std::env::vars_os().filter_map(|(key, _)| key.into_string().ok());
    for key in config::unknown_keys(present) {
        tracing::warn!(key, "nothing reads this variable: misspelt?");
    }
    // Both connections speak TLS if asked to; one provider for the whole process.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let ports = http::Ports::take(&config).await?;
    let (standing_sender, standing) = watch::channel(Standing::Unknown {
        cause: "not asked for yet".to_owned(),
    });
    let (listing_sender, listing) = watch::channel(Listing::default());
    let shared = Arc::new(Shared {
        clock: Clock::start(),
        gateway: Gateway::new(&config)?,
        broker: Broker::start(&config).await?,
        standing,
        listing,
        reports: Reports::default(),
        board: Board::new(&config.replica),
        desks: Desks::default(),
        metrics: Metrics::new(),
        config,
    });
    tracing::info!(
        replica = shared.config.replica,
        gateway = %shared.config.gateway_url,
        namespace = shared.config.namespace,
        "the autoscaler starts"
    );

    // Stopped one after the other: nobody acts any more when the lease is given back.
    let (acting, leading, serving) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
    let (stop_acting, stop_leading, stop_serving) = Default::default();
    spawn_parts(&shared, &acting, listing_sender, &stop_acting);
    leading.spawn(lease::keep(
        shared.broker.clone(),
        shared.config.namespace.clone(),
        shared.config.replica.clone(),
        standing_sender,
        CancellationToken::clone(&stop_leading),
    ));
    ports.serve(Arc::clone(&shared), &serving, &stop_serving);

    let signal = stop.wait().await;
    tracing::info!(signal, "the autoscaler stops");
    for (tasks, token) in [
        (acting, stop_acting),
        (leading, stop_leading),
        (serving, stop_serving),
    ] {
        token.cancel();
        tasks.close();
        if tokio::time::timeout(STOPS_WITHIN, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("stops without waiting any longer");
        }
    }
    Ok(())
}

fn spawn_parts(
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
    listing: watch::Sender<Listing>,
    stopping: &CancellationToken,
) {
    let (shared, stopping) = (|| Arc::clone(shared), || stopping.clone());
    tasks.spawn(listen::reports(shared(), stopping()));
    tasks.spawn(listen::decisions(shared(), stopping()));
    tasks.spawn(listen::standing(shared(), stopping()));
    tasks.spawn(discover::run(shared(), listing, tasks.clone(), stopping()));
}

/// The signals by which a platform stops a replica.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Runtime(error.to_string()));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Logs to stderr unless the application has set a subscriber of its own.
fn start_logging(config: &Config) {
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;
    let mut filter = config.log.clone();
    // What the clients say of themselves is of use only to who asks for it by name.
    for client in ["async_nats", "hyper_util", "reqwest"] {
        let is_named = filter.iter().any(|(target, _)| target.starts_with(client));
        if !is_named {
            filter = filter.with_target(client, LevelFilter::OFF);
        }
    }
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // An error only says that there is a subscriber already.
    let _ = match config.log_format {
        LogFormat::Json => registry.with(lines.json()).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
    };
}
