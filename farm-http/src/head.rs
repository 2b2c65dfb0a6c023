//! How long the head of a request may take: two bounds where hyper has one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Bytes read from a connection so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The timer of one connection. hyper starts one alarm for each head, when it begins to wait for
/// it: so a connection may be idle. The alarm is brought forward by the head's first byte, and on
/// a connection on which nothing was ever sent there is no being idle.
pub(crate) struct HeadTimer {
    read: BytesRead,
    timeout: Duration,
}

impl HeadTimer {
    /// Allows `timeout` from the first byte of a head to its last.
    pub fn new(read: BytesRead, timeout: Duration) -> Self {
        Self { read, timeout }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, idle_until: Instant) -> Pin<Box<dyn Sleep>> {
        let read = self.read.get();
        let is_new = read == 0;
        let end = if is_new {
            self.now() + self.timeout
        } else {
            idle_until
        };
        Box::pin(HeadAlarm {
            read: self.read.clone(),
            timeout: self.timeout,
            idle_at: (!is_new).then_some(read),
            alarm: Box::pin(tokio::time::sleep_until(end.into())),
        })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

struct HeadAlarm {
    read: BytesRead,
    timeout: Duration,
    /// Bytes read when the connection became idle; `None` once the head has begun.
    idle_at: Option<u64>,
    alarm: Pin<Box<tokio::time::Sleep>>,
}

impl Sleep for HeadAlarm {}

impl Future for HeadAlarm {
    type Output = ();

    // hyper polls it after every read that did not bring the end of the head.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self
            .idle_at
            .is_some_and(|idle_at| idle_at != self.read.get())
        {
            self.idle_at = None;
            let end = tokio::time::Instant::now() + self.timeout;
            self.alarm.as_mut().reset(end);
        }
        self.alarm.as_mut().poll(context)
    }
}
