//! `POST /`: takes a job in. The body streams through four stages that each hold little: bytes are
//! cut into values, values split into tasks by the user's emitter, tasks published in a window.

mod publish;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use farm_core::JobId;
use farm_core::envelope;
use farm_core::http::{
    Accepted, CALLBACK_URL_HEADER, DEADLINE_HEADER, IDEMPOTENCY_KEY_HEADER, NDJSON,
};
use farm_core::job::JobSpec;
use farm_core::quantity::parse_duration;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::refusal::Refusal;
use super::values::{Found, Framing, Malformed, Values};
use super::{Face, jobs};
use crate::clock;
use crate::emitter::SplitError;
use crate::runtime::broker::Broker;
use crate::runtime::jobs::{Claim, Jobs, has_ended};
use crate::runtime::outcomes;
use publish::Publisher;

/// Values cut and not yet split.
const CUT_VALUES: usize = 64;
/// Tasks split and not yet published.
const SPLIT_TASKS: usize = 64;
/// Tasks looked at before the first is published, so that a small bad body leaves no trace.
const HELD_TASKS: usize = 1000;
/// The same in bytes.
const HELD_BYTES: usize = 256 << 10;
/// How often, and how far apart, a refused job is tried to be cancelled.
const CANCEL_ATTEMPTS: usize = 60;
const CANCEL_PAUSE: Duration = Duration::from_secs(5);
/// Longest `?wait=`.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
pub(crate) struct Parameters {
    wait: Option<String>,
}

/// What a submit asks for beside its tasks.
struct Request {
    framing: Framing,
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
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = read_request(&face, &headers, &parameters)?;
    let wait = request.wait;
    if face.draining.is_cancelled() {
        return Err(Refusal::unavailable("this replica is shutting down"));
    }
    let taking = Arc::clone(&face);
    // A task of its own: if the client leaves, the job is still cleaned up.
    let taken = tokio::spawn(async move { take_in(&taking, request, body).await }).await;
    let accepted = match taken {
        Ok(accepted) => accepted?,
        Err(error) => {
            return Err(Refusal::unavailable(format!(
                "the job was not taken in: {error}"
            )));
        }
    };
    let Some(wait) = wait else {
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

fn read_request(
    face: &Face,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Result<Request, Refusal> {
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
    let framing = match text(header::CONTENT_TYPE.as_str())? {
        Some(kind) if kind.starts_with(NDJSON) => Framing::Lines,
        _ => Framing::Json,
    };
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
        framing,
        deadline: duration(DEADLINE_HEADER, text(DEADLINE_HEADER)?.as_deref())?
            .or(face.config.deadline),
        callback_url,
        idempotency_key,
        traceparent: text(envelope::TRACEPARENT)?,
        wait: duration("wait", parameters.wait.as_deref())?.map(|wait| wait.min(LONGEST_WAIT)),
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
        Claim::Earlier(job) => {
            let accepted = store.spec(&job).await?.and_then(|spec| spec.accepted);
            Ok(match accepted {
                Some(accepted) => Admission::Repeated(Accepted {
                    job,
                    accepted,
                    repeated: true,
                }),
                // The first submit was cut off: the tasks that came are named as ours will be.
                None => Admission::New(job),
            })
        }
    }
}

async fn take_in(face: &Arc<Face>, request: Request, body: Body) -> Result<Accepted, Refusal> {
    let broker = face.broker()?;
    let (mut tasks, reading) = start_reading(face, request.framing, body);
    // Small bodies are understood as a whole before anything is done about them.
    let held = hold(&mut tasks).await?;
    let job = match admit(broker, &request).await? {
        Admission::New(job) => job,
        Admission::Repeated(accepted) => {
            reading.abort();
            return Ok(accepted);
        }
    };
    let mut spec = JobSpec {
        created_seconds: clock::now_seconds(),
        accepted: None,
        deadline_seconds: request.deadline.map(|deadline| deadline.as_secs_f64()),
        callback_url: request.callback_url.clone(),
    };
    let store = Jobs::new(broker);
    store.put_spec(&job, &spec).await?;
    let mut publisher = Publisher::new(face, broker, &job, &request);
    let stored = async {
        publisher.publish_all(held, &mut tasks).await?;
        spec.accepted = Some(publisher.accepted());
        seal(broker, &job, &spec).await
    };
    if let Err(mut refusal) = stored.await {
        refusal.problem.job = Some(job.clone());
        refusal.problem.accepted = Some(publisher.accepted());
        give_up(face, broker, &job, &request, &refusal).await;
        return Err(refusal);
    }
    let accepted = publisher.accepted();
    face.metrics.job("accepted");
    face.metrics.emitted("accepted", accepted);
    Ok(Accepted {
        job,
        accepted,
        repeated: false,
    })
}

/// Writes that all tasks of `job` are stored.
async fn seal(broker: &Broker, job: &JobId, spec: &JobSpec) -> Result<(), Refusal> {
    let store = Jobs::new(broker);
    store.put_spec(job, spec).await?;
    if store.is_cancelled(job).await? {
        // Cancelled while its tasks came in: those that came after that are queued still.
        jobs::cancel_job(broker, job, "cancelled on request").await?;
    }
    Ok(())
}

/// Cancels a job whose submit failed, so that half of it is not taken for all of it.
async fn give_up(
    face: &Face,
    broker: &Arc<Broker>,
    job: &JobId,
    request: &Request,
    refusal: &Refusal,
) {
    let cut_off = refusal.status == StatusCode::SERVICE_UNAVAILABLE;
    if cut_off && request.idempotency_key.is_some() {
        // The client will send it again and find its tasks.
        return;
    }
    face.metrics.job("refused");
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
        Jobs::new(broker).release(key).await?;
    }
    Ok(())
}

type Tasks = mpsc::Receiver<Result<Bytes, Refusal>>;

/// Takes the first tasks without publishing them.
async fn hold(tasks: &mut Tasks) -> Result<Vec<Bytes>, Refusal> {
    let mut held = Vec::new();
    let mut bytes = 0;
    while held.len() < HELD_TASKS && bytes < HELD_BYTES {
        match tasks.recv().await {
            Some(task) => {
                let task = task?;
                bytes += task.len();
                held.push(task);
            }
            None => break,
        }
    }
    Ok(held)
}

/// Starts the stages that turn the body into tasks.
fn start_reading(
    face: &Arc<Face>,
    framing: Framing,
    body: Body,
) -> (Tasks, tokio::task::JoinHandle<()>) {
    let (values, cut) = mpsc::channel(CUT_VALUES);
    let (tasks, split) = mpsc::channel(SPLIT_TASKS);
    let limits = Limits {
        body_bytes: face.config.max_body_bytes,
        task_bytes: usize::try_from(face.config.max_task_bytes).unwrap_or(usize::MAX),
    };
    let reading = tokio::spawn(cut_body(framing, body, limits, values));
    let emitter = Arc::clone(&face.emitter);
    let panicked = tasks.clone();
    // The emitter is the user's code and may compute.
    let splitting = face
        .user
        .spawn_blocking(move || split_values(emitter.as_ref(), framing, cut, &tasks));
    tokio::spawn(async move {
        if splitting.await.is_err() {
            let refusal = Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the emitter panicked on this job; its log says where",
            );
            let _ = panicked.send(Err(refusal)).await;
        }
    });
    (split, reading)
}

struct Limits {
    body_bytes: u64,
    task_bytes: usize,
}

async fn cut_body(
    framing: Framing,
    body: Body,
    limits: Limits,
    values: mpsc::Sender<Result<Found, Refusal>>,
) {
    let cut = async {
        let mut cutter = Values::new(framing, limits.task_bytes);
        let mut stream = body.into_data_stream();
        let mut read: u64 = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| {
                Refusal::unavailable(format!("the body ended too early: {error}"))
            })?;
            read += piece.len() as u64;
            if read > limits.body_bytes {
                let limit = limits.body_bytes;
                return Err(Refusal::too_large(format!(
                    "the body is larger than {limit} bytes (FARM_MAX_BODY): submit it in parts"
                )));
            }
            for found in cutter
                .push(&piece)
                .map_err(|error| malformed(framing, &error))?
            {
                if values.send(Ok(found)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if let Some(found) = cutter
            .finish()
            .map_err(|error| malformed(framing, &error))?
        {
            let _ = values.send(Ok(found)).await;
        }
        Ok(())
    };
    if let Err(refusal) = cut.await {
        let _ = values.send(Err(refusal)).await;
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
    let unit = match framing {
        Framing::Lines => "line",
        Framing::Json => "value",
    };
    let problem = refusal.problem.as_mut();
    problem.error = format!("{unit} {place}: {}", problem.error);
    problem.path = (!path.is_empty()).then(|| path.to_owned());
    problem.line = Some(place);
    refusal
}

fn split_values(
    emitter: &dyn crate::emitter::ErasedEmitter,
    framing: Framing,
    mut values: mpsc::Receiver<Result<Found, Refusal>>,
    tasks: &mpsc::Sender<Result<Bytes, Refusal>>,
) {
    while let Some(value) = values.blocking_recv() {
        let failed = match value {
            Err(refusal) => Some(refusal),
            Ok(Found { place, json }) => emitter
                .split(json, &mut |task| tasks.blocking_send(Ok(task)).is_ok())
                .err()
                .map(|error| {
                    let path = match &error {
                        SplitError::Mismatch(mismatch) => mismatch.path.clone(),
                        SplitError::Encode { .. } => String::new(),
                    };
                    at(
                        framing,
                        place,
                        &path,
                        Refusal::bad_request(error.to_string()),
                    )
                }),
        };
        if let Some(refusal) = failed {
            let _ = tasks.blocking_send(Err(refusal));
            return;
        }
    }
}
