//! Values to bytes and back, in the codec that a message names, with errors that say where a value
//! does not fit.

mod header;
mod message_pack;
mod raw;
mod shown;

use std::any::{Any, TypeId};

use bytes::Bytes;
use farm_core::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use header::{note, of, stored, word};
pub use raw::Raw;
pub(crate) use shown::{Shown, shown};

/// A task or a result as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub codec: Codec,
    pub bytes: Bytes,
}

impl Encoded {
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self {
            codec: Codec::Json,
            bytes: bytes.into(),
        }
    }
}

/// A value that does not fit the type it should have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", if path == "." { String::new() } else { format!(" (at {path})") })]
pub(crate) struct Mismatch {
    /// Where in the value: `photos[3].width_pixels`, or `.` for the value itself.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl Mismatch {
    /// One that is about the value as a whole.
    fn whole(message: impl ToString) -> Self {
        Self {
            path: ".".to_owned(),
            message: message.to_string(),
        }
    }

    fn at<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> Self {
        Self {
            path: error.path().to_string(),
            message: error.inner().to_string(),
        }
    }
}

/// A value that its codec has no words for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as {codec}: {message}")]
pub(crate) struct Unwritable {
    codec: Codec,
    message: String,
}

/// Whether `T` is [`Raw`] itself. Known when the code is compiled, so that it costs other types
/// nothing.
pub(crate) fn is_raw<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<Raw>()
}

/// The codec of a `T` where `codec` is wished for: bytes are always raw, and nothing else is.
pub(crate) fn fitting<T: 'static>(codec: Codec) -> Codec {
    match codec {
        _ if is_raw::<T>() => Codec::Raw,
        Codec::Raw => Codec::Json,
        codec => codec,
    }
}

/// Reads a value back.
pub(crate) fn decode<T: DeserializeOwned + 'static>(value: &Encoded) -> Result<T, Mismatch> {
    match value.codec {
        Codec::Json => from_json(&value.bytes),
        Codec::MessagePack => message_pack::decode(&value.bytes),
        Codec::Raw => {
            let mut bytes = Some(Raw(value.bytes.clone()));
            let bytes = (&mut bytes as &mut dyn Any).downcast_mut::<Option<T>>();
            bytes.and_then(Option::take).ok_or_else(|| {
                Mismatch::whole("raw bytes, or bytes in a codec of another version; expected a value in JSON or MessagePack")
            })
        }
    }
}

/// Writes a value in `codec`, or in the one it [fits](fitting).
pub(crate) fn encode<T: Serialize + 'static>(
    value: &T,
    codec: Codec,
) -> Result<Encoded, Unwritable> {
    let codec = fitting::<T>(codec);
    let unwritable = |message| Unwritable { codec, message };
    let bytes = match (value as &dyn Any).downcast_ref::<Raw>() {
        Some(Raw(bytes)) => bytes.clone(),
        None if codec == Codec::MessagePack => rmp_serde::to_vec_named(value)
            .map_err(|error| unwritable(error.to_string()))?
            .into(),
        None => serde_json::to_vec(value)
            .map_err(|error| unwritable(error.to_string()))?
            .into(),
    };
    Ok(Encoded { codec, bytes })
}

fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Mismatch> {
    // The path is only worth its cost when there is something to report.
    serde_json::from_slice(json).or_else(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| Mismatch::at(&error))?;
        deserializer.end().map_err(Mismatch::whole)?;
        Ok(value)
    })
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
