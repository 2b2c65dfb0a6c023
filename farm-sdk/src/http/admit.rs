//! Who is let in: those who carry the token, as many and as fast as the replica bears.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use farm_http::{BearerToken, Overflow, Turn};

use super::{Face, Refusal};
use crate::config::Config;
use crate::error::Error;

/// Name of the secret that protects the HTTP face.
const SECRET: &str = "farm-http-token";

/// Reads the token, if there is one.
pub(crate) fn read_token(config: &Config) -> Result<Option<BearerToken>, Error> {
    token_at(&config.secrets_dir.join(SECRET)).map_err(|why| Error::Configuration(vec![why]))
}

fn token_at(file: &Path) -> Result<Option<BearerToken>, String> {
    let unusable = |why: &str| format!("{}: {why}", file.display());
    let text = farm_nats::read_secret(file).map_err(|error| error.to_string())?;
    // An empty secret is a mistake, and must not open the door.
    text.map(|text| BearerToken::new(&text).map_err(unusable))
        .transpose()
}

/// Refuses what must not, or cannot now, be worked on. The handler finds its [`Turn`] among the
/// request's extensions.
pub(crate) async fn admit(
    State(face): State<Arc<Face>>,
    mut request: Request,
    next: Next,
) -> Response {
    let turn = match let_in(&face, &request) {
        Ok(turn) => turn,
        Err(refusal) => return refusal.into_response(),
    };
    request.extensions_mut().insert(turn.clone());
    let response = next.run(request).await;
    drop(turn);
    response
}

fn let_in(face: &Face, request: &Request) -> Result<Turn, Refusal> {
    // Strangers first: they must not use up what others are let in by.
    if let Some(token) = &face.token
        && !token.is_carried(request.headers())
    {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            format!("send the header Authorization: Bearer with the token of the secret {SECRET}"),
        )
        .closing());
    }
    let overflow = request.extensions().get::<Overflow>();
    if overflow.is_some_and(|overflow| overflow.0) {
        return Err(Refusal::too_many(
            "too many connections to this replica (FARM_MAX_CONNECTIONS): try again",
            1,
        )
        .closing());
    }
    if let Some(Err(wait)) = face.rate.as_ref().map(farm_http::Rate::admit) {
        return Err(Refusal::too_many(
            "more requests a second than this replica takes (FARM_MAX_REQUEST_RATE): try again",
            wait.as_secs_f64().ceil().max(1.0) as u64,
        )
        .closing());
    }
    face.turns.take().ok_or_else(|| {
        Refusal::too_many(
            "this replica works on as many requests as it may (FARM_MAX_REQUESTS): try again",
            1,
        )
    })
}

/// A place among the requests that wait or stream, for as long as it is held.
pub(crate) fn stream(face: &Face) -> Result<Turn, Refusal> {
    face.streams.take().ok_or_else(|| {
        Refusal::too_many(
            "as many clients wait for this replica as may (FARM_MAX_STREAMS): try again",
            5,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_empty_or_unreadable_is_an_error_that_names_the_file() {
        let folder = std::env::temp_dir().join(format!("farm-token-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join(SECRET);
        assert!(token_at(&file).unwrap().is_none());
        std::fs::write(&file, "s3cret\n").unwrap();
        assert!(token_at(&file).unwrap().is_some());
        for bad in ["", "\n", "two words"] {
            std::fs::write(&file, bad).unwrap();
            let why = token_at(&file).unwrap_err();
            assert!(why.contains(SECRET), "{why}");
        }
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/no/such/file", &file).unwrap();
        assert!(token_at(&file).is_err());
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(token_at(&file).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
