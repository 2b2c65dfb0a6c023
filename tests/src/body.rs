//! A request body that a test sends piece by piece.

use bytes::Bytes;
use tokio::sync::mpsc;

/// The body and where its pieces come from.
///
/// It ends when the sender is dropped, and breaks off, connection and all, at an `Err`.
pub fn streamed() -> (mpsc::Sender<std::io::Result<Bytes>>, reqwest::Body) {
    let (sender, pieces) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(pieces, |mut pieces| async {
        let piece: std::io::Result<Bytes> = pieces.recv().await?;
        Some((piece, pieces))
    });
    (sender, reqwest::Body::wrap_stream(stream))
}
