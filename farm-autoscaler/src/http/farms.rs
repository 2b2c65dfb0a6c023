//! `GET /farms`: everything that is known, some megabytes with many farms.
//!
//! Written at most once a second for new decisions, whoever asks; and few answers are on their way at once, because
//! each of them keeps what it sends in memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::Face;
use crate::board::Board;

/// Answers that may be on their way at once.
const MAX_ANSWERS: usize = 8;
const FRESH_FOR: Duration = Duration::from_secs(1);
/// Sent piece by piece, so that an answer ends for us when it ends for the client.
const PIECE_BYTES: usize = 64 << 10;

struct Snapshot {
    edition: u64,
    written: Instant,
    json: Bytes,
}

/// What was answered last, and who is being answered.
pub(super) struct Snapshots {
    last: Mutex<Option<Snapshot>>,
    answers: Arc<Semaphore>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            last: Mutex::default(),
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
        }
    }
}

impl Snapshots {
    async fn fresh(&self, board: &Board) -> Bytes {
        let mut last = self.last.lock().await;
        // Asked for before it is written: a change meanwhile makes it old.
        let (edition, written) = (board.edition(), Instant::now());
        if let Some(last) = &*last
            && last.edition == edition
            && last.written.elapsed() < FRESH_FOR
        {
            return last.json.clone();
        }
        let json = Bytes::from(board.everything());
        *last = Some(Snapshot {
            edition,
            written,
            json: json.clone(),
        });
        json
    }
}

pub(super) async fn answer(State(face): State<Arc<Face>>) -> Response {
    let Ok(permit) = Arc::clone(&face.farms.answers).try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            "too many ask at once: ask again, or listen to /events\n",
        )
            .into_response();
    };
    let json = face.farms.fresh(&face.shared.board).await;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let pieces = stream::iter(pieces(json)).map(move |piece| {
        let _held = &permit;
        Ok::<_, Infallible>(piece)
    });
    (headers, Body::from_stream(pieces)).into_response()
}

fn pieces(mut json: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let piece = json.split_to(json.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        let json = Bytes::from(vec![b'7'; 3 * PIECE_BYTES + 5]);
        let all: Vec<_> = pieces(json.clone()).collect();
        assert_eq!((all.len(), all.concat()), (4, json.to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_written_once_a_second_and_when_farms_change() {
        let (board, snapshots) = (Board::new("me"), Snapshots::default());
        let first = snapshots.fresh(&board).await;
        assert_eq!(snapshots.fresh(&board).await, first);
        tokio::time::advance(FRESH_FOR).await;
        // The time it was written is in it.
        let second = snapshots.fresh(&board).await;
        assert_ne!(second, first);
        board.led_by(Some("me".into()));
        assert_ne!(snapshots.fresh(&board).await, second);
    }
}
