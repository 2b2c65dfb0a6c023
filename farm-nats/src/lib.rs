//! How a function and the autoscaler connect to NATS.
//!
//! [`Access`] reads who we are from the files of a secrets folder, again at every connection, so
//! that a rotated secret is used without a restart. [`Link`] knows whether the connection stands
//! and what the server denied. No secret is ever part of an error, a log line or a `Debug` text.

mod access;
mod bucket;
mod failure;
mod identity;
mod link;
mod secret;
mod tls;
mod url;

#[cfg(test)]
mod fuzz;

pub use access::{Access, AccessError};
pub use bucket::{bucket, is_absent};
pub use failure::{Failure, chain};
pub use link::{Action, Denial, Link};
pub use secret::{read_secret, secrets_folder};
