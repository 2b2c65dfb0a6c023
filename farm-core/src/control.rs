//! What the autoscaler tells worker replicas: on [`Topology::control_slots_subject`].
//!
//! A stream keeps the last message of that subject, so one publish reaches the replicas that run
//! (they subscribe to the subject) and those that start later (they read the last message).
//!
//! [`Topology::control_slots_subject`]: crate::topology::Topology::control_slots_subject

use serde::{Deserialize, Serialize};

/// Most slots a replica takes, whoever asks for more.
pub const MAX_SLOTS: u32 = 10_000;

/// How many tasks each replica of the farm is to compute at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsOrder {
    /// From 1 to [`MAX_SLOTS`].
    pub slots: u32,
    /// Who ordered it, for the log.
    #[serde(default)]
    pub by: String,
}
