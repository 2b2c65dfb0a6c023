//! Basic authentication of the system API.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::Gateway;

/// The one user of an OpenFaaS gateway.
pub(crate) const USER: &str = "admin";

pub(super) async fn require(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    match &gateway.password {
        Some(password) if !is_allowed(request.headers(), password) => {
            let challenge = [(header::WWW_AUTHENTICATE, r#"Basic realm="Restricted""#)];
            (StatusCode::UNAUTHORIZED, challenge, "invalid credentials").into_response()
        }
        _ => next.run(request).await,
    }
}

fn is_allowed(headers: &HeaderMap, password: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded.trim()).ok());
    let expected = format!("{USER}:{password}");
    given.is_some_and(|given| bool::from(given.ct_eq(expected.as_bytes())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allowed(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        is_allowed(&headers, "pw")
    }

    #[test]
    fn only_user_and_password_together_are_let_in() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(allowed(&basic("admin:pw")));
        for refused in [
            basic("admin:pv"),
            basic("root:pw"),
            "Bearer ".into(),
            "Basic %".into(),
        ] {
            assert!(!allowed(&refused), "{refused}");
        }
        assert!(!is_allowed(&HeaderMap::new(), "pw"));
    }
}
