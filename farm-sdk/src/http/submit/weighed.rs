//! A channel that is full by the number of what it holds, or by its weight, and that is emptied at
//! once: who sends faster than is received is received in larger lots.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;

/// A channel of at most `count` items that weigh at most `bytes` together. One that is heavier
/// by itself travels alone.
pub(super) fn channel<T>(count: usize, bytes: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        count,
        bytes,
        state: Mutex::new(State {
            items: VecDeque::new(),
            bytes: 0,
            senders: 1,
            received: true,
        }),
        filled: Notify::new(),
        emptied: Notify::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

pub(super) struct Sender<T>(Arc<Shared<T>>);

pub(super) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    count: usize,
    bytes: usize,
    state: Mutex<State<T>>,
    /// Told when there is something in an empty channel, or nobody left to send.
    filled: Notify,
    /// Told when there is room, or nobody left to receive.
    emptied: Notify,
}

struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    senders: usize,
    received: bool,
}

/// Nobody receives any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

enum Refused<T> {
    Full(T),
    Closed,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that could panic happens under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: T, bytes: usize) -> Result<(), Refused<T>> {
        let mut state = self.state();
        if !state.received {
            return Err(Refused::Closed);
        }
        let was_empty = state.items.is_empty();
        let heavy = state.bytes.saturating_add(bytes) > self.bytes;
        if !was_empty && (heavy || state.items.len() >= self.count) {
            return Err(Refused::Full(item));
        }
        state.items.push_back(item);
        state.bytes += bytes;
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state().senders -= 1;
        self.0.filled.notify_one();
    }
}

impl<T> Sender<T> {
    pub async fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let mut refused = self.0.push(item, bytes);
        loop {
            let item = match refused {
                Ok(()) => return Ok(()),
                Err(Refused::Closed) => return Err(Closed),
                Err(Refused::Full(item)) => item,
            };
            // What is emptied between this and the next look is not missed.
            let mut emptied = pin!(self.0.emptied.notified());
            emptied.as_mut().enable();
            refused = self.0.push(item, bytes);
            if matches!(refused, Err(Refused::Full(_))) {
                emptied.await;
            }
        }
    }

    /// Sends from a blocking thread of a runtime.
    pub fn blocking_send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        match self.0.push(item, bytes) {
            Ok(()) => Ok(()),
            Err(Refused::Closed) => Err(Closed),
            Err(Refused::Full(item)) => Handle::current().block_on(self.send(item, bytes)),
        }
    }
}

impl<T> Receiver<T> {
    /// All that is there, as soon as there is anything; `None` once nothing more can come. To stop
    /// waiting for it loses nothing.
    pub async fn recv_all(&mut self) -> Option<VecDeque<T>> {
        loop {
            {
                let mut state = self.0.state();
                if !state.items.is_empty() {
                    state.bytes = 0;
                    let items = std::mem::take(&mut state.items);
                    drop(state);
                    self.0.emptied.notify_waiters();
                    return Some(items);
                }
                if state.senders == 0 {
                    return None;
                }
            }
            self.0.filled.notified().await;
        }
    }

    /// Whether nothing more can come.
    pub fn has_ended(&self) -> bool {
        let state = self.0.state();
        state.senders == 0 && state.items.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.received = false;
        let unread = std::mem::take(&mut state.items);
        drop(state);
        self.0.emptied.notify_waiters();
        drop(unread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    async fn all(receiver: &mut Receiver<char>) -> String {
        receiver.recv_all().await.into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn what_is_heavy_waits_until_there_is_room() {
        let (sender, mut receiver) = channel(10, 100);
        sender.send('a', 60).await.unwrap();
        assert!(sender.send('x', 60).now_or_never().is_none());
        sender.send('b', 40).await.unwrap();
        assert_eq!(all(&mut receiver).await, "ab");
        sender.send('c', 1_000_000).await.unwrap();
        assert!(sender.send('x', 1).now_or_never().is_none());
        assert_eq!(all(&mut receiver).await, "c");
        assert!(!receiver.has_ended());
    }

    #[tokio::test]
    async fn many_wait_even_if_they_are_light_and_none_is_lost() {
        let (sender, mut receiver) = channel(3, 100);
        let other = sender.clone();
        let sending = tokio::task::spawn_blocking(move || {
            ('a'..='m').all(|letter| sender.blocking_send(letter, 1).is_ok())
        });
        let more = tokio::spawn(async move {
            for letter in 'n'..='z' {
                other.send(letter, 1).await.unwrap();
            }
        });
        let mut received = Vec::new();
        while let Some(items) = receiver.recv_all().await {
            assert!(items.len() <= 3);
            received.extend(items);
        }
        assert!(sending.await.unwrap());
        more.await.unwrap();
        assert!(receiver.has_ended());
        received.sort_unstable();
        assert_eq!(String::from_iter(received), String::from_iter('a'..='z'));
    }

    #[tokio::test]
    async fn nobody_waits_for_room_that_nobody_makes() {
        let (sender, receiver) = channel(10, 100);
        sender.send('a', 100).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send('b', 1).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }
}
