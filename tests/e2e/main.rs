//! What rust-farm promises, tried on real NATS servers and real function processes.
//!
//! One module per promise. Each test would fail if its promise were broken.

mod broker_restart;
mod collector;
mod dead_letters;
mod drain;
mod farm_up;
mod http_refusals;
mod http_submit;
mod long_tasks;
mod lost_workers;
mod no_hoarding;
mod platform_contract;
mod raw_nats;
mod scaling;
mod simulated_workloads;
mod slots;
mod start_up;
mod telemetry;
mod template;
mod tracing;
