//! Tells decisions: to NATS, the log, the metrics and the page.

use std::time::Duration;

use bytes::Bytes;
use farm_core::decision::{DecisionEvent, Outcome};
use farm_core::topology::Topology;

use crate::metrics::outcome_name;
use crate::shared::Shared;

/// Telling must not keep the loop from controlling.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// Remembers what was logged last of one farm, so that trouble is logged once.
#[derive(Default)]
pub(crate) struct Diary {
    trouble: Option<String>,
}

impl Diary {
    /// Tells one decision everywhere.
    pub async fn tell(&mut self, shared: &Shared, topology: &Topology, event: &DecisionEvent) {
        self.log(event);
        shared.metrics.decided(event);
        let Some(decision) = shared.board.add(event) else {
            return;
        };
        // Without a connection the client would keep it, and keep more and more of them.
        if shared.broker.check().is_ok() {
            let payload = Bytes::copy_from_slice(decision.get().as_bytes());
            let subject = topology.decision_subject();
            let told = shared.broker.client.publish(subject, payload);
            // A decision that nobody hears of is still in the log.
            let _ = tokio::time::timeout(TELL_WITHIN, told).await;
        }
    }

    fn log(&mut self, event: &DecisionEvent) {
        let trouble = match event.outcome {
            Outcome::Failed | Outcome::Held => Some(trouble(event)),
            Outcome::Applied | Outcome::Unchanged => None,
        };
        let is_news = trouble != self.trouble;
        let was_in_trouble = std::mem::replace(&mut self.trouble, trouble).is_some();
        let line = Line::from(event);
        match event.outcome {
            Outcome::Failed if is_news => line.warn("could not change the farm"),
            // That the first look is not enough is no trouble.
            Outcome::Held if is_news && (event.sequence > 1 || event.error.is_some()) => {
                line.warn("holds the farm as it is")
            }
            Outcome::Applied => line.info("changed the farm"),
            Outcome::Unchanged if was_in_trouble => line.info("the farm is well again"),
            _ => line.debug("the farm stays as it is"),
        }
    }
}

/// What is wrong, without what changes from pass to pass.
fn trouble(event: &DecisionEvent) -> String {
    let error = event.error.as_deref().unwrap_or_default();
    let text = match error.is_empty() {
        true => event.reasons.first().map_or("", String::as_str),
        false => error,
    };
    let text = text.split("; next try in").next().unwrap_or_default();
    format!("{} {text}", outcome_name(event.outcome))
}

/// One structured log line.
struct Line<'a> {
    event: &'a DecisionEvent,
    replicas: Option<u32>,
    slots: Option<u32>,
    reasons: String,
}

impl<'a> From<&'a DecisionEvent> for Line<'a> {
    fn from(event: &'a DecisionEvent) -> Self {
        Self {
            event,
            replicas: event.allocation.map(|split| split.replicas),
            slots: event.allocation.map(|split| split.slots),
            reasons: event.reasons.join("; "),
        }
    }
}

macro_rules! line {
    ($name:ident) => {
        fn $name(&self, message: &str) {
            tracing::$name!(
                farm = self.event.farm,
                function = self.event.function,
                policy = self.event.policy,
                wanted_parallelism = self.event.wanted_parallelism,
                target_parallelism = self.event.target_parallelism,
                replicas = self.replicas,
                slots = self.slots,
                outcome = outcome_name(self.event.outcome),
                reasons = self.reasons,
                error = self.event.error,
                "{message}"
            );
        }
    };
}

impl Line<'_> {
    line!(info);
    line!(warn);
    line!(debug);
}
