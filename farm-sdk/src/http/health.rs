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
    backlog_messages: u64,
    in_flight_messages: u64,
    results: u64,
    dead: u64,
    max_tasks: i64,
    tasks_per_message: f64,
}

impl Queue {
    fn backlog_tasks(&self) -> u64 {
        self.tasks(self.backlog_messages)
    }

    fn in_flight_tasks(&self) -> u64 {
        self.tasks(self.in_flight_messages)
    }

    /// About how many tasks are in so many messages.
    fn tasks(&self, messages: u64) -> u64 {
        (messages as f64 * self.tasks_per_message).round() as u64
    }
}

async fn queue(face: &Face, broker: &Broker) -> Result<Queue, String> {
    let mut workers = broker.workers.clone();
    let (workers, tasks, results, dead) = tokio::try_join!(
        async { workers.info().await.cloned().map_err(|e| chain(&e)) },
        async { broker.tasks.get_info().await.map_err(|e| chain(&e)) },
        async { broker.results.get_info().await.map_err(|e| chain(&e)) },
        async { broker.dead.get_info().await.map_err(|e| chain(&e)) },
    )?;
    Ok(Queue {
        backlog_messages: workers.num_pending,
        in_flight_messages: workers.num_ack_pending as u64,
        results: results.state.messages,
        dead: dead.state.messages,
        max_tasks: tasks.config.max_messages,
        tasks_per_message: face.tasks_per_message(),
    })
}

/// The farm as a whole.
pub(crate) async fn farm(State(face): State<Arc<Face>>) -> Result<Json<FarmStatus>, Refusal> {
    let queue = queue(&face, face.broker()?).await;
    let queue = queue.map_err(Refusal::unavailable)?;
    Ok(Json(FarmStatus {
        farm: face.config.farm.clone(),
        roles: face.config.roles.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backlog_tasks: queue.backlog_tasks(),
        backlog_messages: queue.backlog_messages,
        in_flight_tasks: queue.in_flight_tasks(),
        in_flight_messages: queue.in_flight_messages,
        result_tasks: queue.results,
        dead_tasks: queue.dead,
        queue_max_tasks: queue.max_tasks,
    }))
}

/// Prometheus's scrape. The farm's queue is read for it, if NATS answers soon.
pub(crate) async fn metrics(State(face): State<Arc<Face>>) -> Response {
    if let Some(broker) = face.broker.get()
        && let read = tokio::time::timeout(Duration::from_secs(1), queue(&face, broker))
        && let Ok(Ok(queue)) = read.await
    {
        let (backlog, in_flight) = (queue.backlog_tasks(), queue.in_flight_tasks());
        face.metrics.queue(backlog, in_flight, queue.dead);
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], face.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_tasks_and_an_empty_queue_holds_none() {
        let queue = Queue {
            backlog_messages: 10,
            in_flight_messages: 0,
            results: 0,
            dead: 0,
            max_tasks: -1,
            tasks_per_message: 63.96,
        };
        assert_eq!((queue.backlog_tasks(), queue.in_flight_tasks()), (640, 0));
    }
}
