//! A stream that can be read from its beginning again: what was read is kept in a temporary file.
//!
//! Standard input flows on while it is read, so that a farm works while its tasks are still being
//! produced; only a repeated submit reads the kept part.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Mutex;

const CHUNK_BYTES: usize = 64 * 1024;
/// More than this is not kept: a temporary folder may be memory.
const KEPT_MAX_BYTES: u64 = 512 << 20;

/// A reader and what it has given so far.
pub struct Spool<R> {
    reader: R,
    kept: Option<File>,
    read_bytes: u64,
    kept_max_bytes: u64,
}

impl<R: AsyncRead + Unpin> Spool<R> {
    /// Nothing is read before the first chunk is asked for.
    pub fn new(reader: R) -> Self {
        // Without a temporary file the stream can still be sent, once.
        Self {
            reader,
            kept: tempfile::tempfile().ok(),
            read_bytes: 0,
            kept_max_bytes: KEPT_MAX_BYTES,
        }
    }

    /// The bytes at `position`; none at the end of the stream.
    async fn chunk_at(&mut self, position: u64) -> io::Result<Bytes> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = if position < self.read_bytes {
            self.read_kept(position, &mut chunk)?
        } else {
            let length = self.reader.read(&mut chunk).await?;
            // No await between reading and keeping: a body that is dropped here loses nothing.
            self.keep(&chunk[..length]);
            length
        };
        chunk.truncate(length);
        Ok(chunk.into())
    }

    fn read_kept(&mut self, position: u64, chunk: &mut [u8]) -> io::Result<usize> {
        let Some(kept) = &mut self.kept else {
            return Err(io::Error::other(
                "the stream is too long to be sent a second time: submit a file, or in parts",
            ));
        };
        kept.seek(SeekFrom::Start(position))?;
        kept.read(chunk)
    }

    fn keep(&mut self, chunk: &[u8]) {
        self.read_bytes += chunk.len() as u64;
        if self.read_bytes > self.kept_max_bytes {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            let stored = kept
                .seek(SeekFrom::End(0))
                .and_then(|_| kept.write_all(chunk));
            if stored.is_err() {
                self.kept = None;
            }
        }
    }
}

/// The whole stream, from its beginning.
pub fn chunks<R: AsyncRead + Unpin + Send + 'static>(
    spool: Arc<Mutex<Spool<R>>>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures_util::stream::try_unfold((spool, 0), |(spool, position)| async move {
        let chunk = spool.lock().await.chunk_at(position).await?;
        let next = position + chunk.len() as u64;
        Ok((!chunk.is_empty()).then_some((chunk, (spool, next))))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::{StreamExt, TryStreamExt};

    async fn all(spool: &Arc<Mutex<Spool<&'static [u8]>>>) -> io::Result<Vec<u8>> {
        let chunks: Vec<Bytes> = chunks(spool.clone()).try_collect().await?;
        Ok(chunks.concat())
    }

    fn spool_of(bytes: usize) -> Spool<&'static [u8]> {
        let bytes: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        Spool::new(Vec::leak(bytes))
    }

    #[tokio::test]
    async fn a_second_reading_gets_every_byte_again() {
        let spool = Arc::new(Mutex::new(spool_of(300_000)));
        let mut first = Box::pin(chunks(spool.clone()));
        first.next().await.unwrap().unwrap();
        drop(first);
        let again = all(&spool).await.unwrap();
        assert_eq!(again.len(), 300_000);
        assert!(
            again
                .iter()
                .enumerate()
                .all(|(i, byte)| *byte == (i % 251) as u8)
        );
    }

    #[tokio::test]
    async fn a_stream_too_long_to_keep_can_be_sent_once_only() {
        let mut spool = spool_of(200_000);
        spool.kept_max_bytes = 100_000;
        let spool = Arc::new(Mutex::new(spool));
        assert_eq!(all(&spool).await.unwrap().len(), 200_000);
        assert!(all(&spool).await.is_err());
    }
}
