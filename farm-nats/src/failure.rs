//! What a connection that was not made means.

use async_nats::{ConnectError, ConnectErrorKind};

/// Why a connection was not made; one variant per thing to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server does not know who we say we are: trying again will not help.
    Refused(String),
    /// We do not trust the server's certificate: trying again will not help.
    Untrusted(String),
    /// Nobody answers, or nothing sensible; may pass.
    Unreachable(String),
}

impl Failure {
    /// Tells the failures apart.
    pub fn of(error: &ConnectError) -> Self {
        let cause = chain(error);
        let text = cause.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["invalid peer certificate", "could not load platform certs"]) {
            return Self::Untrusted(cause);
        }
        let refused = matches!(
            error.kind(),
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
        );
        // What is not a plain violation arrives as text: an expired JWT, a certificate refused.
        let in_words = [
            "authorization violation",
            "authentication expired",
            "authentication revoked",
            "certificaterequired",
            "badcertificate",
            "certificateunknown",
            "certificateexpired",
            "unknownca",
            "accessdenied",
        ];
        match refused || says(&in_words) {
            true => Self::Refused(cause),
            false => Self::Unreachable(cause),
        }
    }
}

/// An error and its causes in one line, each said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = error.source();
    }
    text
}
