//! Refused requests: a status and a [`Problem`] that says what to do.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use farm_core::http::Problem;
use farm_core::{InvalidName, JobId};

use crate::runtime::jobs::Unavailable;

/// Why a request is not carried out.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    // Boxed because every answer of the HTTP face may be one.
    pub problem: Box<Problem>,
    pub retry_after_seconds: Option<u64>,
    /// Whether the connection is closed after the answer.
    pub closes: bool,
}

impl Refusal {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            problem: Box::new(Problem {
                error: error.into(),
                ..Problem::default()
            }),
            retry_after_seconds: None,
            closes: false,
        }
    }

    /// The same; its client is not to keep the connection.
    pub fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// This replica is told to stop; another one may take the request.
    pub fn shutting_down() -> Self {
        Self::unavailable("this replica is shutting down")
    }

    pub fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    /// Nothing is wrong with the request; it may be sent again soon.
    pub fn unavailable(error: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }

    /// More than this replica takes at once; another one, or this one later, may take it.
    pub fn too_many(error: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, error)
        }
    }

    pub fn no_such_job(job: &JobId) -> Self {
        Self::not_found(format!(
            "no job {job}: it never existed, or its results have expired"
        ))
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Refusal::unavailable(error.to_string())
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Refusal::bad_request(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        if self.closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"farm\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{method} makes no sense at {}: see the header Allow",
            uri.path()
        ),
    )
}

pub(crate) async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::not_found(format!(
        "nothing at {}; POST / submits, GET /jobs/{{job}} tells how far it is",
        uri.path()
    ))
}
