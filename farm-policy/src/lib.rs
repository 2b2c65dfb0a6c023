//! The scaling problem of a farm, and who decides.
//!
//! At every control interval a [`Policy`] sees an [`Observation`] and answers with an [`Action`]:
//! the parallelism it wants. The same objects run in the simulator, in training and in the
//! autoscaler, so nothing here reads a clock, draws a random number or waits for anything.

mod action;
mod observation;
mod policy;

pub use action::Action;
pub use observation::Observation;
pub use policy::{Policy, PolicyError};
