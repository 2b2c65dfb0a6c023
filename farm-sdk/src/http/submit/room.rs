//! What a replica remembers of a full queue, so that many refusals cost little: neither a trace of
//! each on NATS, nor a crowd of half-taken jobs that fill every place that comes free.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// For how long a queue that was full is believed to be.
const BELIEVED: Duration = Duration::from_millis(100);
/// Begun submits that may wait for room at once.
const WAITING: usize = 4;

pub(crate) struct Room {
    full_until: Mutex<Option<Instant>>,
    waiting: Semaphore,
}

impl Room {
    pub fn new() -> Self {
        Self {
            full_until: Mutex::new(None),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// The queue has just refused a task.
    pub fn note_full(&self) {
        *self.lock() = Some(Instant::now() + BELIEVED);
    }

    /// Whether the queue was full a moment ago.
    pub fn is_full(&self) -> bool {
        self.lock().is_some_and(|until| Instant::now() < until)
    }

    /// A place among the submits that wait for room, if there is one.
    pub fn wait(&self) -> Option<SemaphorePermit<'_>> {
        self.waiting.try_acquire().ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // One value, replaced as a whole.
        self.full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_believed_for_a_moment_and_few_wait_for_it() {
        let room = Room::new();
        assert!(!room.is_full());
        room.note_full();
        assert!(room.is_full());
        tokio::time::advance(BELIEVED).await;
        assert!(!room.is_full());
        let places: Vec<_> = (0..WAITING).map(|_| room.wait().unwrap()).collect();
        assert!(room.wait().is_none());
        drop(places);
        assert!(room.wait().is_some());
    }
}
