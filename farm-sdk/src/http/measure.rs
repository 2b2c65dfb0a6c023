//! Counts and times requests, under the names of-watchdog gives them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::Face;
use crate::metrics::Metrics;

/// As which code a request counts whose client left before it was answered. nginx's number.
const CLIENT_LEFT: u16 = 499;

pub(crate) async fn measure(
    State(face): State<Arc<Face>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answering = Answering::start(&face.metrics, request.method());
    let response = next.run(request).await;
    answering.code = response.status().as_u16();
    response
}

/// A request that is being answered; counted when it is dropped, as it is when its client leaves.
struct Answering<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    started: Instant,
    code: u16,
}

impl<'a> Answering<'a> {
    fn start(metrics: &'a Metrics, method: &Method) -> Self {
        metrics.request_started();
        Self {
            metrics,
            method: label(method),
            started: Instant::now(),
            code: CLIENT_LEFT,
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.metrics
            .request_ended(self.code, self.method, self.started.elapsed());
    }
}

/// A client may make up as many methods as it likes: they must not all become series.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::CONNECT => "connect",
        Method::DELETE => "delete",
        Method::GET => "get",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        Method::PATCH => "patch",
        Method::POST => "post",
        Method::PUT => "put",
        Method::TRACE => "trace",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_methods_have_their_names_and_all_others_one() {
        for method in [
            Method::CONNECT,
            Method::DELETE,
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::PATCH,
            Method::POST,
            Method::PUT,
            Method::TRACE,
        ] {
            assert_eq!(label(&method), method.as_str().to_lowercase());
        }
        for made_up in ["BREW", "get", "X0001"] {
            let method = Method::from_bytes(made_up.as_bytes()).unwrap();
            assert_eq!(label(&method), "other");
        }
    }
}
