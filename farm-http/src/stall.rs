//! A connection that is closed when its client takes no byte of an answer for too long, and that
//! counts what is read from it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::head::BytesRead;

/// Bounds each pause between two writes; reading is not bounded here.
pub(crate) struct Stalling<S> {
    stream: S,
    timeout: Duration,
    read: BytesRead,
    /// Made once, armed whenever a write has to wait.
    alarm: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl<S> Stalling<S> {
    pub fn new(stream: S, timeout: Duration, read: BytesRead) -> Self {
        Self {
            stream,
            timeout,
            read,
            alarm: None,
            armed: false,
        }
    }

    /// Lets `progress` through, or the error of a client that has stood still for too long.
    fn watch<T>(
        &mut self,
        progress: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.armed = false;
            return progress;
        }
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::MAX)));
        if !self.armed {
            self.armed = true;
            let far = Instant::now() + Duration::from_secs(86_400 * 365);
            let end = Instant::now().checked_add(self.timeout).unwrap_or(far);
            alarm.as_mut().reset(end);
        }
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.read.add(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(shut, context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_left() {
        let (ours, _theirs) = duplex(8);
        let mut ours = Stalling::new(ours, TIMEOUT, BytesRead::default());
        let error = ours.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_but_takes_something_is_not() {
        let (ours, mut theirs) = duplex(8);
        let mut ours = Stalling::new(ours, TIMEOUT, BytesRead::default());
        let writing = tokio::spawn(async move { ours.write_all(&[0; 32]).await });
        for _ in 0..32 {
            tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
            theirs.read_u8().await.unwrap();
        }
        writing.await.unwrap().unwrap();
    }
}
