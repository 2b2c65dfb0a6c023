//! All that one test needs: a NATS server, a gateway, and autoscaler processes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use farm_core::decision::{DecisionEvent, Outcome};
use farm_core::topology::Topology;
use farm_tests::{Client, Metrics, NatsOptions, NatsServer, Process, free_port, within};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::workers::Farm;

/// Long enough for anything that is to happen at all, on a machine with other things to do.
pub const SOON: Duration = Duration::from_secs(40);

pub struct Scene {
    pub nats: NatsServer,
    pub gateway: Gateway,
}

/// What most farms of these tests declare: quick, and without patience.
pub const QUICK: [(&str, &str); 4] = [
    ("farm.interval", "100ms"),
    ("farm.stabilisation", "0s"),
    ("farm.cooldown", "0s"),
    ("farm.max", "8"),
];

impl Scene {
    pub async fn open() -> Self {
        Self::open_with(NatsOptions::default()).await
    }

    pub async fn open_with(options: NatsOptions) -> Self {
        Self {
            nats: NatsServer::start_with(options).await,
            gateway: Gateway::start().await,
        }
    }

    /// Deploys a farm that is scaled, with its workers.
    pub async fn farm(&self, name: &str, annotations: &[(&str, &str)]) -> Farm {
        let all: Vec<_> = QUICK.iter().chain(annotations).copied().collect();
        self.gateway.deploy(name, &all);
        Farm::start(&self.nats, self.gateway.shared(), name).await
    }

    /// An autoscaler that is running, but maybe not yet ready.
    pub fn autoscaler(&self, name: &str) -> Autoscaler {
        self.autoscaler_with(name, &[])
    }

    /// The same with variables of its own.
    pub fn autoscaler_with(&self, name: &str, environment: &[(&str, &str)]) -> Autoscaler {
        let (http, metrics) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm-autoscaler"));
        command
            .env("HOSTNAME", name)
            .env("FARM_GATEWAY_URL", self.gateway.url())
            .env("FARM_NATS_URL", self.nats.url())
            .env("FARM_SECRETS_DIR", self.secrets())
            .env("FARM_SCALER_INTERVAL", "100ms")
            .env("FARM_BIND_ADDRESS", "127.0.0.1")
            .env("FARM_HTTP_PORT", http.to_string())
            .env("FARM_METRICS_PORT", metrics.to_string())
            .envs(environment.iter().copied());
        Autoscaler {
            process: Process::spawn(name, &mut command),
            client: Client::new(format!("http://127.0.0.1:{http}")),
            metrics: Client::new(format!("http://127.0.0.1:{metrics}")),
        }
    }

    fn secrets(&self) -> std::path::PathBuf {
        let folder = self.nats.secrets_folder();
        if let Some((user, password)) = self.gateway.platform().credentials {
            write(&folder.join("basic-auth-user"), user);
            write(&folder.join("basic-auth-password"), password);
        }
        folder
    }

    /// Hears all decisions about `farm` from now on.
    pub async fn decisions(&self, farm: &Farm) -> Decisions {
        let client = self.nats.client().await;
        let events = client.subscribe(farm.topology.decision_subject()).await;
        client.flush().await.expect("the subscription is made");
        Decisions {
            events: events.expect("a subscription"),
            _client: client,
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a secret can be written");
}

/// One autoscaler process.
pub struct Autoscaler {
    pub process: Process,
    pub client: Client,
    metrics: Client,
}

impl Autoscaler {
    /// What `GET /farms` says; `None` if nobody answers.
    pub async fn farms(&self) -> Option<Value> {
        self.client.status_of("/_/health").await?;
        Some(self.client.json(Method::GET, "/farms").await)
    }

    /// What `GET /farms` says of one function.
    pub async fn function(&self, name: &str) -> Option<Value> {
        let farms = self.farms().await?;
        let all = farms["farms"].as_array()?;
        all.iter().find(|farm| farm["function"] == name).cloned()
    }

    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metrics = Metrics::parse(&self.metrics.text("/metrics").await);
        metrics.sum(name, labels)
    }

    /// Waits until it leads.
    pub async fn leads(&self) {
        farm_tests::eventually("the autoscaler leads", SOON, async || {
            (self.farms().await?["leads"] == true).then_some(())
        })
        .await;
    }
}

/// The decisions about one farm, as they are told.
pub struct Decisions {
    events: async_nats::Subscriber,
    _client: async_nats::Client,
}

impl Decisions {
    pub async fn next(&mut self) -> DecisionEvent {
        let message = within("a decision", SOON, self.events.next()).await;
        let message = message.expect("the subscription lasts");
        assert!(Topology::farm_of_subject(&message.subject).is_some());
        serde_json::from_slice(&message.payload).expect("a decision")
    }

    /// The next decision for which `is_it`.
    pub async fn until(
        &mut self,
        what: &str,
        is_it: impl Fn(&DecisionEvent) -> bool,
    ) -> DecisionEvent {
        within(what, SOON, async {
            loop {
                let event = self.next().await;
                if is_it(&event) {
                    return event;
                }
            }
        })
        .await
    }

    pub async fn until_outcome(&mut self, outcome: Outcome) -> DecisionEvent {
        let what = format!("a decision that is {outcome:?}");
        self.until(&what, |event| event.outcome == outcome).await
    }
}
