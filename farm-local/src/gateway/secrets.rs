//! `/system/secrets`: values come in and never go out.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farm_core::gateway::{NAMESPACE, Secret};

use super::Gateway;
use crate::secrets::SecretError;

impl IntoResponse for SecretError {
    fn into_response(self) -> Response {
        let status = match &self {
            SecretError::Exists => StatusCode::CONFLICT,
            SecretError::Missing => StatusCode::NOT_FOUND,
            SecretError::Mount(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, self.to_string()).into_response()
    }
}

fn read(body: &Bytes) -> Result<Secret, SecretError> {
    // The error of a body that holds a secret is not repeated to anybody.
    serde_json::from_slice(body).map_err(|_| SecretError::Body)
}

fn value(secret: &Secret) -> Result<Vec<u8>, SecretError> {
    if !secret.value.is_empty() {
        return Ok(secret.value.clone().into_bytes());
    }
    STANDARD
        .decode(&secret.raw_value)
        .map_err(|_| SecretError::Encoding)
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Vec<Secret>> {
    let named = |name| Secret {
        name,
        namespace: NAMESPACE.to_owned(),
        ..Secret::default()
    };
    Json(
        gateway
            .provider
            .secrets
            .names()
            .into_iter()
            .map(named)
            .collect(),
    )
}

pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    body: Bytes,
) -> Result<StatusCode, SecretError> {
    let secret = read(&body)?;
    gateway
        .provider
        .secrets
        .create(&secret.name, value(&secret)?)?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn update(
    State(gateway): State<Arc<Gateway>>,
    body: Bytes,
) -> Result<StatusCode, SecretError> {
    let secret = read(&body)?;
    gateway
        .provider
        .update_secret(&secret.name, value(&secret)?)?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    body: Bytes,
) -> Result<StatusCode, SecretError> {
    let secret = read(&body)?;
    gateway.provider.secrets.delete(&secret.name)?;
    Ok(StatusCode::ACCEPTED)
}
