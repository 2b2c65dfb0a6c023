//! Waiting for what is to happen: polling with a deadline, never sleeping and hoping.

use std::future::Future;
use std::time::{Duration, Instant};

/// Pause between two looks.
pub const POLL: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds something.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up = Instant::now() + limit;
    loop {
        let rest = give_up.saturating_duration_since(Instant::now());
        if let Ok(Some(found)) = tokio::time::timeout(rest.max(POLL), look()).await {
            return found;
        }
        assert!(Instant::now() < give_up, "{what}: not within {limit:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Checks that nothing changes: looks for the whole of `period`.
///
/// # Panics
/// As soon as `look` says false, naming `what` should have held.
pub async fn holds_for(what: &str, period: Duration, mut look: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + period;
    while Instant::now() < end {
        assert!(look().await, "{what}: no longer true");
        tokio::time::sleep(POLL).await;
    }
}

/// Awaits `future`.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}
