//! `/dead`: the tasks that failed for good; look at them, put them back, or delete them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use farm_core::http::{DeadLetter, NDJSON, Purged, Replayed};
use farm_core::{JobId, TaskId, envelope};
use futures_util::stream;
use serde::Deserialize;
use tokio::time::Instant;

use super::extract::{Parameters, Segment};
use super::{Face, Refusal, admit};
use crate::runtime::broker::{self, Broker};
use crate::runtime::dead_letter;
use crate::runtime::jobs::Jobs;
use crate::runtime::outcomes;
use crate::runtime::reading::{self, Reading};
use crate::task_error::chain;

/// Dead letters listed unless the request says otherwise.
const LISTED: usize = 100;
/// How long the next dead letter may take to arrive: longer than a reading takes to notice that its
/// server is gone.
const STALLED: Duration = Duration::from_secs(6);
/// How long a replay waits for the failure to be counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(3);
const COUNTED_POLL: Duration = Duration::from_millis(50);
/// Dead letters one request deals with at most.
const MOST: usize = 10_000;

#[derive(Deserialize)]
pub(crate) struct Selection {
    job: Option<String>,
    limit: Option<usize>,
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Refusal {
    Refusal::unavailable(chain(error))
}

fn subjects(broker: &Broker, selection: &Selection) -> Result<String, Refusal> {
    Ok(match &selection.job {
        Some(job) => broker.topology.job_dead_wildcard(&JobId::new(job)?),
        None => broker.topology.dead_wildcard(),
    })
}

/// Dead letters, oldest first, one at a time: their bodies may be large.
struct Letters {
    messages: Reading,
    left: usize,
}

impl Letters {
    /// The oldest `limit` of `subjects`; without their bodies if only named.
    async fn read(
        broker: &Broker,
        subjects: String,
        limit: usize,
        headers_only: bool,
    ) -> Result<Self, Refusal> {
        let wanted = reading::Selection {
            subjects,
            first_sequence: 1,
            headers_only,
        };
        let reading = Reading::start(broker, &broker.dead, wanted).await;
        let messages = reading.map_err(Refusal::unavailable)?;
        // Not those to come: a letter that a replay brings back at once would be replayed for ever.
        let waiting = usize::try_from(messages.waiting()).unwrap_or(usize::MAX);
        let left = limit.min(waiting);
        Ok(Self { messages, left })
    }

    async fn next(&mut self, broker: &Broker) -> Option<Result<DeadLetter, String>> {
        while self.left > 0 {
            // One that was deleted meanwhile never comes.
            let next = tokio::time::timeout(STALLED, self.messages.next()).await;
            let stored = match next.ok()? {
                Ok(stored) => stored,
                Err(cause) => return Some(Err(cause)),
            };
            self.left -= 1;
            if stored.pending == 0 {
                self.left = 0;
            }
            if let Some(task) = broker.topology.task_of_subject(stored.subject()) {
                let headers = stored.headers().cloned().unwrap_or_default();
                return Some(Ok(dead_letter::read(task, &headers, stored.body())));
            }
        }
        None
    }
}

/// A dead letter, the body of its task byte for byte, and where it is kept.
struct Kept {
    letter: DeadLetter,
    body: Bytes,
    sequence: u64,
}

async fn find(broker: &Broker, task: &TaskId) -> Result<Kept, Refusal> {
    let subject = broker.topology.dead_subject(task);
    let kept = outcomes::latest(&broker.dead, &subject).await;
    match kept.map_err(Refusal::unavailable)? {
        Some(message) => Ok(Kept {
            letter: dead_letter::read(task.clone(), &message.headers, &message.payload),
            sequence: message.sequence,
            body: message.payload,
        }),
        None => Err(Refusal::not_found(format!(
            "no dead letter {task}; GET /dead lists them"
        ))),
    }
}

/// Carries `work` out to its end even if the client leaves.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| Refusal::unavailable(error.to_string()))?
}

pub(crate) async fn list(
    State(face): State<Arc<Face>>,
    Parameters(selection): Parameters<Selection>,
) -> Result<Response, Refusal> {
    let broker = Arc::clone(face.broker()?);
    let limit = selection.limit.unwrap_or(LISTED).min(MOST);
    let subjects = subjects(&broker, &selection)?;
    let place = admit::stream(&face)?;
    let letters = Letters::read(&broker, subjects, limit, false).await?;
    let lines = stream::unfold((letters, broker, place), |mut held| async move {
        let (letters, broker, _place) = &mut held;
        let line = letters.next(broker).await?.and_then(|letter| line(&letter));
        Some((line, held))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

fn line(letter: &DeadLetter) -> Result<Vec<u8>, String> {
    let mut line = serde_json::to_vec(letter).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line)
}

pub(crate) async fn show(
    State(face): State<Arc<Face>>,
    Segment(task): Segment,
) -> Result<Json<DeadLetter>, Refusal> {
    let kept = find(face.broker()?, &task.parse()?).await?;
    Ok(Json(kept.letter))
}

pub(crate) async fn replay(
    State(face): State<Arc<Face>>,
    Segment(task): Segment,
) -> Result<Json<Replayed>, Refusal> {
    let broker = face.broker()?;
    let (broker, task) = (Arc::clone(broker), task.parse()?);
    let queued = to_the_end(async move { requeue(&broker, &task).await }).await?;
    Ok(Json(Replayed {
        replayed: u64::from(queued),
    }))
}

pub(crate) async fn replay_all(
    State(face): State<Arc<Face>>,
    Parameters(selection): Parameters<Selection>,
) -> Result<Json<Replayed>, Refusal> {
    let broker = face.broker()?;
    let limit = selection.limit.unwrap_or(MOST).min(MOST);
    let (broker, subjects) = (Arc::clone(broker), subjects(broker, &selection)?);
    let replayed = to_the_end(async move {
        let mut replayed = 0;
        let mut letters = Letters::read(&broker, subjects, limit, true).await?;
        while let Some(letter) = letters.next(&broker).await {
            let letter = letter.map_err(Refusal::unavailable)?;
            match requeue(&broker, &letter.task).await {
                Ok(queued) => replayed += u64::from(queued),
                // Purged or replayed by somebody else meanwhile.
                Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(replayed)
    });
    Ok(Json(Replayed {
        replayed: replayed.await?,
    }))
}

pub(crate) async fn purge(
    State(face): State<Arc<Face>>,
    Segment(task): Segment,
) -> Result<Json<Purged>, Refusal> {
    let broker = face.broker()?;
    let kept = find(broker, &task.parse()?).await?;
    purge_subject(broker, broker.topology.dead_subject(&kept.letter.task))
        .await
        .map(Json)
}

pub(crate) async fn purge_all(
    State(face): State<Arc<Face>>,
    Parameters(selection): Parameters<Selection>,
) -> Result<Json<Purged>, Refusal> {
    let broker = face.broker()?;
    purge_subject(broker, subjects(broker, &selection)?)
        .await
        .map(Json)
}

async fn purge_subject(broker: &Broker, subject: String) -> Result<Purged, Refusal> {
    let purged = broker
        .dead
        .purge()
        .filter(subject)
        .await
        .map_err(|e| unavailable(&e))?;
    Ok(Purged {
        purged: purged.purged,
    })
}

/// Puts a task back into the queue; false if its dead letter was only a leftover.
///
/// In this order, so that whatever comes in between loses nothing: its failure is taken back, the
/// task queued (once, however often this is repeated: its message id names the replay), and only
/// then this very dead letter deleted, not one that a quick second failure may have written.
async fn requeue(broker: &Broker, task: &TaskId) -> Result<bool, Refusal> {
    let Kept {
        letter,
        body,
        sequence,
    } = find(broker, task).await?;
    let subject = broker.topology.result_subject(task);
    let stored = outcomes::latest(&broker.results, &subject).await;
    let queue_again = match stored.map_err(Refusal::unavailable)? {
        None => true,
        Some(stored) if is_failure_of(&stored, &letter) => {
            counted(broker, task, stored.sequence).await?;
            let deleted = broker.results.delete_message(stored.sequence).await;
            deleted.map_err(|e| unavailable(&e))?;
            true
        }
        // An earlier replay was cut off after it had queued the task, which has an outcome now.
        Some(_) => false,
    };
    if queue_again {
        publish(broker, &letter, body).await?;
    }
    match broker.dead.delete_message(sequence).await {
        Ok(_) => Ok(queue_again),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Whether an outcome is the failure that a letter tells of, or one of before: anything newer means
/// that the task was queued again already.
fn is_failure_of(stored: &StreamMessage, letter: &DeadLetter) -> bool {
    outcomes::is_failure(stored) && outcomes::replay_of(stored) <= letter.replays
}

/// Waits until the collector has counted the failure: taken away before, it would be missing from
/// the account of its job for ever.
async fn counted(broker: &Broker, task: &TaskId, sequence: u64) -> Result<(), Refusal> {
    let jobs = Jobs::new(broker);
    let give_up = Instant::now() + COUNTED_WITHIN;
    loop {
        let progress = jobs.record(&task.job).await?.progress;
        if progress.is_some_and(|progress| progress.applied_sequence >= sequence) {
            return Ok(());
        }
        if Instant::now() > give_up {
            return Err(Refusal::unavailable(format!(
                "the failure of {task} is not counted yet (no collector runs?): try again"
            )));
        }
        tokio::time::sleep(COUNTED_POLL).await;
    }
}

async fn publish(broker: &Broker, letter: &DeadLetter, body: Bytes) -> Result<(), Refusal> {
    let task = &letter.task;
    let replay = letter.replays + 1;
    let mut headers = HeaderMap::new();
    headers.insert(envelope::TASK, task.key.as_str());
    headers.insert(envelope::REPLAY, replay.to_string());
    if let Some(codec) = &letter.codec {
        headers.insert(envelope::CODEC, codec.as_str());
    }
    if let Some(seconds) = letter.deadline_seconds {
        headers.insert(
            envelope::DEADLINE_SECONDS,
            envelope::format_seconds(seconds),
        );
    }
    let message = PublishMessage::build()
        .payload(body)
        .headers(headers)
        .message_id(format!("{task}.r{replay}"));
    let subject = broker.topology.task_subject(&task.job);
    let published = match broker.jetstream.send_publish(subject, message).await {
        Ok(acknowledgement) => acknowledgement.await.map(drop),
        Err(error) => Err(error),
    };
    published.map_err(|error| match broker::refusal(&error) {
        broker::Refusal::Full(cause) => Refusal {
            retry_after_seconds: Some(2),
            ..Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("the queue is full: {cause}"),
            )
        },
        _ => unavailable(&error),
    })
}
