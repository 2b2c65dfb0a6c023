//! Submits what is planned, through every entry, and records what is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::message::PublishMessage;
use farm_core::envelope;
use farm_core::http::{Accepted, IDEMPOTENCY_KEY_HEADER, NDJSON, Problem};
use farm_core::topology::Topology;
use reqwest::{Method, RequestBuilder, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::history::{History, What};
use super::plan::{Entry, Random, Submit, body, tag};
use super::reads;
use crate::body::streamed;
use crate::client::Client;

/// Submits under way at once.
const SUBMITTERS: usize = 12;
/// How long a client waits for an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(45);
/// How long a submit that is refused is tried again.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a raw publish waits for its acknowledgement.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);
/// Every so many-th job is followed while it runs.
const FOLLOWED: u64 = 25;
/// Bytes of an oversized task: more than a server takes, less than `FARM_MAX_TASK`.
const OVERSIZED_BYTES: usize = 1_500_000;

/// Who submits.
pub struct Generator {
    /// Chooses bodies and mishaps.
    pub seed: u64,
    /// The emitters' HTTP faces.
    pub emitters: Vec<Client>,
    /// The record.
    pub history: Arc<History>,
    /// For raw publishes.
    pub jetstream: jetstream::Context,
    /// Where to publish them.
    pub topology: Topology,
}

/// What came of sending a submit once.
enum Answer {
    Accepted(Accepted),
    Refused(StatusCode),
    Unknown,
}

impl Generator {
    /// Submits all of `plan`, spread evenly over `span` from `start`; returns when each is accepted,
    /// refused for good or lost from sight, and the jobs that are followed have ended.
    pub async fn run(self: Arc<Self>, plan: Vec<Submit>, start: Instant, span: Duration) {
        let total: u64 = plan.iter().map(|submit| submit.tasks).sum();
        let plan = Arc::new(plan);
        let next = Arc::new(AtomicUsize::new(0));
        let mut submitters = JoinSet::new();
        for _ in 0..SUBMITTERS {
            let (generator, plan, next) = (Arc::clone(&self), Arc::clone(&plan), Arc::clone(&next));
            submitters.spawn(async move {
                let mut followers = JoinSet::new();
                while let Some(submit) = plan.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let share = submit.first as f64 / total as f64;
                    sleep_until(start + span.mul_f64(share)).await;
                    let accepted = generator.submit(submit).await;
                    if let Some(accepted) = accepted.filter(|_| submit.submit % FOLLOWED == 7) {
                        let generator = Arc::clone(&generator);
                        followers.spawn(async move {
                            let history = &generator.history;
                            reads::follow(&generator.emitters, &accepted, history).await;
                        });
                    }
                }
                followers.join_all().await;
            });
        }
        while let Some(ended) = submitters.join_next().await {
            ended.expect("a submitter goes on");
        }
    }

    async fn submit(self: &Arc<Self>, submit: &Submit) -> Option<String> {
        match submit.entry {
            Entry::Raw => self.publish(submit).await,
            Entry::Cancelled => self.submit_and_cancel(submit).await,
            Entry::Duplicate => self.submit_twice(submit).await,
            _ => self.submit_until_known(submit, self.mishap(submit)).await,
        }
    }

    fn random(&self, submit: &Submit) -> Random {
        Random::new(self.seed, submit.submit.wrapping_add(1 << 60))
    }

    fn mishap(&self, submit: &Submit) -> Option<Mishap> {
        let mut random = self.random(submit);
        match submit.entry {
            Entry::CutBody => Some(Mishap::Body(random.between(0.1, 1.0))),
            Entry::CutAnswer => Some(Mishap::Answer(Duration::from_micros(
                200 + random.below(30_000),
            ))),
            _ => None,
        }
    }

    /// Sends a submit, cut at first if it is to be, until it is accepted. Without a key it is only
    /// sent again if it was refused: what nobody answered may have been taken.
    async fn submit_until_known(&self, submit: &Submit, mishap: Option<Mishap>) -> Option<String> {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(50);
        let mut mishap = mishap;
        for attempt in 0.. {
            match self.send(submit, attempt, mishap.take()).await {
                Answer::Accepted(accepted) => return Some(accepted.job.to_string()),
                Answer::Refused(status) if is_final(status) => return None,
                Answer::Unknown if !submit.entry.is_idempotent() => return None,
                _ if Instant::now() > give_up => return None,
                Answer::Refused(_) | Answer::Unknown => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        None
    }

    async fn submit_twice(self: &Arc<Self>, submit: &Submit) -> Option<String> {
        let _ = tokio::join!(self.send(submit, 0, None), self.send(submit, 1, None));
        self.submit_until_known(submit, None).await
    }

    async fn submit_and_cancel(&self, submit: &Submit) -> Option<String> {
        let job = self.submit_until_known(submit, None).await?;
        sleep(Duration::from_millis(self.random(submit).below(300))).await;
        self.history.note(What::CancelAsked { job: job.clone() });
        let emitter = self.emitter(submit, 0);
        let request = emitter.request(Method::DELETE, &format!("/jobs/{job}"));
        let answer = request.timeout(ANSWERS_WITHIN).send().await;
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        self.history.note(What::CancelAnswered {
            job: job.clone(),
            status,
        });
        Some(job)
    }

    fn emitter(&self, submit: &Submit, attempt: usize) -> &Client {
        &self.emitters[(submit.submit as usize + attempt) % self.emitters.len()]
    }

    /// Sends a submit once and records it.
    async fn send(&self, submit: &Submit, attempt: usize, mishap: Option<Mishap>) -> Answer {
        self.history.note(What::Invoked {
            submit: submit.clone(),
        });
        let request = self.request(submit, attempt).timeout(ANSWERS_WITHIN);
        let body = self.body(submit);
        let sent = match mishap {
            Some(Mishap::Body(share)) => cut_in_body(request, &body, share).await,
            Some(Mishap::Answer(after)) => match timeout(after, request.body(body).send()).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err("cut before the answer, on purpose".to_owned()),
            },
            None => request
                .body(body)
                .send()
                .await
                .map_err(|error| error.to_string()),
        };
        let answer = match sent {
            Ok(answer) => read(answer).await,
            Err(reason) => Err(reason),
        };
        self.note(submit, answer)
    }

    fn note(&self, submit: &Submit, answer: Result<Read, String>) -> Answer {
        let submit = submit.submit;
        match answer {
            Ok(Read::Accepted(accepted)) => {
                self.history.note(What::Accepted {
                    submit,
                    job: accepted.job.to_string(),
                    accepted: accepted.accepted,
                });
                Answer::Accepted(accepted)
            }
            Ok(Read::Refused(status, problem)) => {
                self.history.note(What::Refused {
                    submit,
                    status: status.as_u16(),
                    reason: problem.error,
                    job: problem.job.map(|job| job.to_string()),
                });
                Answer::Refused(status)
            }
            Err(reason) => {
                self.history.note(What::Unknown { submit, reason });
                Answer::Unknown
            }
        }
    }

    fn request(&self, submit: &Submit, attempt: usize) -> RequestBuilder {
        let request = self.emitter(submit, attempt).request(Method::POST, "/");
        let content = match submit.entry {
            Entry::Lines | Entry::CutBody => NDJSON,
            _ => "application/json",
        };
        let request = request.header("content-type", content);
        if !submit.entry.is_idempotent() {
            return request;
        }
        let key = format!("{}-{}", self.seed, submit.submit);
        request.header(IDEMPOTENCY_KEY_HEADER, key)
    }

    fn body(&self, submit: &Submit) -> String {
        let numbers = submit.first..submit.first + submit.tasks;
        let mut bodies = numbers.map(|number| body(self.seed, number));
        match submit.entry {
            Entry::Lines | Entry::CutBody => bodies.map(|body| body + "\n").collect(),
            Entry::Single => bodies.next().unwrap_or_default(),
            Entry::Oversized => {
                // What surrounds a value is no part of the task; its tag is.
                let pad = "x".repeat(OVERSIZED_BYTES);
                let body = bodies.next().unwrap_or_default();
                let tag = tag(submit.first);
                body.replace(&tag, &format!("{tag}-{pad}"))
            }
            _ => format!("[{}]", bodies.collect::<Vec<_>>().join(",")),
        }
    }

    /// Publishes each task until NATS says that it is stored.
    async fn publish(&self, submit: &Submit) -> Option<String> {
        self.history.note(What::Invoked {
            submit: submit.clone(),
        });
        let job = format!("raw-{}-{}", self.seed, submit.submit);
        let give_up = Instant::now() + PATIENCE;
        for number in submit.first..submit.first + submit.tasks {
            if let Err(reason) = self.publish_one(&job, number, give_up).await {
                let submit = submit.submit;
                self.history.note(What::Unknown { submit, reason });
                return None;
            }
        }
        self.history.note(What::Accepted {
            submit: submit.submit,
            job,
            accepted: submit.tasks,
        });
        // It is never closed, so it has no end to be followed to.
        None
    }

    async fn publish_one(&self, job: &str, number: u64, give_up: Instant) -> Result<(), String> {
        let subject = self.topology.task_wildcard().replace('*', job);
        let mut headers = HeaderMap::new();
        headers.insert(envelope::TASK, tag(number));
        let message = PublishMessage::build()
            .payload(body(self.seed, number).into())
            .headers(headers)
            .message_id(format!("{job}.{number}"));
        loop {
            let publishing = async {
                let sent = self
                    .jetstream
                    .send_publish(subject.clone(), message.clone())
                    .await;
                sent.map_err(|error| error.to_string())?
                    .await
                    .map_err(|error| error.to_string())
            };
            let reason = match timeout(ACKNOWLEDGED_WITHIN, publishing).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(reason)) => reason,
                Err(_) => "no acknowledgement".to_owned(),
            };
            if Instant::now() > give_up {
                return Err(reason);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Where a submit is cut on purpose.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    /// After this share of the body.
    Body(f64),
    /// So long after it was sent.
    Answer(Duration),
}

/// A refusal that another attempt would not change.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE
    )
}

async fn cut_in_body(
    request: RequestBuilder,
    body: &str,
    share: f64,
) -> Result<reqwest::Response, String> {
    let (pieces, streamed) = streamed();
    let kept = body.as_bytes()[..(body.len() as f64 * share) as usize].to_vec();
    let cutting = async {
        let _ = pieces.send(Ok(kept.into())).await;
        let cut = std::io::Error::other("cut in mid-body, on purpose");
        let _ = pieces.send(Err(cut)).await;
    };
    let (_, answer) = tokio::join!(cutting, request.body(streamed).send());
    answer.map_err(|error| format!("cut in mid-body: {error}"))
}

enum Read {
    Accepted(Accepted),
    Refused(StatusCode, Problem),
}

async fn read(answer: reqwest::Response) -> Result<Read, String> {
    let status = answer.status();
    let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
    if status == StatusCode::ACCEPTED {
        let accepted = serde_json::from_slice(&bytes);
        return accepted
            .map(Read::Accepted)
            .map_err(|error| error.to_string());
    }
    let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
        error: String::from_utf8_lossy(&bytes).into_owned(),
        ..Problem::default()
    });
    Ok(Read::Refused(status, problem))
}
