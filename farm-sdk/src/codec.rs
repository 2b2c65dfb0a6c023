//! JSON in and out, with messages that say where a value does not fit.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that does not fit the type it should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", if path == "." { String::new() } else { format!(" (at {path})") })]
pub(crate) struct Mismatch {
    /// Where in the value: `photos[3].width_pixels`, or `.` for the value itself.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

pub(crate) fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, Mismatch> {
    // The path is only worth its cost when there is something to report.
    serde_json::from_slice(json).or_else(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value =
            serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Mismatch {
                path: error.path().to_string(),
                message: error.inner().to_string(),
            })?;
        deserializer.end().map_err(|error| Mismatch {
            path: ".".to_owned(),
            message: error.to_string(),
        })?;
        Ok(value)
    })
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(value).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Album {
        #[expect(dead_code, reason = "only its type matters here")]
        photos: Vec<u32>,
    }

    #[test]
    fn a_mismatch_names_its_place() {
        let mismatch = decode::<Album>(br#"{"photos":[1,"x"]}"#).unwrap_err();
        assert_eq!(mismatch.path, "photos[1]");
        assert!(
            mismatch
                .message
                .contains("invalid type: string \"x\", expected u32"),
            "{mismatch}"
        );
    }

    #[test]
    fn trailing_text_is_no_json() {
        assert!(decode::<u32>(b"1 2").is_err());
    }
}
