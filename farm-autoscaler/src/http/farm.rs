//! One farm, for who watches and scales it from outside.
//!
//! `GET /farms/{farm}` answers what the policy saw last. With `?after=<sequence>` it waits, some
//! seconds at most, until there is an observation of another number. `POST /farms/{farm}/order`
//! with `{"parallelism": n}` scales a farm of `farm.policy: external`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Face;
use crate::desk::{Desk, Shown};
use crate::lease::Standing;

/// Longest wait for an observation: well below what gateways allow a function.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Largest order, and how long it may take to come.
const ORDER_BYTES: usize = 4 << 10;
const ORDER_WITHIN: Duration = Duration::from_secs(10);

/// Why a request is refused: a status, and a sentence that says what to do.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let body = Json(json!({ "error": error }));
        match status {
            StatusCode::UNAUTHORIZED => {
                let challenge = [(header::WWW_AUTHENTICATE, r#"Basic realm="Restricted""#)];
                (status, challenge, body).into_response()
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                (status, [(header::RETRY_AFTER, "1")], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Wait {
    after: Option<u64>,
}

pub(super) async fn show(
    State(face): State<Arc<Face>>,
    Path(farm): Path<String>,
    Query(wait): Query<Wait>,
) -> Response {
    let desk = match desk(&face, &farm) {
        Ok(desk) => desk,
        Err(refusal) => return refusal.into_response(),
    };
    let shown = match wait.after {
        None => desk.watch().borrow().clone(),
        Some(after) => match observed_after(&face, &desk, after).await {
            Ok(shown) => shown,
            Err(refusal) => return refusal.into_response(),
        },
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response()
}

/// What lies out once it is not observation `after` any more, or after the longest wait.
async fn observed_after(face: &Face, desk: &Desk, after: u64) -> Result<Shown, Refusal> {
    let Ok(_permit) = Arc::clone(&face.streams).try_acquire_owned() else {
        return Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many wait at once: ask again".to_owned(),
        ));
    };
    let mut watch = desk.watch();
    tokio::select! {
        () = face.stopping.cancelled() => {}
        _ = tokio::time::timeout(LONGEST_WAIT, watch.wait_for(|shown| shown.sequence != after && shown.observation.is_some())) => {}
    }
    let shown = watch.borrow().clone();
    Ok(shown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    parallelism: u32,
}

pub(super) async fn order(
    State(face): State<Arc<Face>>,
    Path(farm): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let taken = async {
        // Strangers first: their bodies are not even read.
        check_login(&face, &headers)?;
        let body = read(body).await?;
        take_order(&face, &farm, &body)
    };
    taken.await.unwrap_or_else(IntoResponse::into_response)
}

fn check_login(face: &Face, headers: &HeaderMap) -> Result<(), Refusal> {
    let login = headers.get(header::AUTHORIZATION);
    if face.shared.gateway.accepts(login) {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::UNAUTHORIZED,
        "orders need the gateway's user and password, by basic authentication".to_owned(),
    ))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(ORDER_WITHIN, to_bytes(body, ORDER_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("an order has at most {ORDER_BYTES} bytes"),
        )),
        Err(_) => Err(Refusal(
            StatusCode::REQUEST_TIMEOUT,
            format!("no order came within {} s", ORDER_WITHIN.as_secs()),
        )),
    }
}

fn take_order(face: &Face, farm: &str, body: &[u8]) -> Result<Response, Refusal> {
    let desk = desk(face, farm)?;
    if !desk.takes_orders() {
        let policy = desk.watch().borrow().policy.clone();
        return Err(Refusal(
            StatusCode::CONFLICT,
            format!(
                "farm {farm} is scaled by the policy {policy}: set its annotation farm.policy to external to scale it from outside"
            ),
        ));
    }
    if !matches!(&*face.shared.standing.borrow(), Standing::Leading { .. }) {
        return Err(Refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "this replica of the autoscaler does not lead: send the order again".to_owned(),
        ));
    }
    let order: Order = serde_json::from_slice(body).map_err(|error| {
        let cause = format!("no order: {error}; send {{\"parallelism\": 8}}");
        Refusal(StatusCode::UNPROCESSABLE_ENTITY, cause)
    })?;
    within_bounds(&desk, farm, order.parallelism)?;
    let holds_for = desk.order(order.parallelism);
    let answer = json!({
        "farm": farm,
        "parallelism": order.parallelism,
        "holds_for_seconds": holds_for.as_secs_f64(),
        // An observation of another number shows what came of it.
        "sequence": desk.watch().borrow().sequence,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

fn within_bounds(desk: &Desk, farm: &str, parallelism: u32) -> Result<(), Refusal> {
    let settings = desk.watch().borrow().settings.clone();
    let (min, max) = (settings.min.unwrap_or(0), settings.max.unwrap_or(u32::MAX));
    if (min..=max).contains(&parallelism) {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!(
            "parallelism {parallelism} is not within farm.min and farm.max of {farm}: {min} to {max}"
        ),
    ))
}

fn desk(face: &Face, farm: &str) -> Result<Arc<Desk>, Refusal> {
    let desks = &face.shared.desks;
    desks.of(farm).ok_or_else(|| {
        let known = match desks.farms() {
            farms if farms.is_empty() => "no farm is".to_owned(),
            farms => format!("these are: {}", farms.join(", ")),
        };
        let cause = format!("farm {farm} is not scaled here; {known}");
        Refusal(StatusCode::NOT_FOUND, cause)
    })
}
