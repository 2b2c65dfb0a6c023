//! Policies that were trained: what they see, what they may do, and the files they come in.
//!
//! Every artefact carries a [`Contract`]: the numbers it was shown, in their order, and the actions
//! its outputs stand for. Whoever trains, simulates or scales builds the input through the same
//! [`Eyes`], so a policy cannot be shown something else than what it was trained on.

mod actions;
mod artefact;
mod contract;
mod error;
mod eyes;
mod grid;
mod models;
mod network;
pub mod onnx;
mod table;

pub use actions::{ActionSpace, Actions};
pub use artefact::{Artefact, MAX_ARTEFACT_BYTES};
pub use contract::{Contract, Feature, Training};
pub use error::ArtefactError;
pub use eyes::{Eyes, Sense};
pub use models::{BuiltInModels, Models};
pub use network::Network;
pub use table::Table;
