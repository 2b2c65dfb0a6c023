//! How SARSA(λ) learns.

use farm_policy::learned::Sense;
use serde::{Deserialize, Serialize};

use super::TraceKind;

/// A number that changes while a policy is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// It stays.
    Constant(f64),
    /// Multiplied by `factor` after each episode, until it is `last`.
    PerEpisode {
        /// In the first episode.
        first: f64,
        /// At the end.
        last: f64,
        /// Below 1.
        factor: f64,
    },
    /// Inversely proportional to the steps done, from `first` to `last` at the end of training.
    Harmonic {
        /// In the first step.
        first: f64,
        /// In the last step.
        last: f64,
    },
    /// In equal parts from `first` to `last` until the share `until_ratio` of training is done.
    Linear {
        /// In the first step.
        first: f64,
        /// From then on.
        last: f64,
        /// Share of the training's steps.
        until_ratio: f64,
    },
}

impl Schedule {
    /// Its value after `episodes` finished ones, when the share `done_ratio` of training is done.
    pub fn at(&self, previous: Option<f64>, done_ratio: f64) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::PerEpisode {
                first,
                last,
                factor,
            } => previous.map_or(first, |previous| (previous * factor).max(last)),
            Self::Harmonic { first, last } => first / (1.0 + (first / last - 1.0) * done_ratio),
            Self::Linear {
                first,
                last,
                until_ratio,
            } => first + (last - first) * (done_ratio / until_ratio).min(1.0),
        }
    }
}

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SarsaSettings {
    pub alpha: Schedule,
    pub epsilon: Schedule,
    pub gamma: f64,
    pub lambda: f64,
    pub traces: TraceKind,
    pub trace_threshold: f64,
    pub ends: bool,
    pub edges: Vec<(Sense, Vec<f64>)>,
    pub initial_value: f64,
    pub target_qos_ratio: Option<f64>,
    pub price_gain: f64,
    pub average: bool,
    pub steps: u64,
    pub checkpoints: u64,
    pub checkpoint_episodes: u64,
}
