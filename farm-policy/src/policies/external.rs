//! `external`: somebody outside decides.

use crate::{Action, Observation, Policy, PolicyError};

/// The policy `external`: what was ordered, as long as the order is fresh.
///
/// Formula: `wanted = ordered`, [`Observation::ordered_parallelism`]. Without a fresh order it
/// errs, and the guard's fallback decides.
///
/// It has no parameters. Choose it for a program that watches the farm and scales it over HTTP: a
/// learner on a live farm, or a policy that is written in another language. Who orders sees the
/// effect only as the farm's limits allow: set `farm.stabilisation` and `farm.cooldown` to `0s`
/// for one who is to decide alone.
#[derive(Debug, Clone, Default)]
pub struct External {
    ordered: Option<u32>,
}

impl External {
    /// A policy that was ordered nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Policy for External {
    fn name(&self) -> &'static str {
        "external"
    }

    fn decide(&mut self, observation: &Observation) -> Result<Action, PolicyError> {
        self.ordered = observation.ordered_parallelism;
        match self.ordered {
            Some(parallelism) => Ok(Action { parallelism }),
            None => Err(PolicyError {
                policy: self.name(),
                cause: "there is no fresh order: send one to the autoscaler within every three \
                        intervals, POST /farms/{farm}/order with {\"parallelism\": 8}"
                    .to_owned(),
            }),
        }
    }

    fn reason(&self) -> String {
        match self.ordered {
            Some(parallelism) => format!("{parallelism} workers were ordered from outside"),
            None => "nothing was ordered".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_is_ordered_and_errs_without_an_order() {
        let mut policy = External::new();
        let ordered = Observation {
            ordered_parallelism: Some(7),
            ..Observation::idle(1.0, 2)
        };
        assert_eq!(policy.decide(&ordered), Ok(Action { parallelism: 7 }));
        assert_eq!(policy.reason(), "7 workers were ordered from outside");
        let error = policy.decide(&Observation::idle(2.0, 7)).unwrap_err();
        assert!(
            error.to_string().contains("POST /farms/{farm}/order"),
            "{error}"
        );
    }
}
