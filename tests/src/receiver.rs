//! A little HTTP server that keeps what it is sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::eventually::eventually;

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

#[derive(Default)]
struct Kept {
    requests: Vec<Received>,
    answers: VecDeque<StatusCode>,
}

/// A running server. Dropping it stops it.
pub struct Receiver {
    url: String,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Starts a server that answers 200 to everything.
    pub async fn start() -> Self {
        Self::answering([]).await
    }

    /// Starts a server that gives these answers first.
    pub async fn answering(answers: impl IntoIterator<Item = StatusCode>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let kept = Arc::new(Mutex::new(Kept {
            requests: Vec::new(),
            answers: answers.into_iter().collect(),
        }));
        let router = Router::new().fallback(keep).with_state(Arc::clone(&kept));
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, kept, serving }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.kept
            .lock()
            .expect("no panic while held")
            .requests
            .clone()
    }

    /// Waits until so many requests came.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> Vec<Received> {
        let what = format!("{count} requests to {}", self.url);
        eventually(&what, limit, async || {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

async fn keep(
    State(kept): State<Arc<Mutex<Kept>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut kept = kept.lock().expect("no panic while held");
    kept.requests.push(Received {
        path: uri.path().to_owned(),
        headers,
        body,
    });
    kept.answers.pop_front().unwrap_or(StatusCode::OK)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
