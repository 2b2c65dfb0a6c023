//! Ports that nobody else takes between being found free and being used.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which systems give ports to outgoing connections.
const LOWEST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A port on which nothing listens; never the same one twice in a test run.
///
/// # Panics
/// If all are in use.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another test run on the same machine starts elsewhere, far away even if its process id is
    // the next one: a test that stops a server wants to find its port free again.
    let start = (std::process::id().wrapping_mul(7_919) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + (start as u16 + next % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {LOWEST} on");
}
