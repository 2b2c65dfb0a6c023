//! What the live page shows: farms, their settings and problems, and the decisions of late.
//!
//! Decisions are kept as the JSON they travel as: written once, they go to NATS, to every stream
//! and into the history as the same bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farm_core::decision::DecisionEvent;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::broadcast;

use crate::annotations::Settings;
use crate::clock::wall_seconds;

/// Most decisions kept of one farm.
const LONGEST_HISTORY: usize = 300;
/// Fewest, however many farms there are.
const SHORTEST_HISTORY: usize = 30;
/// Decisions kept of all farms together: about 10 MB.
const ALL_HISTORIES: usize = 9_000;
/// News that a slow stream may be behind before it gets everything anew.
const NEWS_KEPT: usize = 512;
/// A decision of another replica that is longer is passed over.
const MAX_DECISION_BYTES: usize = 16 << 10;

/// Something that a stream passes on.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// A decision was made.
    Decision(Arc<RawValue>),
    /// The set of farms, a problem or the leader changed.
    Farms,
}

/// A function that wants to be scaled, as the page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Card {
    pub farm: String,
    pub function: String,
    pub namespace: String,
    pub policy: String,
    pub settings: ShownSettings,
    /// Why it is left alone, if it is.
    pub problem: Option<String>,
    /// What looks like a slip but stops nothing.
    pub warnings: Vec<String>,
}

/// The settings in force; all absent if they could not be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ShownSettings {
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub slots_max: Option<u32>,
    pub replicas_max: Option<u32>,
    pub deadline_seconds: Option<f64>,
    pub target_qos_ratio: Option<f64>,
    pub interval_seconds: Option<f64>,
}

impl From<&Settings> for ShownSettings {
    fn from(settings: &Settings) -> Self {
        Self {
            min: Some(settings.limits.min),
            max: Some(settings.limits.max),
            slots_max: settings.slots_max,
            replicas_max: settings.replicas_max,
            deadline_seconds: settings.deadline_seconds,
            target_qos_ratio: Some(settings.target_qos_ratio),
            interval_seconds: Some(settings.interval.as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
struct Everything<'a> {
    this_replica: &'a str,
    leader: Option<String>,
    leads: bool,
    at_seconds: f64,
    farms: Vec<ShownFarm>,
}

#[derive(Serialize)]
struct ShownFarm {
    #[serde(flatten)]
    card: Card,
    history: Vec<Shown>,
}

/// A decision as it was written.
struct Shown(Arc<RawValue>);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

struct Farm {
    card: Card,
    history: VecDeque<Arc<RawValue>>,
}

#[derive(Default)]
struct State {
    leader: Option<String>,
    leads: bool,
    /// By function: two functions may claim one farm.
    farms: BTreeMap<String, Farm>,
}

/// The page's memory.
pub(crate) struct Board {
    replica: String,
    state: Mutex<State>,
    edition: AtomicU64,
    news: broadcast::Sender<News>,
}

impl Board {
    pub fn new(replica: &str) -> Self {
        Self {
            replica: replica.to_owned(),
            state: Mutex::default(),
            edition: AtomicU64::default(),
            news: broadcast::channel(NEWS_KEPT).0,
        }
    }

    /// News from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Number of changes to the set of farms, a problem or the leader.
    pub fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// All farms with their histories, as JSON.
    pub fn everything(&self) -> String {
        self.write(true)
    }

    /// All farms without their histories, as JSON.
    pub fn farms(&self) -> String {
        self.write(false)
    }

    /// Shows these farms from now on.
    pub fn show(&self, cards: Vec<Card>) {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.farms);
        let mut changed = before.len() != cards.len();
        for card in cards {
            let old = before.remove(&card.function);
            changed |= old.as_ref().map(|old| &old.card) != Some(&card);
            let history = old.map(|old| old.history).unwrap_or_default();
            let function = card.function.clone();
            state.farms.insert(function, Farm { card, history });
        }
        drop(state);
        self.tell_if(changed);
    }

    /// Shows who leads.
    pub fn led_by(&self, leader: Option<String>) {
        let mut state = self.state();
        let leads = leader.as_deref() == Some(self.replica.as_str());
        let changed = (&state.leader, state.leads) != (&leader, leads);
        state.leads = leads;
        state.leader = leader;
        drop(state);
        self.tell_if(changed);
    }

    /// Adds a decision of this replica; returns it as JSON.
    pub fn add(&self, event: &DecisionEvent) -> Option<Arc<RawValue>> {
        let decision: Arc<RawValue> = serde_json::value::to_raw_value(event).ok()?.into();
        self.keep(event, Arc::clone(&decision));
        Some(decision)
    }

    /// Adds a decision that another replica told on NATS; what cannot be one is passed over.
    pub fn overhear(&self, farm: &str, payload: &[u8]) {
        if payload.len() > MAX_DECISION_BYTES {
            return;
        }
        let Ok(event) = serde_json::from_slice::<DecisionEvent>(payload) else {
            return;
        };
        if event.farm == farm && event.decided_by != self.replica {
            self.add(&event);
        }
    }

    fn keep(&self, event: &DecisionEvent, decision: Arc<RawValue>) {
        let mut state = self.state();
        let longest =
            (ALL_HISTORIES / state.farms.len().max(1)).clamp(SHORTEST_HISTORY, LONGEST_HISTORY);
        let Some(farm) = state.farms.get_mut(&event.function) else {
            return;
        };
        if farm.card.farm != event.farm {
            return;
        }
        while farm.history.len() >= longest {
            farm.history.pop_front();
        }
        farm.history.push_back(Arc::clone(&decision));
        // Told under the lock: a stream that begins now has it in its snapshot or in its news.
        let _ = self.news.send(News::Decision(decision));
    }

    fn write(&self, with_history: bool) -> String {
        let everything = self.copy(with_history);
        // Strings and finite numbers cannot fail.
        serde_json::to_string(&everything).unwrap_or_default()
    }

    /// What is to be written: writing takes far longer than the control loops may wait.
    fn copy(&self, with_history: bool) -> Everything<'_> {
        let state = self.state();
        Everything {
            this_replica: &self.replica,
            leader: state.leader.clone(),
            leads: state.leads,
            at_seconds: wall_seconds(),
            farms: state
                .farms
                .values()
                .map(|farm| ShownFarm {
                    card: farm.card.clone(),
                    history: match with_history {
                        true => farm.history.iter().cloned().map(Shown).collect(),
                        false => Vec::new(),
                    },
                })
                .collect(),
        }
    }

    fn tell_if(&self, changed: bool) {
        if changed {
            self.edition.fetch_add(1, Ordering::AcqRel);
            // Nobody listening is no error.
            let _ = self.news.send(News::Farms);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn card(function: &str) -> Card {
        Card {
            farm: function.to_owned(),
            function: function.to_owned(),
            namespace: "n".into(),
            policy: "queue".into(),
            settings: ShownSettings::default(),
            problem: None,
            warnings: Vec::new(),
        }
    }

    fn event(function: &str, sequence: u64) -> DecisionEvent {
        DecisionEvent {
            farm: function.into(),
            function: function.into(),
            decided_by: "other".into(),
            sequence,
            ..DecisionEvent::default()
        }
    }

    #[test]
    fn a_history_is_bounded_and_survives_a_changed_card() {
        let board = Board::new("me");
        board.show(vec![card("f")]);
        for sequence in 0..500 {
            board.add(&event("f", sequence));
        }
        let mut changed = card("f");
        changed.policy = "static".into();
        board.show(vec![changed]);
        let shown: Value = serde_json::from_str(&board.everything()).unwrap();
        let history = shown["farms"][0]["history"].as_array().unwrap();
        assert_eq!(history.len(), LONGEST_HISTORY);
        assert_eq!(history[LONGEST_HISTORY - 1]["sequence"], 499);
        assert_eq!(shown["farms"][0]["policy"], "static");
        let shown: Value = serde_json::from_str(&board.farms()).unwrap();
        assert_eq!(shown["farms"][0]["history"], Value::Array(vec![]));
    }

    #[test]
    fn only_another_replicas_decisions_are_overheard() {
        let board = Board::new("me");
        board.show(vec![card("f")]);
        let mut own = event("f", 1);
        own.decided_by = "me".into();
        for payload in [
            serde_json::to_vec(&own).unwrap(),
            serde_json::to_vec(&event("g", 2)).unwrap(),
            b"{".to_vec(),
            serde_json::to_vec(&event("f", 3)).unwrap(),
        ] {
            board.overhear("f", &payload);
        }
        let shown: Value = serde_json::from_str(&board.everything()).unwrap();
        let history = shown["farms"][0]["history"].as_array().unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0]["sequence"], 3);
    }

    #[test]
    fn only_changes_are_told() {
        let board = Board::new("me");
        board.show(vec![card("f")]);
        let mut news = board.subscribe();
        board.show(vec![card("f")]);
        board.led_by(None);
        assert!(news.try_recv().is_err());
        board.led_by(Some("me".into()));
        assert!(matches!(news.try_recv(), Ok(News::Farms)));
    }
}
