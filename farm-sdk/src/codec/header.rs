//! The codec in the headers of a message.

use async_nats::{HeaderMap, HeaderValue};
use farm_core::{Codec, envelope};

/// Characters of an unknown word that are told.
const LONGEST_WORD: usize = 40;

/// A codec that this version does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its body is encoded as {0:?} (header farm-codec); known are json, msgpack and raw")]
pub(crate) struct UnknownCodec(String);

/// The word that names the codec, if there is one.
pub(crate) fn word(headers: Option<&HeaderMap>) -> Option<&str> {
    headers?.get(envelope::CODEC).map(HeaderValue::as_str)
}

/// The codec of a message with these headers.
pub(crate) fn of(headers: Option<&HeaderMap>) -> Result<Codec, UnknownCodec> {
    named(word(headers))
}

fn named(word: Option<&str>) -> Result<Codec, UnknownCodec> {
    match word {
        None => Ok(Codec::Json),
        Some(word) => Codec::parse(word)
            .ok_or_else(|| UnknownCodec(word.chars().take(LONGEST_WORD).collect())),
    }
}

/// Names `codec` in `headers`.
pub(crate) fn note(headers: &mut HeaderMap, codec: Codec) {
    if codec != Codec::Json {
        headers.insert(envelope::CODEC, codec.as_str());
    }
}

/// The codec of a stored result. One in the codec of a newer worker is raw here: its bytes are all
/// that can be given away.
pub(crate) fn stored(word: Option<&str>) -> Codec {
    named(word).unwrap_or(Codec::Raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_survives_its_header() {
        for codec in Codec::ALL {
            let mut headers = HeaderMap::new();
            note(&mut headers, codec);
            assert_eq!(of(Some(&headers)), Ok(codec));
        }
        assert_eq!(of(None), Ok(Codec::Json));
    }

    #[test]
    fn an_unknown_word_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert(envelope::CODEC, "cbor");
        let error = of(Some(&headers)).unwrap_err().to_string();
        assert!(
            error.contains("\"cbor\"") && error.contains("msgpack"),
            "{error}"
        );
        headers.insert(envelope::CODEC, "c".repeat(10_000));
        assert!(of(Some(&headers)).unwrap_err().to_string().len() < 200);
        assert_eq!(stored(word(Some(&headers))), Codec::Raw);
    }
}
