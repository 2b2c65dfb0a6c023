//! A farm function's HTTP face, seen through the gateway. Bodies: [`farm_core::http`].

mod connect;
mod error;
mod follow;

use std::time::Duration;

use bytes::Bytes;
use farm_core::http::{
    Accepted, CALLBACK_URL_HEADER, DEADLINE_HEADER, DeadLetter, FarmStatus, IDEMPOTENCY_KEY_HEADER,
    JobStatus, NDJSON, Purged, Replayed,
};
use farm_core::quantity::format_duration;
use farm_core::{JobId, TaskId};
use futures_util::{Stream, StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Body, Client, Method, RequestBuilder, Response, redirect};
use serde::de::DeserializeOwned;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

pub use connect::{connect, functions};
pub use error::Error;
pub use follow::Follow;

use crate::failure::root_cause;
use crate::gateway::{FunctionName, Gateway};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For requests whose answer is short and ready.
const SHORT_TIMEOUT: Duration = Duration::from_secs(30);
const SHORT_ANSWER_MAX_BYTES: usize = 1 << 20;
/// A result line is at most what NATS carries (64 MiB), in base64 and with its account.
const LINE_MAX_BYTES: usize = 96 << 20;

/// What goes with a submit beside the tasks.
#[derive(Debug, Clone, Default)]
pub struct SubmitHeaders {
    /// Media type of the body.
    pub content_type: &'static str,
    /// Sojourn time allowed to each task.
    pub deadline: Option<Duration>,
    /// Makes a repeated submit answer with the first one's job.
    pub idempotency_key: Option<String>,
    /// Where to post the outcome.
    pub callback_url: Option<String>,
    /// Longest time until the answer is there; a long body needs it without one.
    pub timeout: Option<Duration>,
}

/// One farm function behind one gateway.
#[derive(Debug, Clone)]
pub struct FarmClient {
    http: Client,
    gateway: Gateway,
    function: FunctionName,
}

/// The HTTP client of a gateway: share it between the functions asked there.
///
/// # Errors
/// The TLS set-up of this machine is unusable.
pub fn http_client(gateway: &Gateway) -> Result<Client, Error> {
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("farm/", env!("CARGO_PKG_VERSION")));
    let client = if gateway.is_local() {
        client.no_proxy()
    } else {
        client
    };
    client.build().map_err(|e| Error::NoGateway {
        gateway: gateway.to_string(),
        cause: root_cause(&e),
    })
}

impl FarmClient {
    /// A client of `function`.
    pub fn new(http: Client, gateway: Gateway, function: FunctionName) -> Self {
        Self {
            http,
            gateway,
            function,
        }
    }

    /// The function's name.
    pub fn function(&self) -> &FunctionName {
        &self.function
    }

    /// The farm as a whole; this is also how to tell a farm from another function.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::NotAFarm`] if the answer is something else.
    pub async fn status(&self) -> Result<FarmStatus, Error> {
        self.fetch(self.short(Method::GET, "/")).await
    }

    /// Submits a job.
    ///
    /// # Errors
    /// See [`Error`]. A lost connection says nothing about whether the job was taken in: repeat
    /// the request with the same idempotency key.
    pub async fn submit(&self, headers: &SubmitHeaders, body: Body) -> Result<Accepted, Error> {
        let mut request = self
            .request(Method::POST, "/")
            .header(CONTENT_TYPE, headers.content_type);
        if let Some(deadline) = headers.deadline {
            request = request.header(DEADLINE_HEADER, format_duration(deadline));
        }
        if let Some(key) = &headers.idempotency_key {
            request = request.header(IDEMPOTENCY_KEY_HEADER, key);
        }
        if let Some(url) = &headers.callback_url {
            request = request.header(CALLBACK_URL_HEADER, url);
        }
        if let Some(timeout) = headers.timeout {
            request = request.timeout(timeout);
        }
        self.fetch(request.body(body)).await
    }

    /// The account of a job.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job(&self, job: &JobId) -> Result<JobStatus, Error> {
        self.fetch(self.short(Method::GET, &format!("/jobs/{job}")))
            .await
    }

    /// Cancels what has not started.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel(&self, job: &JobId) -> Result<JobStatus, Error> {
        self.fetch(self.short(Method::DELETE, &format!("/jobs/{job}")))
            .await
    }

    /// What the collector folded, as it comes.
    ///
    /// # Errors
    /// See [`Error`]: [`Error::StillRunning`] before the job has ended, [`Error::NotFound`] if
    /// the farm has no collector function.
    pub async fn summary(&self, job: &JobId) -> Result<Response, Error> {
        self.send(self.request(Method::GET, &format!("/jobs/{job}/summary")))
            .await
    }

    /// The lines of the outcomes after a cursor, live until the job ends.
    ///
    /// # Errors
    /// See [`Error`]; each line may be the [`Error::Cut`] that ends the stream early.
    pub async fn results(
        &self,
        job: &JobId,
        after: u64,
    ) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static, Error> {
        let request = self.request(Method::GET, &format!("/jobs/{job}/results"));
        self.lines(request.query(&[("after", after)])).await
    }

    /// The oldest `limit` dead letters, of one job or of the whole farm, one per line.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dead_letters(
        &self,
        job: Option<&JobId>,
        limit: u64,
    ) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static, Error> {
        let request = self
            .request(Method::GET, "/dead")
            .query(&[("limit", limit)]);
        self.lines(of_job(request, job)).await
    }

    /// One dead letter.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dead_letter(&self, task: &TaskId) -> Result<DeadLetter, Error> {
        self.fetch(self.short(Method::GET, &format!("/dead/{task}")))
            .await
    }

    /// Queues one dead letter again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn replay(&self, task: &TaskId) -> Result<Replayed, Error> {
        self.fetch(self.request(Method::POST, &format!("/dead/{task}/replay")))
            .await
    }

    /// Queues the oldest `limit` dead letters of a job, or of the farm, again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn replay_all(&self, job: Option<&JobId>, limit: u64) -> Result<Replayed, Error> {
        let request = self.request(Method::POST, "/dead/replay");
        self.fetch(of_job(request.query(&[("limit", limit)]), job))
            .await
    }

    /// Deletes one dead letter.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge(&self, task: &TaskId) -> Result<Purged, Error> {
        self.fetch(self.request(Method::DELETE, &format!("/dead/{task}")))
            .await
    }

    /// Deletes all dead letters of a job, or of the farm.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge_all(&self, job: Option<&JobId>) -> Result<Purged, Error> {
        self.fetch(of_job(self.request(Method::DELETE, "/dead"), job))
            .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self
            .gateway
            .address(&format!("/function/{}{path}", self.function));
        let request = self.http.request(method, address);
        match self.gateway.token() {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn short(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).timeout(SHORT_TIMEOUT)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|e| self.lost(&e))?;
        error::check(response, &self.gateway, &self.function).await
    }

    async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let mut response = self.send(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.lost(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > SHORT_ANSWER_MAX_BYTES {
                return Err(self.not_a_farm("its answer is too long"));
            }
        }
        serde_json::from_slice(&body).map_err(|e| self.not_a_farm(&e.to_string()))
    }

    async fn lines(
        &self,
        request: RequestBuilder,
    ) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static, Error> {
        let response = self.send(request.header(ACCEPT, NDJSON)).await?;
        let chunks = response
            .bytes_stream()
            .map_err(|e| std::io::Error::other(root_cause(&e)));
        let reader = StreamReader::new(chunks.map(|chunk: std::io::Result<Bytes>| chunk));
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_MAX_BYTES));
        let client = self.clone();
        Ok(lines.map_err(move |e| client.cut(&e.to_string())))
    }

    fn lost(&self, error: &reqwest::Error) -> Error {
        error::no_answer(error, &self.gateway, &self.function)
    }

    fn cut(&self, cause: &str) -> Error {
        Error::Cut {
            function: self.function.to_string(),
            gateway: self.gateway.address(""),
            cause: cause.to_owned(),
        }
    }

    fn not_a_farm(&self, cause: &str) -> Error {
        Error::NotAFarm {
            function: self.function.to_string(),
            cause: cause.to_owned(),
        }
    }
}

fn of_job(request: RequestBuilder, job: Option<&JobId>) -> RequestBuilder {
    match job {
        Some(job) => request.query(&[("job", job.as_str())]),
        None => request,
    }
}
