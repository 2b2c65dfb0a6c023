//! One module per command: its arguments and what it does.

pub mod autoscaler;
pub mod bench;
pub mod cancel;
pub mod cargo;
pub mod check;
pub mod dead;
pub mod evaluate;
pub mod load;
pub mod permissions;
pub mod results;
pub mod simulate;
pub mod status;
pub mod submit;
pub mod train;
pub mod up;
