//! The policies, one file each.

mod external;
mod fixed;
mod learned;
mod one_step;
mod predictive;
mod queue;
mod reactive;
mod utilisation;

pub use external::External;
pub use fixed::Fixed;
pub use learned::Learned;
pub(crate) use learned::check_interval;
pub use one_step::OneStep;
pub use predictive::{Predictive, PredictiveSettings};
pub use queue::{Queue, QueueSettings};
pub use reactive::{CompletionTime, Reactive};
pub use utilisation::{Utilisation, UtilisationSettings};

/// The whole number of workers for a fractional need; what no `u32` holds saturates.
pub(crate) fn whole_workers(need: f64) -> u32 {
    // Without the margin, 3.0000000000000004 workers would be 4.
    (need - 1e-9).ceil().max(0.0) as u32
}
