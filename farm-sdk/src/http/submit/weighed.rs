//! A channel that is full by the number of what it holds, or by its weight.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// A channel of at most `count` items that weigh at most `bytes` together. One that is heavier
/// by itself travels alone.
pub(super) fn channel<T>(count: usize, bytes: usize) -> (Sender<T>, Receiver<T>) {
    let (items, queue) = mpsc::channel(count);
    let most = u32::try_from(bytes).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(most as usize));
    (Sender { items, room, most }, Receiver(queue))
}

pub(super) struct Sender<T> {
    items: mpsc::Sender<(T, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    most: u32,
}

pub(super) struct Receiver<T>(mpsc::Receiver<(T, OwnedSemaphorePermit)>);

/// Nobody receives any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            room: Arc::clone(&self.room),
            most: self.most,
        }
    }
}

impl<T> Sender<T> {
    pub async fn send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let weight = u32::try_from(bytes).map_or(self.most, |bytes| bytes.min(self.most));
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(weight) => room,
            () = self.items.closed() => return Err(Closed),
        };
        let room = room.map_err(|_| Closed)?;
        self.items.send((item, room)).await.map_err(|_| Closed)
    }

    /// Sends from a blocking thread of a runtime.
    pub fn blocking_send(&self, item: T, bytes: usize) -> Result<(), Closed> {
        Handle::current().block_on(self.send(item, bytes))
    }
}

impl<T> Receiver<T> {
    pub async fn recv(&mut self) -> Option<T> {
        self.0.recv().await.map(|(item, _)| item)
    }

    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn what_is_heavy_waits_until_there_is_room() {
        let (sender, mut receiver) = channel(10, 100);
        sender.send('a', 60).await.unwrap();
        assert!(sender.send('b', 60).now_or_never().is_none());
        assert_eq!(receiver.recv().await, Some('a'));
        sender.send('b', 60).await.unwrap();
        assert_eq!(receiver.try_recv(), Ok('b'));
        sender.send('c', 1_000_000).await.unwrap();
        assert!(sender.send('d', 1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn nobody_waits_for_room_that_nobody_makes() {
        let (sender, receiver) = channel(10, 100);
        sender.send('a', 100).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send('b', 1).await });
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }
}
