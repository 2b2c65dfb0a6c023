//! What `simulate`, `evaluate`, `train` and `load` share: scenarios and policies from the command
//! line.

pub mod compare;
pub mod contenders;
pub mod report;
pub mod scenario;
pub mod training;
