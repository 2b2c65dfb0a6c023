//! `GET /events`: the live page's stream.
//!
//! `snapshot` carries what `GET /farms` answers, then `decision` one decision each, and `farms`
//! all farms without their decisions whenever one of them, or the leader, has changed. A stream
//! that falls behind, or begins anew, gets a snapshot.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Face;
use crate::board::News;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser comes back after the stream ended: a gateway cuts it every minute.
const RETRY: Duration = Duration::from_secs(1);
/// Proxies are not to collect what is live.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn stream(State(face): State<Arc<Face>>) -> Response {
    let Ok(permit) = Arc::clone(&face.streams).try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "5")],
            "too many pages are open: close one\n",
        )
            .into_response();
    };
    let reader = Reader {
        news: face.shared.board.subscribe(),
        face,
        needs_snapshot: true,
        _permit: permit,
    };
    let answer = Sse::new(events(reader)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let headers = [(ACCEL_BUFFERING, "no"), (header::CACHE_CONTROL, "no-store")];
    (headers, answer).into_response()
}

struct Reader {
    face: Arc<Face>,
    news: Receiver<News>,
    needs_snapshot: bool,
    _permit: OwnedSemaphorePermit,
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    })
}

impl Reader {
    /// The next event; none once the autoscaler stops.
    async fn next(&mut self) -> Option<Event> {
        let board = &self.face.shared.board;
        if std::mem::take(&mut self.needs_snapshot) {
            // What is in the snapshot is no news any more.
            self.news = self.news.resubscribe();
            return Some(event("snapshot", board.everything()).retry(RETRY));
        }
        tokio::select! {
            () = self.face.stopping.cancelled() => None,
            news = self.news.recv() => match news {
                Ok(News::Decision(decision)) => Some(event("decision", decision.get())),
                Ok(News::Farms) => Some(event("farms", board.farms())),
                Err(RecvError::Lagged(_)) => {
                    self.news = self.news.resubscribe();
                    Some(event("snapshot", board.everything()))
                }
                Err(RecvError::Closed) => None,
            },
        }
    }
}

/// Written by serde_json, so without line breaks.
fn event(name: &str, json: impl AsRef<str>) -> Event {
    Event::default().event(name).data(json)
}
