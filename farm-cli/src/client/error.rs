//! What can go wrong between a command and a farm function, by what the command does about it.

use std::time::Duration;

use farm_core::http::Problem;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use crate::failure::{Failure, root_cause};
use crate::gateway::{FunctionName, Gateway};

/// Texts of other programs are shown to a person: this much is enough.
const TEXT_MAX_BYTES: usize = 64 * 1024;
const TEXT_MAX_CHARS: usize = 300;
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A request that brought no answer, or an answer that is no success.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection could be made.
    #[error(
        "the gateway at {gateway} does not answer ({cause}): start `farm up`, or name another with --gateway"
    )]
    NoGateway {
        /// The gateway, and where its address came from.
        gateway: String,
        /// What the network said.
        cause: String,
    },
    /// The connection was lost before the whole answer was there.
    #[error("the connection to {function} at {gateway} was lost: {cause}")]
    Cut {
        /// The function asked.
        function: String,
        /// The gateway.
        gateway: String,
        /// What the network said.
        cause: String,
    },
    /// The gateway is there, the function is not, for now.
    #[error("function {function} is not ready (gateway: {status}{text}): see the function's logs")]
    NotReady {
        /// The function asked.
        function: String,
        /// The gateway's answer.
        status: StatusCode,
        /// Its text.
        text: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The farm's queue is full.
    #[error("{function} is full: {problem}")]
    Full {
        /// The function asked.
        function: String,
        /// What it said.
        problem: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// What was asked for will be there when the job has ended.
    #[error("the job still runs: {problem}")]
    StillRunning {
        /// What the function said.
        problem: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The gateway knows no such function.
    #[error("the gateway at {gateway} has no function {function}")]
    NoSuchFunction {
        /// The function asked.
        function: String,
        /// The gateway.
        gateway: String,
    },
    /// The function answers, but not as a farm does.
    #[error("function {function} is not a farm, or its SDK is of another age ({cause})")]
    NotAFarm {
        /// The function asked.
        function: String,
        /// What is wrong with its answer.
        cause: String,
    },
    /// The farm has no such job, task or summary.
    #[error("{function}: {problem}")]
    NotFound {
        /// The function asked.
        function: String,
        /// What it said.
        problem: String,
    },
    /// The farm does not take this input.
    #[error("{function} refused the request: {}", describe(problem))]
    Refused {
        /// The function asked.
        function: String,
        /// Why.
        problem: Box<Problem>,
    },
    /// The gateway's system API wants a password.
    #[error("the gateway at {gateway} refuses the password: give --password-file")]
    Unauthorized {
        /// The gateway.
        gateway: String,
    },
    /// The farm function wants a token.
    #[error(
        "{function} wants the token of its secret farm-http-token: give --token-file, or set FARM_HTTP_TOKEN_FILE"
    )]
    TokenWanted {
        /// The function asked.
        function: String,
    },
    /// Anything else.
    #[error("{function} answered {status}{text}")]
    Unexpected {
        /// The function asked.
        function: String,
        /// The status of the answer.
        status: StatusCode,
        /// Its text.
        text: String,
    },
}

impl Error {
    /// How long to wait before the same request may succeed; `None` if it never will.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::NotReady { retry_after, .. }
            | Error::Full { retry_after, .. }
            | Error::StillRunning { retry_after, .. } => Some(*retry_after),
            Error::NoGateway { .. } | Error::Cut { .. } => Some(DEFAULT_PAUSE),
            _ => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NoGateway { .. }
            | Error::Cut { .. }
            | Error::NotReady { .. }
            | Error::NotAFarm { .. }
            | Error::NoSuchFunction { .. } => Failure::Unreachable(text),
            Error::Refused { .. } | Error::Full { .. } => Failure::Refused(text),
            _ => Failure::Failed(text),
        }
    }
}

/// A problem as one sentence; the farm's own words say where it is.
fn describe(problem: &Problem) -> String {
    let error = &problem.error;
    match problem.accepted {
        Some(accepted) if accepted > 0 => {
            format!("{error} ({accepted} tasks queued before it were cancelled)")
        }
        _ => error.clone(),
    }
}

/// Explains a request that brought no response.
pub fn no_answer(error: &reqwest::Error, gateway: &Gateway, function: &FunctionName) -> Error {
    let cause = root_cause(error);
    if error.is_connect() {
        return Error::NoGateway {
            gateway: gateway.to_string(),
            cause,
        };
    }
    Error::Cut {
        function: function.to_string(),
        gateway: gateway.address(""),
        cause,
    }
}

/// Passes a success on and explains any other response.
///
/// # Errors
/// The variant that says what to do about it.
pub async fn check(
    response: Response,
    gateway: &Gateway,
    function: &FunctionName,
) -> Result<Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(&response);
    let body = read_text(response).await;
    let function = function.to_string();
    let Ok(problem) = serde_json::from_str::<Problem>(&body) else {
        return Err(explain_foreign(
            status,
            &body,
            retry_after,
            gateway,
            function,
        ));
    };
    let text = describe(&problem);
    Err(match status {
        StatusCode::NOT_FOUND => Error::NotFound {
            function,
            problem: text,
        },
        StatusCode::UNAUTHORIZED => Error::TokenWanted { function },
        StatusCode::CONFLICT => Error::StillRunning {
            problem: text,
            retry_after,
        },
        StatusCode::TOO_MANY_REQUESTS => Error::Full {
            function,
            problem: text,
            retry_after,
        },
        status if status.is_client_error() => Error::Refused {
            function,
            problem: Box::new(problem),
        },
        StatusCode::SERVICE_UNAVAILABLE => Error::NotReady {
            function,
            status,
            text: format!(": {text}"),
            retry_after,
        },
        _ => Error::Unexpected {
            function,
            status,
            text: format!(": {text}"),
        },
    })
}

/// Answers without a [`Problem`] come from the gateway, or from a function that is no farm.
fn explain_foreign(
    status: StatusCode,
    body: &str,
    retry_after: Duration,
    gateway: &Gateway,
    function: String,
) -> Error {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match crate::output::shorten(&line, TEXT_MAX_CHARS) {
        text if text.is_empty() => text,
        text => format!(": {text}"),
    };
    match status {
        StatusCode::NOT_FOUND => Error::NoSuchFunction {
            function,
            gateway: gateway.address(""),
        },
        StatusCode::UNAUTHORIZED => Error::Unauthorized {
            gateway: gateway.address(""),
        },
        StatusCode::TOO_MANY_REQUESTS => {
            let problem = format!("too many requests at once{text}");
            Error::Full {
                function,
                problem,
                retry_after,
            }
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            let problem = Problem {
                error: format!("too large for the gateway{text}"),
                ..Problem::default()
            };
            Error::Refused {
                function,
                problem: Box::new(problem),
            }
        }
        // The gateway answers 500 when it cannot reach the replica it chose.
        status if status.is_server_error() => Error::NotReady {
            function,
            status,
            text,
            retry_after,
        },
        _ => Error::Unexpected {
            function,
            status,
            text,
        },
    }
}

fn retry_after(response: &Response) -> Duration {
    let header = response.headers().get(RETRY_AFTER);
    let seconds = header
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    seconds
        .map_or(DEFAULT_PAUSE, Duration::from_secs)
        .min(LONGEST_PAUSE)
}

async fn read_text(mut response: Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() > TEXT_MAX_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_became_of_the_tasks_before_it() {
        let mut problem = Problem {
            error: "line 7: expected a number (at width)".to_owned(),
            accepted: Some(0),
            ..Problem::default()
        };
        assert_eq!(describe(&problem), problem.error);
        problem.accepted = Some(6);
        assert!(describe(&problem).ends_with("(6 tasks queued before it were cancelled)"));
    }
}
