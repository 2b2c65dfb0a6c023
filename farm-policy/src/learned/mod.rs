//! Policies that were trained: what they see, what they may do, and the files they come in.
//!
//! Every artefact carries a [`Contract`]: the numbers it was shown, in their order, and the actions
//! its outputs stand for. Whoever trains, simulates or scales builds the input through the same
//! [`Eyes`], so a policy cannot be shown something else than what it was trained on.

mod actions;
mod contract;
mod error;
mod eyes;
mod grid;
mod table;

pub use actions::{ActionSpace, Actions};
pub use contract::{Contract, Feature, Training};
pub use error::ArtefactError;
pub use eyes::{Eyes, Sense};
pub use table::Table;

/// Largest file of a trained policy, in bytes.
pub const MAX_ARTEFACT_BYTES: usize = 16 << 20;
