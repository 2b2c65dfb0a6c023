//! `/system/functions` and what belongs to it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use farm_core::gateway::{
    DeleteFunction, FunctionDeployment, FunctionStatus, NAMESPACE, ScaleRequest,
};
use serde::de::DeserializeOwned;

use super::{Gateway, plain};
use crate::provider::Refused;

/// Reads a body as Go does: whatever its content type.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::Invalid(format!("the body is no such request: {error}")))
}

/// A request without a name is a bad one, not one for an unknown function.
fn named<'a>(field: &str, name: &'a str) -> Result<&'a str, Refused> {
    match plain(name) {
        "" => Err(Refused::Invalid(format!(
            "{field} is missing: name the function"
        ))),
        name => Ok(name),
    }
}

fn read_deployment(body: &Bytes) -> Result<FunctionDeployment, Refused> {
    let mut deployment: FunctionDeployment = read(body)?;
    deployment.service = named("service", &deployment.service)?.to_owned();
    if !matches!(deployment.namespace.as_str(), "" | NAMESPACE) {
        return Err(Refused::Invalid(format!(
            "the only namespace is {NAMESPACE}"
        )));
    }
    Ok(deployment)
}

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Vec<FunctionStatus>> {
    Json(gateway.provider.statuses())
}

pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    gateway.provider.create(read_deployment(&body)?)?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn update(
    State(gateway): State<Arc<Gateway>>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    gateway.provider.update(read_deployment(&body)?)?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let request: DeleteFunction = read(&body)?;
    let name = named("functionName", &request.function_name)?;
    gateway.provider.remove(name)?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn status(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Response {
    match gateway.provider.function(plain(&name)) {
        Some(function) => Json(function.status()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn scale(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let request: ScaleRequest = read(&body)?;
    gateway.provider.scale(plain(&name), request.replicas)?;
    Ok(StatusCode::ACCEPTED)
}
