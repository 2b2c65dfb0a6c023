//! Any policy, one worker at a time.

use crate::{Action, Observation, Policy, PolicyError, UnitStep};

/// Another policy, slowed to one worker more or less per interval, as every policy of the paper is.
///
/// Formula: `wanted = parallelism + sign(wanted by the policy − parallelism)`.
///
/// Every policy but `static` takes it as the parameter `step`: `one` or `free`. Choose it to compare on equal
/// terms with policies that know no other action; a farm under a sudden load is better off without.
///
/// ```
/// use farm_policy::policies::{Fixed, OneStep};
/// use farm_policy::{Observation, Policy};
/// let mut slow = OneStep::new(Fixed::new(20));
/// assert_eq!(slow.decide(&Observation::idle(0.0, 12))?.parallelism, 13);
/// # Ok::<(), farm_policy::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct OneStep<P> {
    policy: P,
    last: Option<(u32, u32)>,
}

impl<P: Policy> OneStep<P> {
    /// Slows `policy` down.
    pub fn new(policy: P) -> Self {
        Self { policy, last: None }
    }
}

impl<P: Policy> Policy for OneStep<P> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        let present = observation.parallelism;
        let wanted = self.policy.decide(observation)?.parallelism;
        let action = UnitStep::towards(present, wanted).from_parallelism(present);
        self.last = (wanted != action.parallelism).then_some((wanted, action.parallelism));
        Ok(action)
    }

    fn reason(&self) -> String {
        let reason = self.policy.reason();
        match self.last {
            Some((wanted, step)) => {
                format!("{reason}; one worker at a time: {step} on the way to {wanted}")
            }
            None => reason,
        }
    }
}
