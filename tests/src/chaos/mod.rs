//! A fault campaign: tasks come in through every entry while faults are injected from a schedule;
//! then an independent checker reads what is stored against what was recorded.
//!
//! | part | what it does |
//! |---|---|
//! | [`plan`] | which tasks and submits there are: a function of the seed |
//! | [`schedule`] | which faults there are, and when: a function of the seed |
//! | [`history`] | the append-only record of what was asked and answered |
//! | [`generator`] | submits what is planned |
//! | [`fleet`] | keeps the farm's processes running |
//! | [`nemesis`] | injects what is scheduled |
//! | [`reads`] | reads back what NATS and the farm hold at the end |
//! | [`checker`] | finds violations: pure, over record and reads |
//! | [`recovery`] | how long the farm took to settle tasks again after each fault |
//! | [`campaign`] | all of it together |

pub mod campaign;
pub mod checker;
pub mod fleet;
pub mod generator;
pub mod history;
pub mod nemesis;
pub mod plan;
pub mod reads;
pub mod recovery;
pub mod report;
pub mod schedule;
pub mod supervisor;

pub use campaign::{Options, run};
pub use report::Report;
