//! A client of the OpenFaaS gateway: lists functions, scales them.
//!
//! Every request has a time limit and every body a size limit: a gateway that hangs or babbles
//! is a gateway that failed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farm_core::gateway::{FunctionStatus, ScaleRequest, SystemInfo};
use farm_nats::read_secret;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use crate::config::Config;
use crate::error::{Error, chain};

/// How long any request may take, its body included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Far more than the functions of any gateway need.
const MAX_BODY_BYTES: usize = 16 << 20;
/// As much of a refusal as a log line bears.
const MAX_REFUSAL_BYTES: usize = 300;

/// Why the gateway did not do what it was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum GatewayError {
    #[error("gateway {url} cannot be reached: {cause}")]
    Unreachable { url: String, cause: String },
    #[error("gateway {url} did not answer within {seconds} s")]
    TimedOut { url: String, seconds: f64 },
    #[error(
        "gateway {url} refused the credentials: check the secrets basic-auth-user and basic-auth-password in {secrets}"
    )]
    Unauthorised { url: String, secrets: String },
    #[error("gateway {url} knows no function {function}")]
    NotFound { url: String, function: String },
    #[error("gateway {url} answered {status}: {body}")]
    Refused {
        url: String,
        status: u16,
        body: String,
    },
    #[error("gateway {url} answered something that is no {what}: {cause}")]
    Garbage {
        url: String,
        what: &'static str,
        cause: String,
    },
}

struct BasicAuth {
    user: String,
    password: String,
}

impl BasicAuth {
    fn is(&self, authorization: &HeaderValue) -> bool {
        let given = authorization
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("Basic "))
            .and_then(|encoded| STANDARD.decode(encoded.trim()).ok());
        let expected = format!("{}:{}", self.user, self.password);
        given.is_some_and(|given| given.ct_eq(expected.as_bytes()).into())
    }
}

/// The gateway of one namespace.
pub(crate) struct Gateway {
    http: reqwest::Client,
    base: Url,
    namespace: String,
    secrets_dir: PathBuf,
    auth: Mutex<Option<BasicAuth>>,
}

impl Gateway {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            // The gateway is a neighbour: a proxy in the environment is for the world outside.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| Error::Runtime(chain(&error)))?;
        Ok(Self {
            http,
            base: config.gateway_url.clone(),
            namespace: config.namespace.clone(),
            secrets_dir: config.secrets_dir.clone(),
            auth: Mutex::new(read_auth(&config.secrets_dir)?),
        })
    }

    /// All functions of the namespace, with their replicas.
    pub async fn functions(&self) -> Result<Vec<FunctionStatus>, GatewayError> {
        let request = self.request(Method::GET, &["system", "functions"]);
        let listed: Option<Vec<FunctionStatus>> =
            self.read(request, "list of functions", "").await?;
        // Go writes a list without elements as null.
        Ok(listed.unwrap_or_default())
    }

    /// One function as it is now.
    pub async fn function(&self, name: &str) -> Result<FunctionStatus, GatewayError> {
        let request = self.request(Method::GET, &["system", "function", name]);
        let status: FunctionStatus = self.read(request, "status of a function", name).await?;
        match status.name == name {
            true => Ok(status),
            false => Err(self.garbage(
                "status of that function",
                format!("it is named {:?}", status.name),
            )),
        }
    }

    /// What runs the functions.
    pub async fn info(&self) -> Result<SystemInfo, GatewayError> {
        let request = self.request(Method::GET, &["system", "info"]);
        self.read(request, "system information", "").await
    }

    /// Asks for `replicas` of `function`; gives up after `limit`.
    ///
    /// Kubernetes providers read name and namespace from path and query, faasd from the body.
    pub async fn scale(
        &self,
        function: &str,
        replicas: u32,
        limit: Duration,
    ) -> Result<(), GatewayError> {
        let body = ScaleRequest {
            service_name: function.to_owned(),
            replicas: replicas.into(),
            namespace: self.namespace.clone(),
        };
        let request = self
            .request(Method::POST, &["system", "scale-function", function])
            .timeout(limit.min(REQUEST_TIMEOUT))
            .json(&body);
        let response = self.send(request, function).await?;
        // What the body says does not matter, but an unread one would cost the connection.
        self.body(response).await.map(drop)
    }

    /// Whether a request may do what the gateway's own system API may: its `Authorization` carries
    /// the gateway's user and password, or the gateway asks for none.
    pub fn accepts(&self, authorization: Option<&HeaderValue>) -> bool {
        match &*self.auth.lock().unwrap_or_else(PoisonError::into_inner) {
            None => true,
            Some(auth) => authorization.is_some_and(|given| auth.is(given)),
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut()
            .append_pair("namespace", &self.namespace);
        let request = self.http.request(method, url);
        match &*self.auth.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(auth) => request.basic_auth(&auth.user, Some(&auth.password)),
            None => request,
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &'static str,
        function: &str,
    ) -> Result<T, GatewayError> {
        let response = self.send(request, function).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.garbage(what, error.to_string()))
    }

    async fn send(
        &self,
        request: RequestBuilder,
        function: &str,
    ) -> Result<Response, GatewayError> {
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                self.read_auth_again();
                Err(GatewayError::Unauthorised {
                    url: self.base.to_string(),
                    secrets: self.secrets_dir.display().to_string(),
                })
            }
            StatusCode::NOT_FOUND if !function.is_empty() => Err(GatewayError::NotFound {
                url: self.base.to_string(),
                function: function.to_owned(),
            }),
            _ => Err(GatewayError::Refused {
                url: self.base.to_string(),
                status: status.as_u16(),
                body: self.refusal(response).await,
            }),
        }
    }

    async fn refusal(&self, response: Response) -> String {
        let body = self.body(response).await.unwrap_or_default();
        let shown = &body[..body.len().min(MAX_REFUSAL_BYTES)];
        let text = String::from_utf8_lossy(shown).trim().to_owned();
        match text.is_empty() {
            true => "no reason given".to_owned(),
            false => text,
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, GatewayError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(&e))? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                let cause = format!("it is longer than {MAX_BODY_BYTES} bytes");
                return Err(self.garbage("answer of a gateway", cause));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, error: &reqwest::Error) -> GatewayError {
        let url = self.base.to_string();
        if error.is_timeout() {
            return GatewayError::TimedOut {
                url,
                seconds: REQUEST_TIMEOUT.as_secs_f64(),
            };
        }
        let cause = chain(error);
        GatewayError::Unreachable { url, cause }
    }

    fn garbage(&self, what: &'static str, cause: String) -> GatewayError {
        GatewayError::Garbage {
            url: self.base.to_string(),
            what,
            cause,
        }
    }

    /// A secret may have been rotated: the platform changes the files in place. One that is gone
    /// does not open what it guards.
    fn read_auth_again(&self) {
        if let Ok(Some(auth)) = read_auth(&self.secrets_dir) {
            *self.auth.lock().unwrap_or_else(PoisonError::into_inner) = Some(auth);
        }
    }
}

fn read_auth(folder: &Path) -> Result<Option<BasicAuth>, Error> {
    let wrong = |why: String| Error::Configuration(vec![why]);
    let secret = |name: &str| {
        let file = folder.join(name);
        match read_secret(&file).map_err(|error| wrong(error.to_string()))? {
            Some(text) if text.is_empty() => Err(wrong(format!("{}: it is empty", file.display()))),
            text => Ok(text),
        }
    };
    let (user, password) = (secret("basic-auth-user")?, secret("basic-auth-password")?);
    match (user, password) {
        (user, Some(password)) => Ok(Some(BasicAuth {
            user: user.unwrap_or_else(|| "admin".to_owned()),
            password,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(wrong(format!(
            "{}: basic-auth-user is there without basic-auth-password",
            folder.display()
        ))),
    }
}

#[cfg(test)]
mod contract;

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(folder: &Path) -> Result<Gateway, Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = folder.display().to_string();
        let config = Config::read(&|key| (key == "FARM_SECRETS_DIR").then(|| folder.clone()));
        Gateway::new(&config?)
    }

    #[test]
    fn an_empty_password_is_an_error_and_not_an_open_door() {
        let folder = tempfile::tempdir().unwrap();
        assert!(gateway(folder.path()).unwrap().accepts(None));
        let file = folder.path().join("basic-auth-password");
        std::fs::write(file, "\n").unwrap();
        let said = gateway(folder.path()).err().unwrap().to_string();
        assert!(said.contains("basic-auth-password: it is empty"), "{said}");
    }

    #[test]
    fn a_password_that_is_gone_does_not_open_the_door() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("basic-auth-password");
        std::fs::write(&file, "first").unwrap();
        let gateway = gateway(folder.path()).unwrap();
        let carries = |password: &str| {
            let login = STANDARD.encode(format!("admin:{password}"));
            let header = HeaderValue::from_str(&format!("Basic {login}")).unwrap();
            gateway.accepts(Some(&header))
        };
        std::fs::remove_file(&file).unwrap();
        gateway.read_auth_again();
        assert!(!gateway.accepts(None) && carries("first"));
        std::fs::write(&file, "second").unwrap();
        gateway.read_auth_again();
        assert!(carries("second") && !carries("first"));
    }
}
