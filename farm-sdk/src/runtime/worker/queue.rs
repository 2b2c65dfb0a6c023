//! What waits in this replica for a slot, and the slots that take from it.
//!
//! Every slot that computes takes its next message here as soon as it has finished one: nothing is
//! handed from thread to thread per task, and no slot waits while another has a queue of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::Ready;

pub(super) struct Queue {
    inner: Mutex<Inner>,
}

struct Inner {
    ready: VecDeque<Ready>,
    /// Slots that compute, or were opened to.
    busy: usize,
    /// Those of them that have not taken their first message: their thread may be kept from it.
    opening: usize,
    /// Slots there are to be.
    slots: usize,
    /// Whether nothing more is to start now.
    paused: bool,
    last_start: Instant,
}

impl Queue {
    pub fn new(slots: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                ready: VecDeque::new(),
                busy: 0,
                opening: 0,
                slots,
                paused: false,
                last_start: Instant::now(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whole even if a holder of the lock panicked: each change is one statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, ready: Ready) {
        self.lock().ready.push_back(ready);
    }

    pub fn set_slots(&self, slots: usize) {
        self.lock().slots = slots;
    }

    /// Lets nothing start, or lets it start again.
    pub fn pause(&self, paused: bool) {
        self.lock().paused = paused;
    }

    /// Takes a free slot, if there is one and something to compute in it.
    pub fn open_slot(&self) -> bool {
        let mut inner = self.lock();
        let open = inner.busy < inner.slots && inner.unclaimed() > 0 && !inner.paused;
        inner.busy += usize::from(open);
        inner.opening += usize::from(open);
        open
    }

    /// The first message of a slot that was opened.
    pub fn first(&self) -> Option<Ready> {
        self.lock().opening -= 1;
        self.next()
    }

    /// The next message for a slot; `None` closes the slot.
    pub fn next(&self) -> Option<Ready> {
        let mut inner = self.lock();
        let next = match inner.busy <= inner.slots && !inner.paused {
            true => inner.ready.pop_front(),
            false => None,
        };
        match next.is_some() {
            true => inner.last_start = Instant::now(),
            false => inner.busy -= 1,
        }
        next
    }

    /// Messages that no slot was opened for.
    pub fn ready(&self) -> usize {
        self.lock().unclaimed()
    }

    pub fn busy(&self) -> usize {
        self.lock().busy
    }

    /// Since when the slots compute, if all of them do and nothing has started since.
    pub fn full_since(&self) -> Option<Instant> {
        let inner = self.lock();
        (inner.busy >= inner.slots).then_some(inner.last_start)
    }

    /// Takes everything out that has not started.
    pub fn take_all(&self) -> VecDeque<Ready> {
        std::mem::take(&mut self.lock().ready)
    }

    /// Takes the last message out if there are more than `most` and `fits` it.
    pub fn take_surplus(&self, most: usize, fits: impl Fn(&Ready) -> bool) -> Option<Ready> {
        let mut inner = self.lock();
        match inner.unclaimed() > most {
            true => inner.ready.pop_back_if(|ready| fits(ready)),
            false => None,
        }
    }
}

impl Inner {
    fn unclaimed(&self) -> usize {
        self.ready.len().saturating_sub(self.opening)
    }
}
