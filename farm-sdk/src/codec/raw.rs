//! Bytes without a codec.

use std::fmt;
use std::ops::Deref;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that pass through the farm as they are: no codec reads or writes them.
///
/// A worker that takes `Raw` gets the body of the message itself; one that returns `Raw` gives the
/// body of the result. Both without a copy, whatever the size.
///
/// ```
/// use farm_sdk::{Farm, Raw, TaskContext, TaskError};
///
/// async fn mirror(bytes: Raw, _: TaskContext<()>) -> Result<Raw, TaskError> {
///     let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
///     Ok(reversed.into())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let run = Farm::new(mirror).run_in_memory((), [Raw::from(vec![1, 2, 255])]).await;
/// assert_eq!(run.results, [Raw::from(vec![255, 2, 1])]);
/// # });
/// ```
///
/// `POST /` takes one such task as `application/octet-stream`. In JSON, as a submitted value or
/// inside of another type, it is a string of base64; in MessagePack it is a `bin`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw(pub Bytes);

impl Deref for Raw {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Raw {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Raw {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Raw> for Bytes {
    fn from(raw: Raw) -> Self {
        raw.0
    }
}

impl From<Raw> for Vec<u8> {
    fn from(raw: Raw) -> Self {
        raw.0.into()
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&base64::display::Base64Display::new(self, &BASE64_STANDARD))
        } else {
            serializer.serialize_bytes(self)
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_string(BytesOrBase64)
        } else {
            deserializer.deserialize_byte_buf(BytesOrBase64)
        }
    }
}

/// Reads both forms: what serde has buffered for a flattened field no longer tells which one it is.
struct BytesOrBase64;

impl Visitor<'_> for BytesOrBase64 {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, in JSON as a string of base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        let bytes = BASE64_STANDARD.decode(text);
        bytes
            .map(Raw::from)
            .map_err(|error| E::custom(format!("no base64: {error}")))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw, E> {
        Ok(Raw(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Raw, E> {
        Ok(bytes.into())
    }
}
