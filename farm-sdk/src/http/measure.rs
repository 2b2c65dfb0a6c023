//! Counts and times requests, under the names of-watchdog gives them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::Face;

pub(crate) async fn measure(
    State(face): State<Arc<Face>>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let started = Instant::now();
    face.metrics.request_started();
    let response = next.run(request).await;
    face.metrics.request_ended(
        response.status().as_u16(),
        method.as_str(),
        started.elapsed(),
    );
    response
}
