//! The `farm` program against an HTTP server that keeps to `farm_core::http`, on a real socket.
#![allow(clippy::unwrap_used)]

mod autoscaler;
mod bench;
mod cargo;
mod check;
mod dead;
mod load;
mod program;
mod results;
mod server;
mod simulate;
mod status;
mod submit;
mod train;
