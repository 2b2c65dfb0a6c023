//! `/function/{name}`: passes requests on to replicas in turn, streaming both ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use farm_core::gateway::CALL_ID_HEADER;
use tokio::net::TcpStream;

use super::{Gateway, plain};

const START_TIME: HeaderName = HeaderName::from_static("x-start-time");
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const INTERNAL: HeaderName = HeaderName::from_static("x-openfaas-internal");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that concern one connection only.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) async fn root(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    pass(&gateway, &name, "", request).await
}

pub(super) async fn path(
    State(gateway): State<Arc<Gateway>>,
    Path((name, path)): Path<(String, String)>,
    request: Request,
) -> Response {
    pass(&gateway, &name, &path, request).await
}

/// Passes a request on to a replica of `name` and its answer back.
pub(super) async fn pass(
    gateway: &Gateway,
    name: &str,
    path: &str,
    mut request: Request,
) -> Response {
    let Some(function) = gateway.provider.function(plain(name)) else {
        return platform_error(
            StatusCode::NOT_FOUND,
            format!("error finding function {name}"),
        );
    };
    let replicas = gateway.provider.endpoints(&function).await;
    if replicas.is_empty() {
        let message = format!("No endpoints available for: {name}.");
        return platform_error(StatusCode::SERVICE_UNAVAILABLE, message);
    }
    // A replica that has just ended refuses the connection: nothing was sent, so another may have it.
    let mut reachable = None;
    for replica in replicas {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, replica.port()));
        if TcpStream::connect(address).await.is_ok() {
            reachable = Some(address);
            break;
        }
    }
    let Some(address) = reachable else {
        return platform_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("Can't reach service for: {name}."),
        );
    };
    let Some(uri) = upstream(address, path, request.uri()) else {
        return platform_error(StatusCode::BAD_REQUEST, format!("{path} is no path"));
    };
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let caller = caller.map(|ConnectInfo(address)| *address);
    let (call_id, generated, started) = stamp(request.headers_mut(), caller);
    *request.uri_mut() = uri;
    *request.version_mut() = axum::http::Version::HTTP_11;
    function.count_invocation();
    let mut response = match gateway.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::debug!(name, %error, "a request was not answered");
            return platform_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Can't reach service for: {name}."),
            );
        }
    };
    let headers = response.headers_mut();
    strip(headers);
    if generated {
        headers.insert(CALL_ID_HEADER, call_id);
    }
    headers.insert(START_TIME, started);
    headers.insert(
        SERVED_BY,
        HeaderValue::from_static(concat!("farm-local/", env!("CARGO_PKG_VERSION"))),
    );
    response
}

fn platform_error(status: StatusCode, message: String) -> Response {
    let internal = [(INTERNAL, HeaderValue::from_static("proxy"))];
    (status, internal, message).into_response()
}

fn upstream(address: SocketAddr, path: &str, original: &Uri) -> Option<Uri> {
    let query = original
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let encoded = original.path();
    // The path as it was sent: what was escaped stays so.
    let rest = encoded
        .splitn(4, '/')
        .nth(3)
        .filter(|_| !path.is_empty())
        .unwrap_or_default();
    Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query(PathAndQuery::try_from(format!("/{rest}{query}")).ok()?)
        .build()
        .ok()
}

pub(super) fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Sets the headers of OpenFaaS on a request: its id, whether that is new, and its start.
fn stamp(headers: &mut HeaderMap, caller: Option<SocketAddr>) -> (HeaderValue, bool, HeaderValue) {
    strip(headers);
    let given = headers.get(CALL_ID_HEADER).cloned();
    let generated = given.is_none();
    let call_id = given.unwrap_or_else(new_call_id);
    headers.insert(CALL_ID_HEADER, call_id.clone());
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let started =
        HeaderValue::from_str(&nanos.to_string()).unwrap_or(HeaderValue::from_static("0"));
    headers.insert(START_TIME, started.clone());
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    // With its port, as OpenFaaS CE has it.
    let caller = caller.and_then(|caller| HeaderValue::from_str(&caller.to_string()).ok());
    if let Some(caller) = caller {
        headers.entry(FORWARDED_FOR).or_insert(caller);
    }
    (call_id, generated, started)
}

pub(super) fn new_call_id() -> HeaderValue {
    let id = uuid::Uuid::new_v4().to_string();
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
}
