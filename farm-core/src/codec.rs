//! How the body of a task or of a result is encoded.

use std::fmt;

/// How a body is encoded; told by the header [`CODEC`](crate::envelope::CODEC), and JSON without it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// For people, and for every language.
    #[default]
    Json,
    /// The same values, shorter, with fields by name.
    MessagePack,
    /// Bytes that mean something to the worker alone.
    Raw,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 3] = [Codec::Json, Codec::MessagePack, Codec::Raw];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Json => "json",
            Codec::MessagePack => "msgpack",
            Codec::Raw => "raw",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.as_str() == word)
    }
}

/// The name that people know.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::Json => "JSON",
            Codec::MessagePack => "MessagePack",
            Codec::Raw => "raw bytes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_survives_the_wire_and_others_are_unknown() {
        for codec in Codec::ALL {
            assert_eq!(Codec::parse(codec.as_str()), Some(codec));
        }
        for word in ["", "JSON", "cbor", "msgpack "] {
            assert_eq!(Codec::parse(word), None, "{word:?}");
        }
    }
}
