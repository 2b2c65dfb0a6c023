//! The scaling problem of a farm, and who decides.
//!
//! At every control interval a [`Policy`] sees an [`Observation`] and answers with an [`Action`]:
//! the parallelism it wants. A [`Guard`] keeps that answer within [`Limits`], holds when it cannot
//! see, and stands in when the policy fails. The same objects run in the simulator, in training
//! and in the autoscaler, so nothing here reads a clock, draws a random number or waits for
//! anything.
//!
//! # Which policy
//!
//! | name | decides by | choose it |
//! |---|---|---|
//! | [`static`](policies::Fixed) | nothing | to compare, or when you know |
//! | [`queue`](policies::Queue) | tasks in the farm | without deadlines, for batches |
//! | [`utilisation`](policies::Utilisation) | busy share of the workers | for a steady load with a known margin |
//! | [`reactive-average`](policies::Reactive) | the paper's rule, mean completion time | to compare; also the fallback |
//! | [`reactive-maximum`](policies::Reactive) | the paper's rule, longest completion time | to compare |
//! | [`predictive`](policies::Predictive) | forecast and queueing theory | to hold a deadline: the default choice |
//! | [`external`](policies::External) | somebody outside, over HTTP | to learn on a live farm, or in another language |
//! | [`sarsa`](policies::Learned) | a table that was trained | for a load like the one of training |
//! | [`dqn`, `onnx`](policies::Learned) | a network that was trained | the same, with more features |
//!
//! ```
//! use std::collections::BTreeMap;
//! use farm_policy::{Guard, Limits, Observation, PolicySpec};
//!
//! let parameters = BTreeMap::from([("target".to_owned(), "2".to_owned())]);
//! let spec = PolicySpec::parse("queue", &parameters).map_err(|wrong| wrong[0].clone())?;
//! let mut guard = Guard::new(spec.build(), Limits::default());
//!
//! let ruling = guard.decide(&Observation { backlog_tasks: 9, ..Observation::idle(8.0, 2) });
//! assert_eq!((ruling.wanted, ruling.target), (Some(5), 5));
//! println!("{}", ruling.reasons.join("; "));
//!
//! let ruling = guard.hold(16.0, 5, "the gateway did not answer");
//! assert_eq!((ruling.held, ruling.target), (true, 5));
//! # Ok::<(), farm_policy::InvalidSetting>(())
//! ```

mod action;
mod forecast;
mod guard;
pub mod learned;
mod limits;
mod observation;
pub mod policies;
mod policy;
mod recent;
pub mod reward;
mod settings;
mod spec;
pub mod staffing;

#[cfg(test)]
mod fuzz;

pub use action::{Action, NotAUnitStep, UnitStep};
pub use forecast::DampedTrend;
pub use guard::{Guard, Ruling};
pub use limits::Limits;
pub use observation::{Observation, PAPER_HIGH, PAPER_LOW};
pub use policy::{Policy, PolicyError};
pub use settings::InvalidSetting;
pub use spec::{POLICY_NAMES, PolicySpec, TRAINED_POLICY_NAMES};
