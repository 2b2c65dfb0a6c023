//! `POST /`.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm_core::envelope::Outcome;
use farm_core::http::{
    Accepted, CALLBACK_URL_HEADER, DEADLINE_HEADER, IDEMPOTENCY_KEY_HEADER, NDJSON, Problem,
    TaskOutcome,
};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::{Farm, Job, Shared, Submit, lock, refuse};

pub async fn submit(State(farm): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let position = {
        let mut farm = lock(&farm);
        farm.submits.push(Submit {
            content_type: header(header::CONTENT_TYPE.as_str()).unwrap_or_default(),
            deadline: header(DEADLINE_HEADER),
            idempotency_key: header(IDEMPOTENCY_KEY_HEADER),
            callback_url: header(CALLBACK_URL_HEADER),
            body: String::new(),
        });
        farm.submits.len() - 1
    };
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the body ended too early");
        };
        lock(&farm).submits[position]
            .body
            .push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let mut farm = lock(&farm);
    let submit = farm.submits[position].clone();
    if farm.full_for > 0 {
        farm.full_for -= 1;
        let mut answer = refuse(StatusCode::TOO_MANY_REQUESTS, "the queue is full");
        answer.headers_mut().insert(header::RETRY_AFTER, 0.into());
        return answer;
    }
    match farm.take(&submit) {
        Err(problem) => (StatusCode::BAD_REQUEST, Json(problem)).into_response(),
        Ok(_) if farm.cut_answers > 0 => {
            farm.cut_answers -= 1;
            (StatusCode::ACCEPTED, broken_off([])).into_response()
        }
        Ok(accepted) => (StatusCode::ACCEPTED, Json(accepted)).into_response(),
    }
}

/// A body that is cut off after these chunks.
pub fn broken_off(chunks: impl IntoIterator<Item = Bytes>) -> Body {
    let chunks: Vec<_> = chunks.into_iter().map(Ok).collect();
    let cut = std::iter::once_with(|| Err(std::io::Error::other("cut")));
    // The cut comes after the chunks were sent, not instead.
    let chunks = stream::iter(chunks.into_iter().chain(cut)).then(|chunk| async {
        tokio::task::yield_now().await;
        if chunk.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        chunk
    });
    Body::from_stream(chunks)
}

impl Farm {
    fn take(&mut self, submit: &Submit) -> Result<Accepted, Problem> {
        let earlier = self.jobs.iter().find(|(_, job)| {
            submit.idempotency_key.is_some() && job.idempotency_key == submit.idempotency_key
        });
        if let Some((id, job)) = earlier {
            let job_id = id.parse().unwrap();
            return Ok(Accepted {
                job: job_id,
                accepted: job.bodies.len() as u64,
                repeated: true,
            });
        }
        let bodies = split(submit)?;
        let id = format!("job-{}", self.jobs.len() + 1);
        let accepted = bodies.len() as u64;
        let job = Job {
            outcomes: outcomes(&bodies),
            bodies,
            idempotency_key: submit.idempotency_key.clone(),
            cancelled: false,
            ended: !self.hold,
        };
        self.jobs.insert(id.clone(), job);
        Ok(Accepted {
            job: id.parse().unwrap(),
            accepted,
            repeated: false,
        })
    }
}

fn split(submit: &Submit) -> Result<Vec<String>, Problem> {
    let read = |place: u64, text: &str| {
        serde_json::from_str::<Value>(text).map_err(|e| Problem {
            error: format!("line {place}: {e}"),
            line: Some(place),
            ..Problem::default()
        })
    };
    let values = match submit.content_type.as_str() {
        NDJSON => (1..)
            .zip(submit.body.lines())
            .map(|(n, line)| read(n, line))
            .collect::<Result<_, _>>()?,
        _ => match read(1, &submit.body)? {
            Value::Array(values) => values,
            value => vec![value],
        },
    };
    let refused = values.iter().position(|value| value["refuse"] == true);
    match refused {
        None => Ok(values.iter().map(Value::to_string).collect()),
        Some(position) => Err(Problem {
            error: format!("line {}: expected a photo", position + 1),
            line: Some(position as u64 + 1),
            ..Problem::default()
        }),
    }
}

/// What becomes of each task is told by itself.
fn outcomes(bodies: &[String]) -> Vec<TaskOutcome> {
    let mut outcomes: Vec<TaskOutcome> = Vec::new();
    for (key, body) in bodies.iter().enumerate() {
        let task: Value = serde_json::from_str(body).unwrap();
        let copies = match task["becomes"].as_str() {
            Some("lost") => 0,
            Some("twice") => 2,
            _ => 1,
        };
        let failed = task["becomes"] == "failed";
        for _ in 0..copies {
            let cursor = outcomes.len() as u64 + 1;
            outcomes.push(outcome(key, cursor, body, failed));
        }
    }
    outcomes
}

fn outcome(key: usize, cursor: u64, body: &str, failed: bool) -> TaskOutcome {
    TaskOutcome {
        task: key.to_string(),
        outcome: if failed {
            Outcome::Failed
        } else {
            Outcome::Done
        },
        cursor,
        attempt: 1,
        worker: "worker-1".to_owned(),
        service_seconds: 0.1,
        sojourn_seconds: 0.25,
        in_deadline: Some(!failed),
        output: (!failed).then(|| serde_json::from_str(body).unwrap()),
        output_base64: None,
        error: failed.then(|| "told to fail".to_owned()),
    }
}
