//! `static`: always the same.

use crate::{Action, Observation, Policy, PolicyError};

/// The policy `static`: a parallelism that you chose.
///
/// Formula: `wanted = parallelism`.
///
/// | parameter | unit | default |
/// |---|---|---|
/// | `parallelism` | tasks at once | none: it must be given |
///
/// Choose it as the yardstick of the others, for a load that does not change, or to pin a farm
/// while you look for a fault. A farm that may scale to zero still does when idle: that is the
/// guard's business.
#[derive(Debug, Clone)]
pub struct Fixed {
    parallelism: u32,
}

impl Fixed {
    /// Always this parallelism.
    pub fn new(parallelism: u32) -> Self {
        Self { parallelism }
    }
}

impl Policy for Fixed {
    fn name(&self) -> &'static str {
        "static"
    }

    fn decide(&mut self, _: &Observation) -> Result<Action, PolicyError> {
        Ok(Action {
            parallelism: self.parallelism,
        })
    }

    fn reason(&self) -> String {
        format!("always {} workers", self.parallelism)
    }
}
