//! The seam between those who observe and act, and those who decide.

use crate::{Action, Observation};

/// A policy that cannot decide on what it was shown.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("policy {policy}: {cause}")]
pub struct PolicyError {
    /// Name of the policy.
    pub policy: &'static str,
    /// Why, and what to do.
    pub cause: String,
}

/// Decides how parallel a farm is to be.
///
/// Called once per control interval, in the order of time. Equal sequences of observations give
/// equal sequences of actions.
pub trait Policy: Send {
    /// Its name in annotations, metrics and files.
    fn name(&self) -> &'static str;

    /// The parallelism wanted now. Bounds and step limits are the guard's business.
    ///
    /// # Errors
    /// [`PolicyError`] if it cannot decide; it may be asked again with the next observation.
    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError>;

    /// Why it decided as it did the last time, in one sentence with its numbers.
    fn reason(&self) -> String;
}

impl<P: Policy + ?Sized> Policy for Box<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        (**self).decide(observation)
    }

    fn reason(&self) -> String {
        (**self).reason()
    }
}
