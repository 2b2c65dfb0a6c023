//! Which faults there are, when, and for how long: a function of the seed.

use serde::{Deserialize, Serialize};

use super::plan::Random;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL to a worker.
    KillWorker,
    /// SIGTERM to a worker: it drains.
    TerminateWorker,
    /// SIGSTOP to a worker for longer than the ack wait: it wakes and publishes late.
    FreezeWorker,
    /// SIGKILL to a worker that the autoscaler scales.
    KillScaledWorker,
    /// SIGKILL to an emitter.
    KillEmitter,
    /// SIGTERM to an emitter.
    TerminateEmitter,
    /// SIGKILL to the collector that leads.
    KillCollector,
    /// SIGTERM to the collector that leads.
    TerminateCollector,
    /// SIGSTOP to the collector that leads, for longer than its lease.
    FreezeCollector,
    /// SIGKILL to the autoscaler.
    KillAutoscaler,
    /// SIGTERM to the autoscaler.
    TerminateAutoscaler,
    /// SIGSTOP to the autoscaler.
    FreezeAutoscaler,
    /// Connections between a worker and NATS are reset, and refused for a while.
    ResetLink,
    /// Bytes between a worker and NATS vanish while the connection stays open.
    BlackHoleLink,
    /// SIGTERM to a NATS server, which is started again.
    RestartServer,
    /// SIGKILL to a NATS server, which is started again.
    KillServer,
    /// SIGSTOP to a NATS server: as with a disk that hangs.
    FreezeServer,
    /// SIGKILL to the server that leads the stream of tasks.
    KillTasksLeader,
    /// SIGKILL to the server that leads the stream of results.
    KillResultsLeader,
    /// SIGSTOP to the server that leads the stream of tasks.
    FreezeTasksLeader,
    /// SIGKILL to a NATS server of a cluster that comes back with an empty disk.
    WipeServer,
    /// The servers' store is full until a filler is removed.
    FullStore,
    /// A client sends messages larger than the server takes.
    OversizedMessage,
    /// The clock of a process jumps by an hour or two.
    ClockJump,
}

impl Kind {
    /// Faults that a single server can have.
    pub const SINGLE: &'static [Kind] = &[
        Kind::KillWorker,
        Kind::TerminateWorker,
        Kind::FreezeWorker,
        Kind::KillScaledWorker,
        Kind::KillEmitter,
        Kind::TerminateEmitter,
        Kind::KillCollector,
        Kind::TerminateCollector,
        Kind::FreezeCollector,
        Kind::KillAutoscaler,
        Kind::TerminateAutoscaler,
        Kind::FreezeAutoscaler,
        Kind::ResetLink,
        Kind::BlackHoleLink,
        Kind::RestartServer,
        Kind::KillServer,
        Kind::FreezeServer,
        Kind::FullStore,
        Kind::OversizedMessage,
        Kind::ClockJump,
    ];
    /// Faults that only a cluster can have.
    pub const CLUSTER: &'static [Kind] = &[
        Kind::KillTasksLeader,
        Kind::KillResultsLeader,
        Kind::FreezeTasksLeader,
        Kind::WipeServer,
    ];

    /// Its name in tables.
    pub fn name(self) -> String {
        let json = serde_json::to_value(self).expect("JSON");
        json.as_str().unwrap_or_default().to_owned()
    }

    /// Whether it strikes a NATS server: one at a time, so that a cluster keeps its quorum.
    pub fn strikes_server(self) -> bool {
        use Kind::{FreezeServer, FullStore, KillServer, RestartServer};
        matches!(self, RestartServer | KillServer | FreezeServer | FullStore)
            || Self::CLUSTER.contains(&self)
    }

    /// Whether it strikes the autoscaler's platform.
    pub fn needs_autoscaler(self) -> bool {
        use Kind::{FreezeAutoscaler, KillAutoscaler, KillScaledWorker, TerminateAutoscaler};
        matches!(
            self,
            KillAutoscaler | TerminateAutoscaler | FreezeAutoscaler | KillScaledWorker
        )
    }

    /// Shortest and longest time until it is healed, in seconds.
    fn duration_seconds(self) -> (f64, f64) {
        match self {
            // The ack wait is 2 s.
            Self::FreezeWorker => (2.5, 6.0),
            // The lease holds for 6 s.
            Self::FreezeCollector => (6.5, 9.0),
            Self::FreezeAutoscaler => (2.0, 12.0),
            Self::ResetLink => (0.5, 3.0),
            Self::BlackHoleLink => (2.5, 8.0),
            Self::RestartServer | Self::KillServer | Self::WipeServer => (0.1, 3.0),
            Self::KillTasksLeader | Self::KillResultsLeader => (0.5, 5.0),
            Self::FreezeServer | Self::FreezeTasksLeader => (1.0, 5.0),
            Self::FullStore => (1.0, 3.0),
            _ => (0.0, 0.0),
        }
    }
}

/// One fault of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Its number.
    pub fault: usize,
    /// What it is.
    pub kind: Kind,
    /// When it begins, in seconds from the start.
    pub begin_seconds: f64,
    /// How long until it is healed.
    pub duration_seconds: f64,
    /// Chooses whom it strikes.
    pub choice: u64,
}

/// `faults` faults over `span_seconds`: each kind as often as any other, in an order and at times
/// that the seed chooses.
pub fn schedule(seed: u64, faults: usize, span_seconds: f64, kinds: &[Kind]) -> Vec<Fault> {
    let mut random = Random::new(seed, u64::MAX);
    let mut deck: Vec<Kind> = Vec::new();
    let pace_seconds = span_seconds / faults.max(1) as f64;
    (0..faults)
        .map(|fault| {
            if deck.is_empty() {
                deck = kinds.to_vec();
            }
            let kind = deck.swap_remove(random.below(deck.len() as u64) as usize);
            let (shortest, longest) = kind.duration_seconds();
            Fault {
                fault,
                kind,
                begin_seconds: pace_seconds * (fault as f64 + random.between(0.0, 0.5)),
                duration_seconds: random.between(shortest, longest),
                choice: random.next(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_faults() {
        let once = schedule(5, 40, 100.0, Kind::SINGLE);
        assert_eq!(once, schedule(5, 40, 100.0, Kind::SINGLE));
        assert_ne!(once, schedule(6, 40, 100.0, Kind::SINGLE));
        assert!(
            once.windows(2)
                .all(|pair| pair[0].begin_seconds < pair[1].begin_seconds)
        );
    }

    #[test]
    fn as_many_faults_as_kinds_are_of_every_kind() {
        let faults = schedule(1, Kind::SINGLE.len(), 100.0, Kind::SINGLE);
        for kind in Kind::SINGLE {
            assert!(faults.iter().any(|fault| fault.kind == *kind), "{kind:?}");
        }
    }
}
