//! What rust-farm promises, tried on real NATS servers and real function processes.
//!
//! One module per promise. Each test would fail if its promise were broken.

mod broker_restart;
mod chunks;
mod codecs;
mod collector;
mod dead_letters;
mod drain;
mod expiry;
mod farm_up;
mod faults;
mod full_queue;
mod granularity;
mod http_bounds;
mod http_refusals;
mod http_submit;
mod http_token;
mod long_tasks;
mod lost_workers;
mod nats_access;
mod no_hoarding;
mod outcome_chunks;
mod overload;
mod permissions;
mod platform_contract;
mod poison;
mod raw_nats;
mod scaling;
mod secrets;
mod simulated_workloads;
mod slots;
mod slow_readers;
mod start_up;
mod stranded_chunks;
mod task_counts;
mod telemetry;
mod template;
mod tracing;
