//! A token that a request must carry.

use std::fmt;

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

/// What `Authorization: Bearer <token>` must say. Its `Debug` does not tell.
#[derive(Clone)]
pub struct BearerToken(String);

impl BearerToken {
    /// `token`, without the white space around it.
    ///
    /// # Errors
    /// It is empty, or has characters that no header can carry; what is wrong with it.
    pub fn new(token: &str) -> Result<Self, &'static str> {
        let token = token.trim();
        if token.is_empty() {
            return Err("it is empty");
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it has white space or characters beyond ASCII: a header cannot carry it");
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether a request with these headers carries it. The time taken tells nothing but its
    /// length.
    #[must_use]
    pub fn is_carried(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
            .map(|(_, token)| token.trim_ascii());
        given.is_some_and(|given| given.ct_eq(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn carries(authorization: &str) -> bool {
        let token = BearerToken::new("s3cret\n").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        token.is_carried(&headers)
    }

    #[test]
    fn only_the_token_itself_is_let_in() {
        assert!(carries("Bearer s3cret"));
        assert!(carries("bearer  s3cret"));
        for other in [
            "",
            "s3cret",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cret!",
        ] {
            assert!(!carries(other), "{other:?}");
        }
        assert!(!carries("Basic s3cret"));
        let token = BearerToken::new("s3cret").unwrap();
        assert!(!token.is_carried(&HeaderMap::new()));
    }

    #[test]
    fn it_is_never_shown_and_never_empty() {
        let token = BearerToken::new("s3cret").unwrap();
        assert!(!format!("{token:?}").contains("s3cret"));
        for bad in ["", " \n", "two words", "geheimniß"] {
            assert!(BearerToken::new(bad).is_err(), "{bad:?}");
        }
    }
}
