//! `/dead`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use farm_core::http::{DeadLetter, NDJSON, Purged, Replayed};
use serde::Deserialize;

use super::{Farm, Shared, lock, refuse};

#[derive(Deserialize)]
pub struct Selection {
    job: Option<String>,
    limit: Option<usize>,
}

impl Selection {
    fn has(&self, letter: &DeadLetter) -> bool {
        self.job
            .as_ref()
            .is_none_or(|job| letter.task.job.as_str() == job)
    }
}

impl Farm {
    /// Takes away the oldest dead letters that `which` picks, and says how many there were.
    fn take_letters(&mut self, limit: Option<usize>, which: impl Fn(&DeadLetter) -> bool) -> u64 {
        let mut taken = 0;
        self.dead.retain(|letter| {
            let takes = which(letter) && limit.is_none_or(|limit| taken < limit);
            taken += usize::from(takes);
            !takes
        });
        taken as u64
    }
}

fn unknown(task: &str) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("no dead letter {task}"))
}

pub async fn list(State(farm): State<Shared>, Query(selection): Query<Selection>) -> Response {
    let farm = lock(&farm);
    let letters = farm.dead.iter().filter(|letter| selection.has(letter));
    let letters = letters.take(selection.limit.unwrap_or(100));
    let lines: String = letters
        .map(|letter| serde_json::to_string(letter).unwrap() + "\n")
        .collect();
    ([(header::CONTENT_TYPE, NDJSON)], lines).into_response()
}

pub async fn show(State(farm): State<Shared>, Path(task): Path<String>) -> Response {
    match lock(&farm)
        .dead
        .iter()
        .find(|letter| letter.task.to_string() == task)
    {
        Some(letter) => Json(letter).into_response(),
        None => unknown(&task),
    }
}

pub async fn replay(State(farm): State<Shared>, Path(task): Path<String>) -> Response {
    match lock(&farm).take_letters(None, |letter| letter.task.to_string() == task) {
        0 => unknown(&task),
        replayed => Json(Replayed { replayed }).into_response(),
    }
}

pub async fn replay_all(
    State(farm): State<Shared>,
    Query(selection): Query<Selection>,
) -> Json<Replayed> {
    let replayed = lock(&farm).take_letters(selection.limit, |letter| selection.has(letter));
    Json(Replayed { replayed })
}

pub async fn purge(State(farm): State<Shared>, Path(task): Path<String>) -> Response {
    match lock(&farm).take_letters(None, |letter| letter.task.to_string() == task) {
        0 => unknown(&task),
        purged => Json(Purged { purged }).into_response(),
    }
}

pub async fn purge_all(
    State(farm): State<Shared>,
    Query(selection): Query<Selection>,
) -> Json<Purged> {
    let purged = lock(&farm).take_letters(None, |letter| selection.has(letter));
    Json(Purged { purged })
}
