//! How the platform sees a replica, and how a person sees the farm.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm_core::http::FarmStatus;

use super::{Face, Refusal};
use crate::runtime::broker::Broker;
use crate::task_error::chain;

/// Alive: always yes. OpenFaaS CE restarts a replica that says no, and a restart helps neither
/// against a broker that is away nor against a full queue.
pub(crate) async fn health() -> &'static str {
    "OK"
}

/// Ready: connected, set up, and not draining.
pub(crate) async fn ready(State(face): State<Arc<Face>>) -> Response {
    let not = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    match face.broker.get() {
        _ if face.draining.is_cancelled() => not("draining"),
        None => not("not set up yet"),
        Some(broker) if !broker.link.is_up() => not("no connection to NATS"),
        Some(_) => "OK".into_response(),
    }
}

struct Queue {
    backlog: u64,
    in_flight: u64,
    results: u64,
    dead: u64,
    max_tasks: i64,
}

async fn queue(broker: &Broker) -> Result<Queue, String> {
    let mut workers = broker.workers.clone();
    let (workers, tasks, results, dead) = tokio::try_join!(
        async { workers.info().await.cloned().map_err(|e| chain(&e)) },
        async { broker.tasks.get_info().await.map_err(|e| chain(&e)) },
        async { broker.results.get_info().await.map_err(|e| chain(&e)) },
        async { broker.dead.get_info().await.map_err(|e| chain(&e)) },
    )?;
    Ok(Queue {
        backlog: workers.num_pending,
        in_flight: workers.num_ack_pending as u64,
        results: results.state.messages,
        dead: dead.state.messages,
        max_tasks: tasks.config.max_messages,
    })
}

/// The farm as a whole.
pub(crate) async fn farm(State(face): State<Arc<Face>>) -> Result<Json<FarmStatus>, Refusal> {
    let queue = queue(face.broker()?).await.map_err(Refusal::unavailable)?;
    Ok(Json(FarmStatus {
        farm: face.config.farm.clone(),
        roles: face.config.roles.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backlog_tasks: queue.backlog,
        in_flight_tasks: queue.in_flight,
        result_tasks: queue.results,
        dead_tasks: queue.dead,
        queue_max_tasks: queue.max_tasks,
    }))
}

/// Prometheus's scrape. The farm's queue is read for it, if NATS answers soon.
pub(crate) async fn metrics(State(face): State<Arc<Face>>) -> Response {
    if let Some(broker) = face.broker.get()
        && let Ok(Ok(queue)) = tokio::time::timeout(Duration::from_secs(1), queue(broker)).await
    {
        face.metrics
            .queue(queue.backlog, queue.in_flight, queue.dead);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], face.metrics.render()).into_response()
}
