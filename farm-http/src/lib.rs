//! The HTTP/1 server under every face of rust-farm. What a client can hold is bounded: how many
//! connections there are, how large its headers may be and how long they may take, how long a
//! request body or an answer may stand still, and how many requests are worked on at once.
//!
//! It knows nothing of farms: it takes an axum [`Router`](axum::Router).

mod bearer;
mod crowd;
mod head;
mod open_files;
mod rate;
mod serve;
mod stall;
mod turns;

pub use bearer::BearerToken;
pub use open_files::fitting_connections;
pub use rate::Rate;
pub use serve::{Bounds, Overflow, serve};
pub use turns::{Turn, Turns};
