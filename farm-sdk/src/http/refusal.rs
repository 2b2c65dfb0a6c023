//! Refused requests: a status and a [`Problem`] that says what to do.

use axum::Json;
use axum::http::{StatusCode, Uri, header};
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
        }
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
        response
    }
}

pub(crate) async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::not_found(format!(
        "nothing at {}; POST / submits, GET /jobs/{{job}} tells how far it is",
        uri.path()
    ))
}
