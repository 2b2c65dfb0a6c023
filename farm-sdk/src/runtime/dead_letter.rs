//! Dead letters on NATS: the body of the task as it was, and in headers why it failed.

use async_nats::HeaderMap;
use bytes::Bytes;
use farm_core::TaskId;
use farm_core::envelope;
use farm_core::http::DeadLetter;

/// Characters of a cause that are kept.
const LONGEST_CAUSE: usize = 2000;

/// Headers of the dead letter that `letter` describes.
pub(crate) fn headers(letter: &DeadLetter) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(envelope::CAUSE, one_line(&letter.cause));
    if let Some(codec) = &letter.codec {
        headers.insert(envelope::CODEC, codec.as_str());
    }
    headers.insert(envelope::ATTEMPT, letter.attempts.to_string());
    headers.insert(envelope::WORKER, letter.worker.as_str());
    headers.insert(
        envelope::DIED_SECONDS,
        envelope::format_seconds(letter.died_seconds),
    );
    if letter.replays > 0 {
        headers.insert(envelope::REPLAY, letter.replays.to_string());
    }
    if let Some(seconds) = letter.deadline_seconds {
        headers.insert(
            envelope::DEADLINE_SECONDS,
            envelope::format_seconds(seconds),
        );
    }
    headers
}

/// As much of a cause as is kept.
pub(crate) fn cut(cause: &str) -> String {
    cause.chars().take(LONGEST_CAUSE).collect()
}

/// A header holds one line, and not any length of it.
pub(crate) fn one_line(cause: &str) -> String {
    cause
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_CAUSE)
        .collect()
}

/// Reads a dead letter back.
pub(crate) fn read(task: TaskId, headers: &HeaderMap, body: &Bytes) -> DeadLetter {
    let text = |name| headers.get(name).map(async_nats::HeaderValue::as_str);
    let number = |name| text(name).and_then(|text| text.parse().ok());
    let seconds = |name| text(name).and_then(envelope::parse_seconds);
    let (body, body_is_hex) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(_) => (
            body.iter().map(|byte| format!("{byte:02x}")).collect(),
            true,
        ),
    };
    DeadLetter {
        task,
        cause: text(envelope::CAUSE).unwrap_or("unknown").to_owned(),
        attempts: number(envelope::ATTEMPT).unwrap_or(0),
        worker: text(envelope::WORKER).unwrap_or_default().to_owned(),
        died_seconds: seconds(envelope::DIED_SECONDS).unwrap_or(0.0),
        replays: text(envelope::REPLAY)
            .and_then(|text| text.parse::<u32>().ok())
            .map_or(0, u64::from),
        deadline_seconds: seconds(envelope::DEADLINE_SECONDS),
        codec: text(envelope::CODEC).map(str::to_owned),
        body,
        body_is_hex,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_survives_the_wire() {
        let letter = DeadLetter {
            task: "j.7".parse().unwrap(),
            cause: "two\nlines".to_owned(),
            attempts: 3,
            worker: "w".to_owned(),
            died_seconds: 12.5,
            replays: 1,
            deadline_seconds: Some(2.0),
            codec: Some("cbor".to_owned()),
            body: "{\"x\":1}".to_owned(),
            body_is_hex: false,
        };
        let back = read(
            letter.task.clone(),
            &headers(&letter),
            &Bytes::from(letter.body.clone()),
        );
        assert_eq!(
            back,
            DeadLetter {
                cause: "two lines".to_owned(),
                ..letter
            }
        );
    }

    #[test]
    fn a_body_that_is_no_text_is_shown_in_hexadecimal() {
        let letter = read(
            "j.7".parse().unwrap(),
            &HeaderMap::new(),
            &Bytes::from_static(&[0xff, 0x00]),
        );
        assert_eq!((letter.body.as_str(), letter.body_is_hex), ("ff00", true));
    }
}
