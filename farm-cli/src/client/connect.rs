//! Finding a farm: the first request of every command, so that the rest can trust the address.

use farm_core::gateway::FunctionStatus;
use farm_core::http::FarmStatus;
use reqwest::{Client, StatusCode};

use super::{Error, FarmClient, SHORT_TIMEOUT, http_client};
use crate::failure::{Failure, root_cause};
use crate::gateway::{FunctionName, Gateway, GatewayArgs};

const USER: &str = "admin";
const FUNCTIONS_MAX_BYTES: usize = 16 << 20;
const NAMES_SHOWN: usize = 20;

/// Connects to a farm function and asks how it is.
///
/// # Errors
/// The gateway does not answer, or the function does not exist or is no farm; the message names
/// the functions that do exist if the gateway tells.
pub async fn connect(
    args: &GatewayArgs,
    function: &FunctionName,
) -> Result<(FarmClient, FarmStatus), Failure> {
    let gateway = args.find()?;
    let http = http_client(&gateway)?;
    let client = FarmClient::new(http.clone(), gateway.clone(), function.clone());
    match client.status().await {
        Ok(status) => Ok((client, status)),
        Err(error @ Error::NoSuchFunction { .. }) => Err(Failure::Unreachable(format!(
            "{error}{}",
            known(&http, &gateway, function).await
        ))),
        Err(error) => Err(error.into()),
    }
}

/// What the gateway has instead of `function`, if it tells.
async fn known(http: &Client, gateway: &Gateway, function: &FunctionName) -> String {
    let Ok(functions) = functions(http, gateway).await else {
        return ": see `faas-cli list`".to_owned();
    };
    let names: Vec<_> = functions
        .iter()
        .take(NAMES_SHOWN)
        .map(|f| f.name.as_str())
        .collect();
    let bare = function.as_str().split('.').next().unwrap_or_default();
    match names.as_slice() {
        [] => ": it has none yet".to_owned(),
        names if names.contains(&bare) => {
            " that is a farm: it answers 404 where a farm tells its state".to_owned()
        }
        names => format!(": it has {}", names.join(", ")),
    }
}

/// The functions of a gateway.
///
/// # Errors
/// The gateway does not answer, or wants a password it was not given.
pub async fn functions(http: &Client, gateway: &Gateway) -> Result<Vec<FunctionStatus>, Failure> {
    let mut request = http
        .get(gateway.address("/system/functions"))
        .timeout(SHORT_TIMEOUT);
    if let Some(password) = gateway.password()? {
        request = request.basic_auth(USER, Some(password));
    }
    let unreachable = |e: &reqwest::Error| {
        Failure::from(Error::NoGateway {
            gateway: gateway.to_string(),
            cause: root_cause(e),
        })
    };
    let mut response = request.send().await.map_err(|e| unreachable(&e))?;
    match response.status() {
        status if status.is_success() => {}
        StatusCode::UNAUTHORIZED => {
            return Err(Error::Unauthorized {
                gateway: gateway.address(""),
            }
            .into());
        }
        status => {
            return Err(Failure::Failed(format!(
                "the gateway at {gateway} does not list its functions: it answers {status}"
            )));
        }
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
        body.extend_from_slice(&chunk);
        if body.len() > FUNCTIONS_MAX_BYTES {
            return Err(Failure::Failed(
                "the gateway's list of functions is too long".to_owned(),
            ));
        }
    }
    serde_json::from_slice(&body).map_err(|e| {
        Failure::Unreachable(format!(
            "what answers at {gateway} is no OpenFaaS gateway: {e}"
        ))
    })
}
