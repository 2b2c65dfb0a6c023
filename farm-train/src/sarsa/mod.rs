//! SARSA(λ) on a table.
#![allow(missing_docs)]
mod learner;
mod settings;
mod traces;
mod training;

use farm_policy::learned::Table;
pub use settings::{SarsaSettings, Schedule};
pub use traces::TraceKind;
pub use training::{greedy, train};

use crate::course::{CurvePoint, Score};

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{0}")]
    Scenario(String),
}

#[derive(Debug)]
pub struct Trained {
    pub table: Table,
    pub score: Score,
    pub curve: Vec<CurvePoint>,
    pub price: f64,
}
