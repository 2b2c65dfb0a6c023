//! Whether the connection stands, and what the server denied on it.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_nats::{Event, ServerError};
use tokio::sync::watch;

/// Denials that are kept and logged; a client that is denied more than that is denied everything.
const MOST_DENIALS: usize = 64;

/// What a client may be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// To send to a subject, requests included.
    Publish,
    /// To listen to a subject.
    Subscribe,
}

/// The server did not let us do something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Denial {
    /// What.
    pub action: Action,
    /// On which subject.
    pub subject: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Publish => "publish to",
            Action::Subscribe => "subscribe to",
        };
        write!(f, "{action} {}", self.subject)
    }
}

impl Denial {
    /// Reads what a server says; `None` if it says something else.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("Permissions Violation for ")?;
        let (kind, rest) = rest.split_once(" to \"")?;
        let (subject, _) = rest.split_once('"')?;
        let action = match kind {
            "Publish" => Action::Publish,
            "Subscription" => Action::Subscribe,
            _ => return None,
        };
        Some(Self {
            action,
            subject: subject.to_owned(),
        })
    }
}

/// The state of a connection, fed by its events. Clones share it.
#[derive(Clone)]
pub struct Link {
    state: Arc<Mutex<State>>,
    connections: watch::Sender<u64>,
    denials: watch::Sender<Vec<Denial>>,
}

struct State {
    up: bool,
    /// When it was lost last, or first looked for.
    changed: SystemTime,
    complaints: HashSet<String>,
}

impl Link {
    /// Of a connection that is not made yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                up: false,
                changed: SystemTime::now(),
                complaints: HashSet::new(),
            })),
            connections: watch::Sender::new(0),
            denials: watch::Sender::new(Vec::new()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it stands.
    pub fn is_up(&self) -> bool {
        self.state().up
    }

    /// Since when it does not stand; `None` while it does.
    pub fn away_since(&self) -> Option<SystemTime> {
        let state = self.state();
        (!state.up).then_some(state.changed)
    }

    /// Counts connections made; changes when the client has connected again.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Waits until the server has denied something that `concerns` us, perhaps already.
    ///
    /// A request that is denied is never answered: this is quicker than its time limit.
    pub async fn denied(&self, concerns: impl Fn(&Denial) -> bool) -> Denial {
        let mut denials = self.denials.subscribe();
        loop {
            let found = denials
                .borrow_and_update()
                .iter()
                .find(|denial| concerns(denial))
                .cloned();
            if let Some(denial) = found {
                return denial;
            }
            if denials.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Takes an event of the client in, and logs what is new of it.
    pub fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                let mut state = self.state();
                state.up = true;
                state.complaints.clear();
                drop(state);
                // A server that was given other permissions makes its clients connect again.
                self.denials.send_modify(Vec::clear);
                self.connections.send_modify(|count| *count += 1);
                tracing::info!("connected to NATS");
            }
            Event::Disconnected | Event::Draining | Event::Closed => {
                let mut state = self.state();
                if state.up {
                    state.up = false;
                    state.changed = SystemTime::now();
                    if *event == Event::Disconnected {
                        tracing::warn!("lost the connection to NATS, reconnecting");
                    }
                }
            }
            Event::ServerError(ServerError::Other(text)) => match Denial::read(text) {
                Some(denial) => self.deny(denial),
                None => self.complain(event),
            },
            other => self.complain(other),
        }
    }

    fn deny(&self, denial: Denial) {
        self.denials.send_if_modified(|denials| {
            if denials.len() >= MOST_DENIALS || denials.contains(&denial) {
                return false;
            }
            tracing::warn!(%denial, "NATS does not let these credentials do this: see `farm permissions`");
            denials.push(denial);
            true
        });
    }

    /// The client repeats itself with every attempt.
    fn complain(&self, event: &Event) {
        let complaint = event.to_string();
        let mut state = self.state();
        if state.complaints.len() < MOST_DENIALS && state.complaints.insert(complaint.clone()) {
            tracing::warn!(event = complaint, "NATS");
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(text: &str) -> Event {
        Event::ServerError(ServerError::Other(text.to_owned()))
    }

    #[tokio::test]
    async fn what_the_server_denies_is_remembered_once() {
        let link = Link::new();
        let event = violation("Permissions Violation for Publish to \"$JS.API.INFO\"");
        link.note(&event);
        link.note(&event);
        link.note(&violation(
            "Permissions Violation for Subscription to \"farm.*.task.>\" using queue \"q\"",
        ));
        let denial = link.denied(|_| true).await;
        assert_eq!(denial.to_string(), "publish to $JS.API.INFO");
        let heard = link.denied(|denial| denial.action == Action::Subscribe);
        assert_eq!(heard.await.subject, "farm.*.task.>");
        assert_eq!(link.denials.borrow().len(), 2);
    }

    #[test]
    fn a_new_connection_may_have_new_permissions() {
        let link = Link::new();
        link.note(&violation("Permissions Violation for Publish to \"a\""));
        assert_eq!(link.denials.borrow().len(), 1);
        link.note(&Event::Connected);
        assert!(link.denials.borrow().is_empty());
    }

    #[test]
    fn a_link_is_away_until_it_connects() {
        let link = Link::new();
        let connections = link.connections();
        assert!(link.away_since().is_some());
        link.note(&Event::Connected);
        assert!(link.is_up() && link.away_since().is_none());
        assert_eq!(*connections.borrow(), 1);
        link.note(&Event::Disconnected);
        assert!(!link.is_up());
    }
}
