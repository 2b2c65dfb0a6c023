//! `/async-function/{name}`: answers at once, calls the function afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm_core::gateway::CALL_ID_HEADER;

use super::{Gateway, plain, proxy};

/// Asynchronous calls that may wait or run at once.
pub(super) const MOST_CALLS: usize = 100;
/// Largest body, as OpenFaaS CE has it.
const BODY_BYTES: usize = 256_000;
/// Largest answer that is passed to a callback.
const ANSWER_BYTES: usize = 8 << 20;
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn root(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    queue(gateway, name, String::new(), request).await
}

pub(super) async fn path(
    State(gateway): State<Arc<Gateway>>,
    Path((name, path)): Path<(String, String)>,
    request: Request,
) -> Response {
    queue(gateway, name, path, request).await
}

async fn queue(gateway: Arc<Gateway>, name: String, path: String, request: Request) -> Response {
    let Ok(turn) = Arc::clone(&gateway.asynchronous).try_acquire_owned() else {
        return (
            StatusCode::TOO_MANY_REQUESTS,
            "too many asynchronous calls wait",
        )
            .into_response();
    };
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES).await else {
        let message = format!("an asynchronous body has at most {BODY_BYTES} bytes");
        return (StatusCode::PAYLOAD_TOO_LARGE, message).into_response();
    };
    let call_id = parts
        .headers
        .get(CALL_ID_HEADER)
        .cloned()
        .unwrap_or_else(proxy::new_call_id);
    parts.headers.insert(CALL_ID_HEADER, call_id.clone());
    let callback = parts.headers.remove("x-callback-url");
    let answer_id = call_id.clone();
    tokio::spawn(async move {
        let _turn = turn;
        let started = Instant::now();
        let request = Request::from_parts(parts, Body::from(body));
        let response = proxy::pass(&gateway, &name, &path, request).await;
        let call = Call {
            name,
            id: call_id,
            took: started.elapsed(),
        };
        if let Some(url) = callback.as_ref().and_then(|url| url.to_str().ok()) {
            call_back(&gateway, url, &call, response).await;
        }
    });
    (StatusCode::ACCEPTED, [(CALL_ID_HEADER, answer_id)]).into_response()
}

struct Call {
    name: String,
    id: HeaderValue,
    took: Duration,
}

async fn call_back(gateway: &Gateway, url: &str, call: &Call, response: Response) {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANSWER_BYTES).await.unwrap_or_default();
    let mut headers = parts.headers;
    proxy::strip(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(CALL_ID_HEADER, call.id.clone());
    let posted = gateway
        .callbacks
        .post(url)
        .timeout(CALLBACK_TIMEOUT)
        .headers(headers)
        .header(
            "x-duration-seconds",
            format!("{:.6}", call.took.as_secs_f64()),
        )
        .header("x-function-status", parts.status.as_u16())
        .header("x-function-name", plain(&call.name))
        .body(body)
        .send()
        .await;
    if let Err(error) = posted {
        tracing::warn!(function = call.name, error = %error.without_url(), "a callback failed");
    }
}
