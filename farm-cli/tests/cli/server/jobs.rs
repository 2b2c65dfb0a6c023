//! `/jobs/{job}`.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm_core::envelope::Outcome;
use farm_core::http::{JobState, JobStatus, NDJSON};
use futures_util::stream;
use serde::Deserialize;

use super::submit::broken_off;
use super::{Job, Shared, lock, refuse};

pub async fn status(State(farm): State<Shared>, Path(id): Path<String>) -> Response {
    match lock(&farm).jobs.get(&id) {
        Some(job) => Json(account(&id, job)).into_response(),
        None => unknown(&id),
    }
}

pub async fn cancel(State(farm): State<Shared>, Path(id): Path<String>) -> Response {
    match lock(&farm).jobs.get_mut(&id) {
        Some(job) => {
            job.cancelled = true;
            job.outcomes.truncate(1);
            Json(account(&id, job)).into_response()
        }
        None => unknown(&id),
    }
}

fn unknown(id: &str) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("no job {id}"))
}

fn account(id: &str, job: &Job) -> JobStatus {
    let tasks = |outcome| {
        let of_kind = job.outcomes.iter().filter(|o| o.outcome == outcome);
        of_kind.map(|o| &o.task).collect::<BTreeSet<_>>().len() as u64
    };
    let accepted = job.bodies.len() as u64;
    let (done, failed) = (tasks(Outcome::Done), tasks(Outcome::Failed));
    let state = match (job.cancelled, job.ended) {
        (true, _) => JobState::Cancelled,
        (false, true) => JobState::Done,
        (false, false) => JobState::Running,
    };
    let over = state != JobState::Running;
    JobStatus {
        job: id.parse().unwrap(),
        state,
        accepted: Some(accepted),
        done,
        failed,
        cancelled: if job.cancelled {
            accepted - done - failed
        } else {
            0
        },
        in_flight: if over { 0 } else { accepted - done - failed },
        qos_ratio: Some(1.0),
        created_seconds: 1000.0,
        ended_seconds: over.then_some(1010.0),
        estimated_end_seconds: None,
        note: None,
    }
}

#[derive(Deserialize)]
pub struct After {
    #[serde(default)]
    after: u64,
}

pub async fn results(
    State(farm): State<Shared>,
    Path(id): Path<String>,
    Query(After { after }): Query<After>,
) -> Response {
    if !lock(&farm).jobs.contains_key(&id) {
        return unknown(&id);
    }
    let headers = [(header::CONTENT_TYPE, NDJSON)];
    let cuts = {
        let mut farm = lock(&farm);
        let cuts = farm.cut_results > 0;
        farm.cut_results = farm.cut_results.saturating_sub(1);
        cuts
    };
    if cuts {
        let line = lock(&farm).jobs[&id]
            .outcomes
            .iter()
            .find(|o| o.cursor > after)
            .map(line);
        // Half a line more, so that a reader must notice the cut.
        let half = line.clone().map(|line| line.slice(..line.len() / 2));
        return (headers, broken_off(line.into_iter().chain(half))).into_response();
    }
    let live = stream::unfold((farm, id, after), |(farm, id, after)| async move {
        loop {
            let (next, over) = {
                let farm = lock(&farm);
                if farm.expired {
                    return None;
                }
                let job = farm.jobs.get(&id)?;
                let next = job
                    .outcomes
                    .iter()
                    .find(|o| o.cursor > after)
                    .map(|o| (line(o), o.cursor));
                (next, job.ended || job.cancelled)
            };
            match next {
                Some((line, cursor)) => {
                    return Some((Ok::<_, std::io::Error>(line), (farm, id, cursor)));
                }
                None if over => return None,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            // What a gateway sees of a stream with nothing to say.
            if after == 0 {
                return Some((Ok(Bytes::from_static(b"\n")), (farm, id, after)));
            }
        }
    });
    (headers, Body::from_stream(live)).into_response()
}

fn line(outcome: &farm_core::http::TaskOutcome) -> Bytes {
    let mut line = serde_json::to_vec(outcome).unwrap();
    line.push(b'\n');
    line.into()
}

pub async fn summary(State(farm): State<Shared>, Path(id): Path<String>) -> Response {
    let farm = lock(&farm);
    match farm.jobs.get(&id) {
        None => unknown(&id),
        Some(_) if !farm.folds => refuse(StatusCode::NOT_FOUND, "no collector function"),
        Some(job) if !job.ended => {
            let mut answer = refuse(StatusCode::CONFLICT, "the job has not ended");
            answer.headers_mut().insert(header::RETRY_AFTER, 0.into());
            answer
        }
        Some(job) => Json(serde_json::json!({ "folded": job.outcomes.len() })).into_response(),
    }
}
