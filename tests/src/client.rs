//! A client of a farm function's HTTP face, for tests: what is not as it should be is a panic.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use farm_core::JobId;
use farm_core::http::{Accepted, DeadLetter, FarmStatus, JobState, JobStatus, NDJSON, TaskOutcome};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::eventually::eventually;

/// An HTTP client that uses no proxy and keeps no connection open: a replica that ends and
/// another one on its port are not confused.
pub fn http_client() -> reqwest::Client {
    // Only an error if another test was quicker.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .connect_timeout(Duration::from_secs(5))
        .build()
        .expect("an HTTP client")
}

/// A function's HTTP face.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client of the function at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            http: http_client(),
            base: base.into(),
        }
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request to `path`, to be completed and sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// The status of a GET, or `None` if nobody answers.
    pub async fn status_of(&self, path: &str) -> Option<StatusCode> {
        let answer = self.request(Method::GET, path).send().await.ok()?;
        Some(answer.status())
    }

    /// Whether the function says that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.status_of("/_/ready").await == Some(StatusCode::OK)
    }

    /// The text at `path`.
    pub async fn text(&self, path: &str) -> String {
        let answer = self.sent(self.request(Method::GET, path)).await;
        answer.text().await.expect("a body")
    }

    /// The value that `method` `path` answers.
    pub async fn json<T: DeserializeOwned>(&self, method: Method, path: &str) -> T {
        let answer = self.sent(self.request(method, path)).await;
        answer.json().await.expect("a JSON body of that type")
    }

    async fn sent(&self, request: RequestBuilder) -> Response {
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        if status.is_success() {
            return answer;
        }
        let text = answer.text().await.unwrap_or_default();
        panic!("{status}: {text}");
    }

    /// Submits a job: a value, or an array of them.
    pub async fn submit(&self, job: &impl Serialize) -> Accepted {
        self.submitted(self.request(Method::POST, "/").json(job))
            .await
    }

    /// Submits a job, one value a line.
    pub async fn submit_lines(&self, lines: impl IntoIterator<Item = impl Serialize>) -> Accepted {
        let body = ndjson(lines);
        let request = self
            .request(Method::POST, "/")
            .header("content-type", NDJSON);
        self.submitted(request.body(body)).await
    }

    /// Sends a submit that is to be accepted.
    pub async fn submitted(&self, request: RequestBuilder) -> Accepted {
        let answer = self.sent(request).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.json().await.expect("the job and its size")
    }

    /// Where a job stands.
    pub async fn job(&self, job: &JobId) -> JobStatus {
        self.json(Method::GET, &format!("/jobs/{job}")).await
    }

    /// Waits until a job is heard of: one that came over NATS is with its first outcome.
    pub async fn known(&self, job: &JobId, limit: Duration) {
        eventually(&format!("job {job} is known"), limit, async || {
            let status = self.status_of(&format!("/jobs/{job}")).await;
            (status == Some(StatusCode::OK)).then_some(())
        })
        .await;
    }

    /// Waits until a job has ended.
    pub async fn ended(&self, job: &JobId, limit: Duration) -> JobStatus {
        let mut last = None;
        eventually(&format!("job {job} ends"), limit, async || {
            let answer = self.request(Method::GET, &format!("/jobs/{job}")).send();
            let status: JobStatus = answer.await.ok()?.json().await.ok()?;
            if last.as_ref() != Some(&(status.done, status.failed)) {
                last = Some((status.done, status.failed));
                eprintln!("job {job}: {} done, {} failed", status.done, status.failed);
            }
            matches!(status.state, JobState::Done | JobState::Cancelled).then_some(status)
        })
        .await
    }

    /// Waits until a job has so many results.
    pub async fn done(&self, job: &JobId, at_least: u64, limit: Duration) {
        let what = format!("{at_least} results of job {job}");
        eventually(&what, limit, async || {
            (self.job(job).await.done >= at_least).then_some(())
        })
        .await;
    }

    /// All outcomes of a job; waits for its end.
    pub async fn results(&self, job: &JobId) -> Vec<TaskOutcome> {
        let text = self.text(&format!("/jobs/{job}/results")).await;
        lines(&text)
    }

    /// The outcomes of a job from `after` on, as they come.
    pub async fn follow(&self, job: &JobId, after: u64) -> Lines {
        let path = format!("/jobs/{job}/results?after={after}");
        Lines {
            answer: self.sent(self.request(Method::GET, &path)).await,
            buffer: BytesMut::new(),
        }
    }

    /// The dead letters of a job.
    pub async fn dead(&self, job: &JobId) -> Vec<DeadLetter> {
        self.dead_letters(&format!("?job={job}")).await
    }

    /// The dead letters that `query`, such as `?limit=2`, selects.
    pub async fn dead_letters(&self, query: &str) -> Vec<DeadLetter> {
        lines(&self.text(&format!("/dead{query}")).await)
    }

    /// The farm as a whole.
    pub async fn farm(&self) -> FarmStatus {
        self.json(Method::GET, "/").await
    }
}

fn ndjson(values: impl IntoIterator<Item = impl Serialize>) -> String {
    values
        .into_iter()
        .map(|value| serde_json::to_string(&value).expect("JSON") + "\n")
        .collect()
}

fn lines<T: DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A stream of outcomes.
pub struct Lines {
    answer: Response,
    buffer: BytesMut,
}

impl Lines {
    /// The next outcome, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<TaskOutcome> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if !line.trim_ascii().is_empty() {
                    return Some(serde_json::from_slice(&line).expect("an outcome"));
                }
                continue;
            }
            let piece = self.answer.chunk().await.expect("the stream goes on")?;
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// All that still comes.
    pub async fn rest(&mut self) -> Vec<TaskOutcome> {
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        outcomes
    }
}
