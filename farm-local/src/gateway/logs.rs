//! `/system/logs`: what replicas wrote, as a stream of JSON lines.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{Gateway, plain};
use crate::logs::{LogQuery, Record};

#[derive(Deserialize)]
pub(super) struct Parameters {
    name: String,
    #[serde(default)]
    follow: String,
    tail: Option<i64>,
    since: Option<String>,
    instance: Option<String>,
}

pub(super) async fn logs(
    State(gateway): State<Arc<Gateway>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Some(function) = gateway.provider.function(plain(&parameters.name)) else {
        return (
            StatusCode::NOT_FOUND,
            format!("there is no function {}", parameters.name),
        )
            .into_response();
    };
    let since = match &parameters.since {
        None => None,
        Some(text) => match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(since) => Some(since),
            Err(error) => {
                return (StatusCode::BAD_REQUEST, format!("since: {error}")).into_response();
            }
        },
    };
    let query = LogQuery {
        instance: parameters.instance.filter(|instance| !instance.is_empty()),
        since,
        // Negative means all of them.
        tail: parameters.tail.and_then(|tail| usize::try_from(tail).ok()),
    };
    let follow = matches!(
        parameters.follow.as_str(),
        "1" | "true" | "t" | "T" | "TRUE" | "True"
    );
    let lines = if follow {
        let (kept, live) = function.logs.follow(&query);
        Lines {
            kept: kept.into(),
            live: Some(live),
            query,
            closing: gateway.closing.clone(),
        }
    } else {
        let kept = function.logs.query(&query);
        Lines {
            kept: kept.into(),
            live: None,
            query,
            closing: gateway.closing.clone(),
        }
    };
    let body = stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(body),
    )
        .into_response()
}

struct Lines {
    kept: VecDeque<Arc<Record>>,
    live: Option<Receiver<Arc<Record>>>,
    query: LogQuery,
    closing: CancellationToken,
}

impl Lines {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let record = match self.kept.pop_front() {
            Some(record) => record,
            None => self.next_live().await?,
        };
        let mut json = serde_json::to_vec(&record.line).ok()?;
        json.push(b'\n');
        Some(json)
    }

    async fn next_live(&mut self) -> Option<Arc<Record>> {
        let live = self.live.as_mut()?;
        loop {
            let next = tokio::select! {
                next = live.recv() => next,
                () = self.closing.cancelled() => return None,
            };
            match next {
                Ok(record) if self.query.accepts(&record) => return Some(record),
                // A reader that is too slow misses lines rather than holding up the function.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
