//! `POST /`: takes a job in. The body streams through four stages that each hold little: bytes are
//! cut into values, values split into tasks by the user's emitter, tasks published in a window.

mod hand;
mod packing;
mod publish;
mod read;
mod room;
mod sent;
mod weighed;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use farm_core::envelope;
use farm_core::http::{
    Accepted, CALLBACK_URL_HEADER, DEADLINE_HEADER, IDEMPOTENCY_KEY_HEADER, MESSAGE_PACK, NDJSON,
    OCTET_STREAM,
};
use farm_core::job::{ChunkBounds, ChunkPlan, JobSpec};
use farm_core::quantity::parse_duration;
use farm_core::{Codec, JobId};
use farm_http::Turn;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::extract::Parameters;
use super::refusal::Refusal;
use super::values::Framing;
use super::{Face, jobs};
use crate::clock;
use crate::runtime::broker::Broker;
use crate::runtime::jobs::{Claim, Jobs, has_ended};
use crate::runtime::outcomes;
use packing::Packing;
use publish::Publisher;
use read::{Form, Tasks};
pub(crate) use room::Room;

/// Tasks looked at before the first is published, so that a small bad body leaves no trace.
const HELD_TASKS: usize = 1000;
/// The same in bytes.
const HELD_BYTES: usize = 256 << 10;
/// How long the first of them is kept from the workers, for clients that are slow to send.
const HELD_TIME: Duration = Duration::from_secs(1);
/// How long a client that is answered already may go on sending.
const LINGER: Duration = Duration::from_secs(5);
/// How often, and how far apart, a refused job is tried to be cancelled.
const CANCEL_ATTEMPTS: usize = 60;
const CANCEL_PAUSE: Duration = Duration::from_secs(5);
/// Longest `?wait=`.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
pub(crate) struct Query {
    wait: Option<String>,
}

/// What a submit asks for beside its tasks.
struct Request {
    form: Form,
    deadline: Option<Duration>,
    callback_url: Option<String>,
    idempotency_key: Option<String>,
    traceparent: Option<String>,
    wait: Option<Duration>,
}

pub(crate) async fn not_an_emitter(State(face): State<Arc<Face>>) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "this function has the roles {}: submit to the one of farm {} that is its emitter",
            face.config.roles, face.config.farm
        ),
    )
}

pub(crate) async fn submit(
    State(face): State<Arc<Face>>,
    Extension(turn): Extension<Turn>,
    Parameters(parameters): Parameters<Query>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = read_request(&face, &headers, &parameters)?;
    let wait = request.wait;
    if face.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let (taking, working) = (Arc::clone(&face), turn.clone());
    // A task of its own: if the client leaves, the job is still cleaned up.
    let taken = tokio::spawn(async move { take_in(&taking, request, body, working).await }).await;
    let accepted = match taken {
        Ok(accepted) => accepted?,
        Err(error) => {
            return Err(Refusal::unavailable(format!(
                "the job was not taken in: {error}"
            )));
        }
    };
    // Waiting is no work. If too many wait already, the answer is that of a wait that was too short.
    turn.pause();
    let place = wait.and_then(|wait| Some((wait, face.streams.take()?)));
    let Some((wait, _place)) = place else {
        return Ok((StatusCode::ACCEPTED, Json(accepted)).into_response());
    };
    let broker = face.broker()?;
    let jobs = Jobs::new(broker);
    let status = tokio::select! {
        // The job is accepted, whatever becomes of the waiting.
        status = jobs.wait(&accepted.job, wait) => status.unwrap_or_default(),
        () = face.draining.cancelled() => None,
    };
    match status.filter(has_ended) {
        Some(status) => {
            Ok(Json(outcomes::ended(broker, status, face.folds()).await).into_response())
        }
        None => Ok((StatusCode::ACCEPTED, Json(accepted)).into_response()),
    }
}

fn read_request(face: &Face, headers: &HeaderMap, parameters: &Query) -> Result<Request, Refusal> {
    let text = |name: &str| -> Result<Option<String>, Refusal> {
        headers
            .get(name)
            .map(|value| value.to_str().map(|text| text.trim().to_owned()))
            .transpose()
            .map_err(|_| Refusal::bad_request(format!("header {name} is no text")))
    };
    let duration = |name: &str, text: Option<&str>| -> Result<Option<Duration>, Refusal> {
        text.map(parse_duration)
            .transpose()
            .map_err(|error| Refusal::bad_request(format!("{name}: {error}")))
    };
    let form = form(face, text(header::CONTENT_TYPE.as_str())?.as_deref())?;
    let callback_url = text(CALLBACK_URL_HEADER)?;
    if let Some(url) = &callback_url {
        check_callback_url(url)?;
    }
    let idempotency_key = text(IDEMPOTENCY_KEY_HEADER)?;
    if idempotency_key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > 256)
    {
        return Err(Refusal::bad_request(
            "Idempotency-Key: use 1 to 256 characters",
        ));
    }
    Ok(Request {
        form,
        deadline: duration(DEADLINE_HEADER, text(DEADLINE_HEADER)?.as_deref())?
            .or(face.config.deadline),
        callback_url,
        idempotency_key,
        traceparent: text(envelope::TRACEPARENT)?,
        wait: duration("wait", parameters.wait.as_deref())?.map(|wait| wait.min(LONGEST_WAIT)),
    })
}

/// How a body of this content type is read; JSON unless the type says otherwise.
fn form(face: &Face, content_type: Option<&str>) -> Result<Form, Refusal> {
    let kind = content_type.and_then(|kind| kind.split(';').next());
    let (framing, values_in) = match kind.unwrap_or_default().trim_end() {
        NDJSON => (Framing::Lines, Codec::Json),
        MESSAGE_PACK => (Framing::Whole, Codec::MessagePack),
        OCTET_STREAM => (Framing::Whole, Codec::Raw),
        _ => (Framing::Json, Codec::Json),
    };
    if values_in == Codec::Raw && !face.emitter.takes_raw() {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "farm {} takes no raw bytes ({OCTET_STREAM}): send JSON, NDJSON or {MESSAGE_PACK}",
                face.config.farm
            ),
        ));
    }
    Ok(Form {
        framing,
        values_in,
        tasks_in: face.emitter.task_codec(values_in, face.config.codec),
    })
}

fn check_callback_url(url: &str) -> Result<(), Refusal> {
    let refused = |why: String| Refusal::bad_request(format!("X-Callback-Url: {why}"));
    let parsed = reqwest::Url::parse(url).map_err(|error| refused(error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(()),
        other => Err(refused(format!("{other} is not http or https"))),
    }
}

/// Which job a submit belongs to.
enum Admission {
    New(JobId),
    Repeated(Accepted),
}

async fn admit(broker: &Broker, request: &Request) -> Result<Admission, Refusal> {
    let fresh = JobId::new(Uuid::now_v7().simple().to_string())?;
    let Some(key) = &request.idempotency_key else {
        return Ok(Admission::New(fresh));
    };
    let store = Jobs::new(broker);
    match store.claim(key, &fresh).await? {
        Claim::Ours => Ok(Admission::New(fresh)),
        Claim::Earlier(job) => Ok(match repeated(&store, &job).await? {
            Some(accepted) => Admission::Repeated(accepted),
            // The first submit was cut off: the tasks that came are named as ours will be.
            None => Admission::New(job),
        }),
    }
}

/// What the submit of `job` was answered, if all its tasks are stored.
async fn repeated(store: &Jobs<'_>, job: &JobId) -> Result<Option<Accepted>, Refusal> {
    let accepted = store.latest_spec(job).await?.and_then(|spec| spec.accepted);
    Ok(accepted.map(|accepted| Accepted {
        job: job.clone(),
        accepted,
        repeated: true,
    }))
}

/// The answer to a repeat whose body need not be read. Nothing is claimed: a key that has no job
/// yet is for the first submit whose body makes sense.
async fn answered_before(broker: &Broker, request: &Request) -> Result<Option<Accepted>, Refusal> {
    let store = Jobs::new(broker);
    let Some(key) = &request.idempotency_key else {
        return Ok(None);
    };
    match store.claimed_by(key).await? {
        Some(job) => repeated(&store, &job).await,
        None => Ok(None),
    }
}

async fn take_in(
    face: &Arc<Face>,
    request: Request,
    body: Body,
    turn: Turn,
) -> Result<Accepted, Refusal> {
    let broker = face.broker()?;
    // A repeat may be of a job that is in the queue already.
    if request.idempotency_key.is_none() && face.room.is_full() {
        face.metrics.job("refused");
        return Err(full(face, "a moment ago"));
    }
    if let Some(accepted) = answered_before(broker, &request).await? {
        tokio::spawn(tokio::time::timeout(LINGER, let_pass(body)));
        return Ok(accepted);
    }
    let (mut tasks, reading) = read::start(face, request.form, body, turn);
    // Small bodies are understood as a whole before anything is done about them.
    let held = hold(&mut tasks).await?;
    let job = match admit(broker, &request).await? {
        Admission::New(job) => job,
        Admission::Repeated(accepted) => {
            reading.abort();
            return Ok(accepted);
        }
    };
    let left = tasks.has_ended().then_some(held.len() as u64);
    let body_bytes = publish::most_bytes(broker);
    let spec = JobSpec {
        created_seconds: clock::now_seconds(),
        accepted: None,
        deadline_seconds: request.deadline.map(|deadline| deadline.as_secs_f64()),
        callback_url: request.callback_url.clone(),
        chunks: request.idempotency_key.as_ref().map(|_| {
            ChunkPlan::from_start(ChunkBounds {
                tasks: face.tasks_in_next_message(left),
                body_bytes,
            })
        }),
    };
    let announced = Jobs::new(broker).announce(&job, spec).await?;
    if let Some(accepted) = announced.spec.accepted {
        // The first submit of this key came to its end meanwhile.
        reading.abort();
        return Ok(Accepted {
            job,
            accepted,
            repeated: true,
        });
    }
    let spec = announced.spec.clone();
    let packing = Packing::new(announced, body_bytes);
    let mut publisher = Publisher::open(face, broker, &job, &request, packing).await?;
    let stored = async {
        publisher.publish_all(held, &mut tasks).await?;
        let spec = JobSpec {
            accepted: Some(publisher.accepted()),
            chunks: publisher.plan(),
            ..spec
        };
        seal(broker, &job, &spec).await
    };
    if let Err(refusal) = stored.await {
        return refused(face, broker, &job, &request, publisher, refusal).await;
    }
    let accepted = publisher.accepted();
    face.publishing.give_back(publisher.into_publishing());
    face.metrics.job("accepted");
    face.metrics.emitted("accepted", accepted);
    Ok(Accepted {
        job,
        accepted,
        repeated: false,
    })
}

fn full(face: &Face, cause: &str) -> Refusal {
    Refusal::too_many(
        format!(
            "the queue of farm {} is full ({cause}): try again later, or raise FARM_QUEUE_MAX_TASKS or FARM_QUEUE_MAX_BYTES",
            face.config.farm
        ),
        2,
    )
}

/// What a submit that failed is answered, and what becomes of what it had stored.
async fn refused(
    face: &Face,
    broker: &Arc<Broker>,
    job: &JobId,
    request: &Request,
    mut publisher: Publisher<'_>,
    mut refusal: Refusal,
) -> Result<Accepted, Refusal> {
    face.metrics.job("refused");
    if request.idempotency_key.is_some() {
        // The same job may have come by another connection meanwhile.
        if let Some(accepted) = repeated(&Jobs::new(broker), job).await? {
            return Ok(accepted);
        }
    } else if refusal.status == StatusCode::TOO_MANY_REQUESTS
        && publisher.has_stored_nothing().await
        && Jobs::new(broker).forget(job).await.is_ok()
    {
        // Under lasting overload the refused jobs would be many more than the others.
        return Err(refusal);
    }
    refusal.problem.job = Some(job.clone());
    refusal.problem.accepted = Some(publisher.stored().await);
    give_up(broker, job, request, &refusal).await;
    Err(refusal)
}

/// Writes that all tasks of `job` are stored.
async fn seal(broker: &Broker, job: &JobId, spec: &JobSpec) -> Result<(), Refusal> {
    let store = Jobs::new(broker);
    store.put_spec(job, spec).await?;
    if store.is_cancelled(job).await? {
        // Those of its tasks that came after that are queued still.
        jobs::cancel_job(broker, job, "cancelled on request").await?;
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "the job was cancelled while its tasks came in",
        ));
    }
    Ok(())
}

/// Cancels a job whose submit failed, so that half of it is not taken for all of it.
async fn give_up(broker: &Arc<Broker>, job: &JobId, request: &Request, refusal: &Refusal) {
    let to_be_repeated = matches!(
        refusal.status,
        StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    );
    if to_be_repeated && request.idempotency_key.is_some() {
        // The client will send it again and find its tasks, or is doing so already.
        return;
    }
    let reason = format!("its submit failed: {}", refusal.problem.error);
    let key = request.idempotency_key.clone();
    let (broker, job) = (Arc::clone(broker), job.clone());
    let cancelling = tokio::spawn(async move {
        for _ in 0..CANCEL_ATTEMPTS {
            if undo(&broker, &job, &reason, key.as_deref()).await.is_ok() {
                return;
            }
            tokio::time::sleep(CANCEL_PAUSE).await;
        }
        tracing::warn!(%job, "a refused job could not be cancelled: its tasks will run");
    });
    // Usually at once; while NATS is away the client is not kept waiting for it.
    let _ = tokio::time::timeout(CANCEL_PAUSE, cancelling).await;
}

async fn undo(
    broker: &Broker,
    job: &JobId,
    reason: &str,
    key: Option<&str>,
) -> Result<(), Refusal> {
    jobs::cancel_job(broker, job, reason).await?;
    if let Some(key) = key {
        Jobs::new(broker).release(key, job).await?;
    }
    Ok(())
}

/// Throws a body away: if its connection is closed while the client still sends, the answer may be
/// lost to it.
async fn let_pass(body: Body) {
    let mut pieces = body.into_data_stream();
    while let Some(Ok(_)) = pieces.next().await {}
}

/// Takes the first tasks without publishing them.
async fn hold(tasks: &mut Tasks) -> Result<Vec<Bytes>, Refusal> {
    let mut held = Vec::new();
    let mut bytes = 0;
    let mut next = tasks.recv_all().await;
    let until = Instant::now() + HELD_TIME;
    while let Some(come) = next {
        for task in come {
            let task = task.map_err(|refusal| *refusal)?;
            bytes += task.len();
            held.push(task);
        }
        if held.len() >= HELD_TASKS || bytes >= HELD_BYTES {
            break;
        }
        let in_time = tokio::time::timeout_at(until, tasks.recv_all()).await;
        next = in_time.unwrap_or(None);
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_that_come_slowly_are_not_held_for_long() {
        let (sender, mut tasks) = weighed::channel(10, 1000);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let _ = sender.send(Ok(Bytes::from_static(b"{}")), 2).await;
            }
        });
        let started = Instant::now();
        assert_eq!(hold(&mut tasks).await.unwrap().len(), 3);
        assert_eq!(started.elapsed(), Duration::from_millis(1400));
        assert!(tasks.recv_all().await.is_some(), "nothing is lost between");
    }
}
