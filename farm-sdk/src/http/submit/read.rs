//! Turns a body into tasks: bytes are cut into values, values split by the user's emitter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::StatusCode;
use bytes::Bytes;
use farm_core::Codec;
use farm_core::quantity::format_duration;
use farm_http::Turn;
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::weighed;
use crate::codec::Encoded;
use crate::emitter::{ErasedEmitter, SplitError};
use crate::http::Face;
use crate::http::refusal::Refusal;
use crate::http::values::{Found, Framing, Malformed, Values};

/// Values cut and not yet split, and tasks split and not yet published: so many at once.
const QUEUED: usize = 4096;
/// The same in bytes; a larger one comes alone.
const QUEUED_BYTES: usize = 1 << 20;

pub(super) type Tasks = weighed::Receiver<Result<Bytes, Box<Refusal>>>;
type Cut = Result<Found, Box<Refusal>>;

/// What a body is made of, and what is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub framing: Framing,
    /// In which the values come.
    pub values_in: Codec,
    /// In which the tasks leave.
    pub tasks_in: Codec,
}

/// Starts the stages that turn the body into tasks.
pub(super) fn start(
    face: &Arc<Face>,
    form: Form,
    body: Body,
    turn: Turn,
) -> (Tasks, JoinHandle<()>) {
    let (values, cut) = weighed::channel(QUEUED, QUEUED_BYTES);
    let (tasks, split) = weighed::channel(QUEUED, QUEUED_BYTES);
    let body = Incoming {
        stream: body.into_data_stream(),
        turn,
        draining: face.draining.clone(),
        timeout: face.config.http.body_timeout,
        left_bytes: face.config.max_body_bytes,
        limit_bytes: face.config.max_body_bytes,
    };
    let task_bytes = usize::try_from(face.config.max_task_bytes).unwrap_or(usize::MAX);
    let reading = tokio::spawn(cut_body(
        Values::new(form.framing, task_bytes),
        body,
        values,
    ));
    tokio::spawn(split_values(Arc::clone(face), form, cut, tasks));
    (split, reading)
}

/// The body, as far as it has come.
struct Incoming {
    stream: BodyDataStream,
    turn: Turn,
    draining: CancellationToken,
    timeout: Duration,
    left_bytes: u64,
    limit_bytes: u64,
}

impl Incoming {
    async fn next(&mut self) -> Option<Result<Bytes, Refusal>> {
        let piece = match self.stream.next().now_or_never() {
            Some(piece) => piece?,
            None => match self.await_client().await {
                Ok(piece) => piece?,
                Err(refusal) => return Some(Err(refusal)),
            },
        };
        Some(self.bounded(piece))
    }

    /// A client that is slow to send keeps nobody else from being worked for, nor this replica
    /// from stopping: it is told while there is time to take its job back.
    async fn await_client(&mut self) -> Result<Option<Result<Bytes, axum::Error>>, Refusal> {
        self.turn.pause();
        let piece = tokio::select! {
            biased;
            piece = tokio::time::timeout(self.timeout, self.stream.next()) => piece,
            () = self.draining.cancelled() => return Err(Refusal::shutting_down()),
        };
        self.turn.resume().await;
        piece.map_err(|_| {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                format!(
                    "nothing of the body came for {} (FARM_BODY_TIMEOUT)",
                    format_duration(self.timeout)
                ),
            )
        })
    }

    fn bounded(&mut self, piece: Result<Bytes, axum::Error>) -> Result<Bytes, Refusal> {
        let piece = piece
            .map_err(|error| Refusal::unavailable(format!("the body ended too early: {error}")))?;
        let left = self.left_bytes.checked_sub(piece.len() as u64);
        self.left_bytes = left.ok_or_else(|| {
            let limit = self.limit_bytes;
            Refusal::too_large(format!(
                "the body is larger than {limit} bytes (FARM_MAX_BODY): submit it in parts"
            ))
        })?;
        Ok(piece)
    }
}

async fn cut_body(mut cutter: Values, mut body: Incoming, values: weighed::Sender<Cut>) {
    let framing = cutter.framing();
    let cut = async {
        while let Some(piece) = body.next().await {
            let found = cutter.push(&piece?);
            for found in found.map_err(|error| malformed(framing, &error))? {
                let bytes = found.bytes.len();
                if values.send(Ok(found), bytes).await.is_err() {
                    return Ok(());
                }
            }
        }
        let last = cutter.finish();
        if let Some(found) = last.map_err(|error| malformed(framing, &error))? {
            let bytes = found.bytes.len();
            let _ = values.send(Ok(found), bytes).await;
        }
        Ok(())
    };
    if let Err(refusal) = cut.await {
        let _ = values.send(Err(Box::new(refusal)), 0).await;
    }
}

fn malformed(framing: Framing, error: &Malformed) -> Refusal {
    match error {
        Malformed::Syntax { place, what } => at(framing, *place, "", Refusal::bad_request(*what)),
        Malformed::TooLarge { place, .. } => {
            let refusal = Refusal::too_large(format!("{error} (FARM_MAX_TASK)"));
            at(framing, *place, "", refusal)
        }
    }
}

/// Names the place of an error in its message and beside it.
fn at(framing: Framing, place: u64, path: &str, mut refusal: Refusal) -> Refusal {
    let problem = refusal.problem.as_mut();
    problem.path = (!path.is_empty()).then(|| path.to_owned());
    let unit = match framing {
        Framing::Lines => "line",
        Framing::Json => "value",
        // There is but one.
        Framing::Whole => return refusal,
    };
    problem.error = format!("{unit} {place}: {}", problem.error);
    problem.line = Some(place);
    refusal
}

/// Splits what has come so far, again and again: a thread is taken only while there is something
/// to split, not for as long as a client takes to send.
async fn split_values(
    face: Arc<Face>,
    form: Form,
    mut values: weighed::Receiver<Cut>,
    tasks: weighed::Sender<Result<Bytes, Box<Refusal>>>,
) {
    while let Some(batch) = values.recv_all().await {
        let (emitter, sender) = (Arc::clone(&face.emitter), tasks.clone());
        // The emitter is the user's code and may compute.
        let splitting = face
            .user
            .spawn_blocking(move || split_batch(emitter.as_ref(), form, batch, &sender));
        let refusal = match splitting.await {
            Ok(Ok(())) => continue,
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the emitter panicked on this job; its log says where",
            ),
        };
        let _ = tasks.send(Err(Box::new(refusal)), 0).await;
        return;
    }
}

fn split_batch(
    emitter: &dyn ErasedEmitter,
    form: Form,
    batch: VecDeque<Cut>,
    tasks: &weighed::Sender<Result<Bytes, Box<Refusal>>>,
) -> Result<(), Refusal> {
    for value in batch {
        let Found { place, bytes } = value.map_err(|refusal| *refusal)?;
        let codec = form.values_in;
        let split = emitter.split(Encoded { codec, bytes }, form.tasks_in, &mut |task| {
            let bytes = task.len();
            tasks.blocking_send(Ok(task), bytes).is_ok()
        });
        split.map_err(|error| {
            let path = match &error {
                SplitError::Mismatch(mismatch) => mismatch.path.as_str(),
                SplitError::Encode { .. } => "",
            };
            at(
                form.framing,
                place,
                path,
                Refusal::bad_request(error.to_string()),
            )
        })?;
    }
    Ok(())
}
