//! How many requests are worked on at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many turns, taken one each by whoever works on a request.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Semaphore>);

/// One turn; given back when its last clone is dropped.
#[derive(Debug, Clone)]
pub struct Turn(Arc<Held>);

#[derive(Debug)]
struct Held {
    turns: Turns,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Turns {
    /// `most` turns at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    /// A turn, if one is free.
    #[must_use]
    pub fn take(&self) -> Option<Turn> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Turn(Arc::new(Held {
            turns: self.clone(),
            permit: Mutex::new(Some(permit)),
        })))
    }
}

impl Turn {
    /// Gives the turn back while there is nothing to work on, such as for a client that is slow
    /// to send.
    pub fn pause(&self) {
        self.set(None);
    }

    /// Waits until it is this request's turn again.
    pub async fn resume(&self) {
        // Turns are never closed.
        if let Ok(permit) = Arc::clone(&self.0.turns.0).acquire_owned().await {
            self.set(Some(permit));
        }
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.0.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_turn_is_free_while_it_is_paused_and_after_its_last_clone() {
        let turns = Turns::new(1);
        let slow = turns.take().unwrap();
        assert!(turns.take().is_none());
        slow.pause();
        let quick = turns.take().unwrap();
        let again = slow.clone();
        let resumed = tokio::spawn(async move { again.resume().await });
        drop(quick);
        resumed.await.unwrap();
        assert!(turns.take().is_none());
        drop(slow);
        assert!(turns.take().is_some());
    }
}
