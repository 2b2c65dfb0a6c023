//! The autoscaler as a process, on a real NATS server, before a gateway that can be made to fail.

// A test that cannot be set up fails, and says at which line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod annotations;
mod external;
mod faults;
mod footprint;
mod gateway;
mod leader;
mod page;
mod permissions;
mod scaling;
mod scene;
mod workers;
