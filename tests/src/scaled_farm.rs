//! A farm of real sleeper processes that the real autoscaler scales, under `farm up`.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use farm_core::decision::{DecisionEvent, Outcome};
use farm_core::topology::Topology;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::eventually::eventually;
use crate::farm_up::{FarmUp, Workplace};

const DECIDES_WITHIN: Duration = Duration::from_secs(30);

/// How the farm is to be scaled: what stands in its stack file.
#[derive(Debug, Clone)]
pub struct Scaling {
    /// Annotations of the worker function, without the `farm.` in front.
    pub annotations: Vec<(String, String)>,
    /// Replicas it starts with.
    pub first_replicas: u32,
    /// Arguments of `farm up`.
    pub arguments: Vec<&'static str>,
}

impl Scaling {
    /// A farm scaled by `policy`, with one replica at first.
    pub fn by(policy: &str) -> Self {
        Self {
            annotations: Vec::new(),
            first_replicas: 1,
            arguments: Vec::new(),
        }
        .with("policy", policy)
    }

    /// Sets the annotation `farm.<key>`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.annotations.retain(|(known, _)| known != key);
        self.annotations.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts with this many replicas.
    #[must_use]
    pub fn first_replicas(mut self, replicas: u32) -> Self {
        self.first_replicas = replicas;
        self
    }

    fn stack(&self) -> String {
        let mut annotations = String::new();
        for (key, value) in &self.annotations {
            let _ = writeln!(annotations, "      farm.{key}: {value:?}");
        }
        let replicas = self.first_replicas;
        format!(
            r#"version: 1.0
provider: {{name: openfaas, gateway: http://127.0.0.1:8080}}
functions:
  sleeper:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {{FARM_NAME: sleeper, FARM_ROLE: "emitter,collector"}}
  sleeper-worker:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    skip_build: true
    environment: {{FARM_NAME: sleeper, FARM_ROLE: worker, FARM_TELEMETRY_INTERVAL: 200ms}}
    labels: {{com.openfaas.scale.min: "{replicas}"}}
    annotations:
      farm.name: sleeper
{annotations}  farm-autoscaler:
    lang: dockerfile
    handler: .
    skip_build: true
    image: test/farm-autoscaler:1
    environment: {{FARM_SCALER_INTERVAL: 500ms}}
    secrets: [basic-auth]
"#
        )
    }

    /// Starts the farm and its autoscaler; returns after the first decision about it.
    pub async fn start(&self) -> ScaledFarm {
        let workplace = Workplace::new();
        workplace.copy("template", "template");
        workplace.copy("examples/sleeper", "sleeper");
        workplace.write("stack.yml", &self.stack());
        let up = workplace.up(&self.arguments).await;
        let decisions = Decisions::of("sleeper", &nats_url(&workplace)).await;
        let farm = ScaledFarm {
            workplace,
            up,
            decisions,
        };
        eventually("a first decision", DECIDES_WITHIN, async || {
            farm.decisions.all().pop()
        })
        .await;
        farm
    }
}

fn nats_url(workplace: &Workplace) -> String {
    let record = std::fs::read_to_string(workplace.stack().join(".farm/up.json"));
    let record: Value =
        serde_json::from_str(&record.expect("the record of farm up")).expect("JSON");
    record["nats_url"].as_str().expect("a URL").to_owned()
}

/// A farm that is scaled.
pub struct ScaledFarm {
    /// Its folder.
    pub workplace: Workplace,
    /// The platform it runs on.
    pub up: FarmUp,
    /// What the autoscaler decides about it.
    pub decisions: Decisions,
}

impl ScaledFarm {
    /// Offers a load with `farm load`, and returns its account.
    pub fn load(&self, arguments: &[&str]) -> Value {
        let words = [&["load", "sleeper", "--json"], arguments].concat();
        let printed = self.workplace.farm(&words);
        // What it says to people comes after the account.
        let account = printed.lines().next().unwrap_or_default();
        serde_json::from_str(account).expect("JSON")
    }
}

/// Decisions about one farm, as they are told on NATS.
pub struct Decisions {
    heard: Arc<Mutex<Vec<DecisionEvent>>>,
    listening: JoinHandle<()>,
}

impl Decisions {
    /// Listens from now on.
    pub async fn of(farm: &str, nats_url: &str) -> Self {
        let farm = farm_core::FarmName::new(farm).expect("a farm's name");
        let client = async_nats::connect(nats_url).await.expect("NATS");
        let subject = Topology::new(farm).decision_subject();
        let mut messages = client.subscribe(subject).await.expect("a subscription");
        let heard = Arc::<Mutex<Vec<DecisionEvent>>>::default();
        let told = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let event = serde_json::from_slice(&message.payload).expect("a decision");
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event);
            }
        });
        Self { heard, listening }
    }

    /// All that were heard since the start or the last [`forget`](Self::forget).
    pub fn all(&self) -> Vec<DecisionEvent> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets those heard so far.
    pub fn forget(&self) {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Drop for Decisions {
    /// A failing test shows what was decided last.
    fn drop(&mut self) {
        self.listening.abort();
        if std::thread::panicking() {
            for event in self.all().iter().rev().take(5).rev() {
                eprintln!("--- decision {event:?}");
            }
        }
    }
}

/// What a series of decisions cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Effort {
    /// Decisions.
    pub decisions: usize,
    /// Mean over time of the parallelism that took tasks.
    pub mean_parallelism: f64,
    /// The largest one.
    pub max_parallelism: u32,
    /// Times the target changed.
    pub changes: usize,
}

impl Effort {
    /// Sums up `decisions`, which are in order of time.
    pub fn of(decisions: &[DecisionEvent]) -> Self {
        let available = |event: &DecisionEvent| {
            event
                .observed
                .as_ref()
                .map_or(0, |seen| seen.available_parallelism)
        };
        let (mut area, mut seconds) = (0.0, 0.0);
        for pair in decisions.windows(2) {
            let span_seconds = pair[1].at_seconds - pair[0].at_seconds;
            area += f64::from(available(&pair[0])) * span_seconds;
            seconds += span_seconds;
        }
        let changed =
            |pair: &&[DecisionEvent]| pair[0].target_parallelism != pair[1].target_parallelism;
        Self {
            decisions: decisions.len(),
            mean_parallelism: if seconds > 0.0 { area / seconds } else { 0.0 },
            max_parallelism: decisions.iter().map(available).max().unwrap_or(0),
            changes: decisions.windows(2).filter(changed).count(),
        }
    }
}

/// Whether a decision left the farm alone because it could not be seen.
pub fn held(event: &DecisionEvent) -> bool {
    event.outcome == Outcome::Held
}
