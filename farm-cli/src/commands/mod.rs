//! One module per command: its arguments and what it does.

pub mod autoscaler;
pub mod cancel;
pub mod cargo;
pub mod dead;
pub mod load;
pub mod results;
pub mod status;
pub mod submit;
pub mod up;
