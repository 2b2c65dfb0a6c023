//! Bytes that JSON can carry.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bytes, written as base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base64Bytes(pub Vec<u8>);

impl Serialize for Base64Bytes {
    fn serialize<S: Serializer>(&self, wire: S) -> Result<S::Ok, S::Error> {
        wire.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64Bytes {
    fn deserialize<D: Deserializer<'de>>(wire: D) -> Result<Self, D::Error> {
        let text = String::deserialize(wire)?;
        BASE64_STANDARD
            .decode(text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_wire_and_nonsense_does_not() -> Result<(), serde_json::Error> {
        let bytes = Base64Bytes(vec![0, 255, 7]);
        let wire = serde_json::to_string(&bytes)?;
        assert_eq!(wire, "\"AP8H\"");
        assert_eq!(serde_json::from_str::<Base64Bytes>(&wire)?, bytes);
        assert!(serde_json::from_str::<Base64Bytes>("\"*\"").is_err());
        Ok(())
    }
}
