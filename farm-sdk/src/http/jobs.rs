//! `/jobs/{job}`: how far it is, its results as they come, its summary, its cancellation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use farm_core::JobId;
use farm_core::http::{JobStatus, NDJSON};
use farm_http::Turn;
use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::extract::{Parameters, Segment};
use super::{Face, Refusal, admit};
use crate::runtime::broker::Broker;
use crate::runtime::jobs::{Jobs, has_ended};
use crate::runtime::outcomes::{self, StoredOutcome};
use crate::runtime::reading::Reading;
use crate::task_error::chain;

/// How often a stream of results asks whether its job has ended.
const ASK: Duration = Duration::from_millis(250);
/// How long a result that was counted may take to arrive before it is looked for.
const MISSING: Duration = Duration::from_secs(1);
/// How long a stream of results stays silent before it sends an empty line: a gateway between
/// would cut it.
const SILENCE: Duration = Duration::from_secs(15);

async fn known(broker: &Broker, job: &str) -> Result<JobStatus, Refusal> {
    let job = JobId::new(job)?;
    let status = Jobs::new(broker).status(&job).await?;
    status.ok_or_else(|| Refusal::no_such_job(&job))
}

pub(crate) async fn status(
    State(face): State<Arc<Face>>,
    Segment(job): Segment,
) -> Result<Json<JobStatus>, Refusal> {
    known(face.broker()?, &job).await.map(Json)
}

pub(crate) async fn cancel(
    State(face): State<Arc<Face>>,
    Segment(job): Segment,
) -> Result<Json<JobStatus>, Refusal> {
    let broker = face.broker()?;
    let status = known(broker, &job).await?;
    if has_ended(&status) {
        return Ok(Json(status));
    }
    cancel_job(broker, &status.job, "cancelled on request").await?;
    face.metrics.job("cancelled");
    known(broker, &job).await.map(Json)
}

/// Marks `job` cancelled, then takes what is queued of it away.
pub(crate) async fn cancel_job(broker: &Broker, job: &JobId, reason: &str) -> Result<(), Refusal> {
    Jobs::new(broker).mark_cancelled(job, reason).await?;
    broker
        .tasks
        .purge()
        .filter(broker.topology.task_subject(job))
        .await
        .map(drop)
        .map_err(|error| Refusal::unavailable(chain(&error)))
}

pub(crate) async fn summary(
    State(face): State<Arc<Face>>,
    Segment(job): Segment,
) -> Result<Response, Refusal> {
    let broker = face.broker()?;
    let status = known(broker, &job).await?;
    if !face.folds() {
        return Err(Refusal::not_found(
            "this farm has no collector function: read /jobs/{job}/results",
        ));
    }
    if !has_ended(&status) {
        return Err(Refusal {
            retry_after_seconds: Some(1),
            ..Refusal::new(StatusCode::CONFLICT, format!("job {job} has not ended yet"))
        });
    }
    let summary = outcomes::summary(broker, &status.job).await;
    match (summary, status.note) {
        (Some(summary), _) => Ok(Json(summary).into_response()),
        (None, Some(note)) => Err(Refusal::not_found(format!(
            "job {job} has no summary: {note}"
        ))),
        (None, None) => Err(Refusal::not_found(format!(
            "job {job} has no summary, or it has expired"
        ))),
    }
}

#[derive(Deserialize)]
pub(crate) struct After {
    #[serde(default)]
    after: u64,
}

pub(crate) async fn results(
    State(face): State<Arc<Face>>,
    Segment(job): Segment,
    Parameters(After { after }): Parameters<After>,
) -> Result<Response, Refusal> {
    let broker = Arc::clone(face.broker()?);
    let status = known(&broker, &job).await?;
    let place = admit::stream(&face)?;
    let messages = outcomes::follow(&broker, &status.job, after)
        .await
        .map_err(Refusal::unavailable)?;
    let mut ask = tokio::time::interval(ASK);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let results = Results {
        broker,
        job: status.job,
        messages,
        ask,
        cursor: after,
        last: None,
        spoke: Instant::now(),
        came: Instant::now(),
        draining: face.draining.clone(),
        lines: VecDeque::new(),
        _place: place,
    };
    let body = stream::unfold(results, |mut results| async move {
        let line = results.next().await.transpose()?;
        Some((line, results))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response())
}

/// The results of one job as lines, until it has ended and all were sent.
struct Results {
    broker: Arc<Broker>,
    job: JobId,
    messages: Reading,
    ask: Interval,
    /// The last result sent.
    cursor: u64,
    /// The last result there will be, once the job has ended.
    last: Option<u64>,
    spoke: Instant,
    /// When the last result came.
    came: Instant,
    draining: CancellationToken,
    lines: VecDeque<Bytes>,
    _place: Turn,
}

/// The results end here though there are more: the answer is broken off, so that nobody takes it
/// for all of them. The client resumes after its last cursor, at another replica perhaps.
#[derive(Debug, thiserror::Error)]
#[error("the results are cut short: {0}")]
struct CutShort(String);

impl Results {
    /// The next line; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, CutShort> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.spoke = Instant::now();
                return Ok(Some(line));
            }
            if self.last.is_some_and(|last| self.cursor >= last) {
                return Ok(None);
            }
            tokio::select! {
                () = self.draining.cancelled() => {
                    return Err(CutShort("this replica is shutting down".to_owned()));
                }
                message = self.messages.next() => {
                    let message = message.map_err(CutShort)?;
                    let Some(outcome) = StoredOutcome::read(&message, &self.broker.topology) else {
                        continue;
                    };
                    self.cursor = outcome.sequence;
                    self.came = Instant::now();
                    let line = outcome.into_line(&message.payload);
                    let mut json = serde_json::to_vec(&line).map_err(|e| CutShort(e.to_string()))?;
                    json.push(b'\n');
                    self.lines.push_back(json.into());
                }
                _ = self.ask.tick() => self.ask_for_end().await,
            }
            if self.lines.is_empty() && self.spoke.elapsed() > SILENCE {
                self.lines.push_back(Bytes::from_static(b"\n"));
            }
        }
    }

    async fn ask_for_end(&mut self) {
        if self.last.is_some() {
            self.ask_for_last().await;
            return;
        }
        let jobs = Jobs::new(&self.broker);
        let Ok(record) = jobs.record(&self.job).await else {
            return;
        };
        // Not by the mark of a cancellation alone: there may be results that are not counted yet.
        let ended = record
            .progress
            .filter(|progress| progress.ended_seconds.is_some());
        if let Some(progress) = ended {
            self.last = Some(progress.applied_sequence);
            self.came = Instant::now();
        }
    }

    /// The last result that was counted may be gone: expired, or taken back for a replay.
    async fn ask_for_last(&mut self) {
        if self.came.elapsed() < MISSING
            || !outcomes::is_last(&self.broker, &self.job, self.cursor).await
        {
            return;
        }
        self.last = Some(self.cursor);
    }
}
