//! Requests as a platform's probes make them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use farm_core::http::FarmStatus;
use reqwest::{Client, StatusCode};

use super::finding::{Fault, Judgement};
use crate::failure::{Failure, root_cause};

/// How long a probe may take, as OpenFaaS CE has it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Unanswered probes in a row after which a function counts as dead, as OpenFaaS CE has it.
const PROBES: u32 = 3;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_BODY_BYTES: usize = 8 << 20;
const POLL: Duration = Duration::from_millis(50);

/// A client that no proxy and no redirect leads elsewhere.
///
/// # Errors
/// The TLS set-up of this machine is unusable.
pub fn client(proxy: bool) -> Result<Client, Failure> {
    let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
    let builder = match proxy {
        true => builder,
        false => builder.no_proxy(),
    };
    builder
        .build()
        .map_err(|error| Failure::Failed(format!("cannot make requests: {error}")))
}

/// Where the requests of one replica go.
#[derive(Debug, Clone)]
pub struct Face {
    client: Client,
    /// Address without the last slash.
    base: String,
    token: Option<String>,
}

impl Face {
    /// Requests to `base`, such as `http://127.0.0.1:8080`.
    pub fn new(client: Client, base: &str, token: Option<String>) -> Self {
        Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.authorised(self.client.get(format!("{}{path}", self.base)))
    }

    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.authorised(self.client.post(format!("{}{path}", self.base)))
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The status with which `path` is answered; `Err` if it is not, three times in a row.
    pub async fn probe(&self, path: &str) -> Result<StatusCode, String> {
        let mut cause = String::new();
        for _ in 0..PROBES {
            match self.get(path).timeout(PROBE_TIMEOUT).send().await {
                Ok(answer) => return Ok(answer.status()),
                Err(error) => cause = root_cause(&error),
            }
        }
        Err(cause)
    }

    /// Whether `path` is answered with `wanted` within `limit`; else what it was answered with.
    pub async fn becomes(
        &self,
        path: &str,
        wanted: StatusCode,
        limit: Duration,
    ) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let seen = self.probe(path).await;
            if seen == Ok(wanted) {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(seen_as(&seen));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Status and body of `path`.
    pub async fn read(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let reading = async {
            let mut answer = self.get(path).send().await?;
            let (status, mut body) = (answer.status(), Vec::new());
            while let Some(chunk) = answer.chunk().await? {
                if body.len() < MAX_BODY_BYTES {
                    body.extend_from_slice(&chunk);
                }
            }
            Ok::<_, reqwest::Error>((status, Bytes::from(body)))
        };
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(read) => read.map_err(|error| root_cause(&error)),
            Err(_) => Err(format!("no answer within {} s", READ_TIMEOUT.as_secs())),
        }
    }

    /// Whether `GET /` tells the state of a farm.
    pub async fn farm_status(&self) -> Judgement {
        const NEXT: &str = "let the SDK serve the port: Farm::run answers GET / with a FarmStatus";
        let fault = |why: String| Fault::new(why, NEXT);
        let (status, body) = self
            .read("/")
            .await
            .map_err(|cause| fault(format!("GET /: {cause}")))?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(Fault::new(
                "GET / wants a token",
                "give it with --token-file",
            ));
        }
        if status != StatusCode::OK {
            return Err(fault(format!("GET / answers {}", status.as_u16())));
        }
        let status: FarmStatus = serde_json::from_slice(&body)
            .map_err(|error| fault(format!("GET / answers no FarmStatus: {error}")))?;
        Ok(format!(
            "farm {}, roles {}, SDK {}",
            status.farm, status.roles, status.version
        ))
    }
}

/// The answer to a probe, for people.
pub fn seen_as(seen: &Result<StatusCode, String>) -> String {
    match seen {
        Ok(status) => format!("answers {}", status.as_u16()),
        Err(cause) => format!("does not answer: {cause}"),
    }
}
