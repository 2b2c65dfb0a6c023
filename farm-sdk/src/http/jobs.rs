//! `/jobs/{job}`: how far it is, its results as they come, its summary, its cancellation.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use farm_core::JobId;
use farm_core::http::{Cursor, JobStatus, NDJSON};
use farm_http::Turn;
use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::extract::{Parameters, Segment};
use super::{Face, Refusal, admit};
use crate::runtime::broker::Broker;
use crate::runtime::jobs::{Jobs, has_ended};
use crate::runtime::outcomes::{self, Lines, StoredOutcome};
use crate::runtime::reading::{Reading, Stored};
use crate::task_error::chain;

/// How often a stream of results asks whether its job has ended.
const ASK: Duration = Duration::from_millis(250);
/// How long a result that was counted may take to arrive before it is looked for.
const MISSING: Duration = Duration::from_secs(1);
/// How long a stream of results stays silent before it sends an empty line: a gateway between
/// would cut it.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a piece of the answer gets before it is sent: a piece for each line would cost more than
/// the line.
const PIECE_BYTES: usize = 64 << 10;

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
    // There may be more lines of the message that `after` is in.
    let first_sequence = Cursor::from_number(after).sequence.max(1);
    let messages = outcomes::follow(&broker, &status.job, first_sequence)
        .await
        .map_err(Refusal::unavailable)?;
    let mut ask = tokio::time::interval(ASK);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let results = Results {
        broker,
        job: status.job,
        messages,
        ask,
        after,
        taken: first_sequence - 1,
        last: None,
        spoke: Instant::now(),
        came: Instant::now(),
        draining: face.draining.clone(),
        lines: None,
        piece: BytesMut::new(),
        _place: place,
    };
    let body = stream::unfold(results, |mut results| async move {
        let piece = results.next().await.transpose()?;
        Some((piece, results))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response())
}

/// The results of one job as lines, until it has ended and all were sent.
struct Results {
    broker: Arc<Broker>,
    job: JobId,
    messages: Reading,
    ask: Interval,
    /// The lines up to this cursor are known to the client.
    after: u64,
    /// Sequence up to which the messages are taken.
    taken: u64,
    /// Sequence of the last message there will be, once the job has ended.
    last: Option<u64>,
    spoke: Instant,
    /// When the last result came.
    came: Instant,
    draining: CancellationToken,
    /// What is left of the message taken last.
    lines: Option<Lines>,
    /// Lines that are not sent yet.
    piece: BytesMut,
    _place: Turn,
}

/// The results end here though there are more: the answer is broken off, so that nobody takes it
/// for all of them. The client resumes after its last cursor, at another replica perhaps.
#[derive(Debug, thiserror::Error)]
#[error("the results are cut short: {0}")]
struct CutShort(String);

impl Results {
    /// The next lines; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, CutShort> {
        loop {
            if self.draining.is_cancelled() {
                return Err(CutShort("this replica is shutting down".to_owned()));
            }
            self.write_what_is_here()?;
            if self.piece.is_empty() && self.last.is_some_and(|last| self.taken >= last) {
                return Ok(None);
            }
            if self.piece.is_empty() && self.spoke.elapsed() > SILENCE {
                self.piece.put_u8(b'\n');
            }
            if !self.piece.is_empty() {
                self.spoke = Instant::now();
                return Ok(Some(self.piece.split().freeze()));
            }
            tokio::select! {
                () = self.draining.cancelled() => {}
                message = self.messages.next() => self.take(&message.map_err(CutShort)?),
                _ = self.ask.tick() => self.ask_for_end().await,
            }
        }
    }

    /// Writes the lines that wait for nothing, until the piece is long enough.
    fn write_what_is_here(&mut self) -> Result<(), CutShort> {
        while self.piece.len() < PIECE_BYTES {
            match self.lines.as_mut().and_then(Lines::next) {
                Some(line) if line.cursor <= self.after => {}
                Some(line) => {
                    let json = (&mut self.piece).writer();
                    serde_json::to_writer(json, &line).map_err(|e| CutShort(e.to_string()))?;
                    self.piece.put_u8(b'\n');
                }
                None => match self.messages.at_hand() {
                    Some(message) => self.take(&message),
                    None => break,
                },
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &Stored) {
        self.taken = message.sequence;
        self.came = Instant::now();
        let outcome = StoredOutcome::read(message, &self.broker.topology);
        self.lines = outcome.map(|outcome| outcome.lines(message.body()));
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
            || !outcomes::is_last(&self.broker, &self.job, self.taken).await
        {
            return;
        }
        self.last = Some(self.taken);
    }
}
