//! Results in whatever codec, as people read them: JSON, or base64 where there is no JSON for it.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use farm_core::Codec;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::message_pack;

/// A result as a line of results has it.
pub(crate) enum Shown {
    Json(Box<RawValue>),
    Base64(String),
}

/// Shows a result; nothing that is stored cannot be shown.
pub(crate) fn shown(codec: Codec, bytes: &[u8]) -> Shown {
    let json = match codec {
        Codec::Json => text(bytes),
        Codec::MessagePack => transcoded(bytes),
        Codec::Raw => None,
    };
    json.map_or_else(|| Shown::Base64(BASE64_STANDARD.encode(bytes)), Shown::Json)
}

fn text(json: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(json).ok()?;
    RawValue::from_string(text.to_owned()).ok()
}

fn transcoded(bytes: &[u8]) -> Option<Box<RawValue>> {
    message_pack::check(bytes).ok()?;
    let value: Value = rmp_serde::from_slice(bytes).ok()?;
    serde_json::value::to_raw_value(&value).ok()
}

/// Any value of MessagePack.
enum Value {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Single(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// As JSON: bytes are base64, numbers that are none are `null`, an extension is its kind and its
/// bytes, and a key that is no text is its JSON as text.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => json.serialize_unit(),
            Value::Bool(value) => json.serialize_bool(*value),
            Value::Unsigned(number) => json.serialize_u64(*number),
            Value::Signed(number) => json.serialize_i64(*number),
            Value::Single(number) => json.serialize_f32(*number),
            Value::Double(number) => json.serialize_f64(*number),
            Value::Text(text) => json.serialize_str(text),
            Value::Bytes(bytes) => json.serialize_str(&BASE64_STANDARD.encode(bytes)),
            Value::List(values) => json.collect_seq(values),
            Value::Map(entries) => {
                let mut map = json.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key.as_key::<S>()?, value)?;
                }
                map.end()
            }
        }
    }
}

impl Value {
    fn as_key<S: Serializer>(&self) -> Result<String, S::Error> {
        match self {
            Value::Text(text) => Ok(text.clone()),
            Value::Bytes(bytes) => Ok(BASE64_STANDARD.encode(bytes)),
            other => serde_json::to_string(other).map_err(serde::ser::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Signed(number))
    }

    fn visit_f32<E>(self, number: f32) -> Result<Value, E> {
        Ok(Value::Single(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_owned()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, extension: D) -> Result<Value, D::Error> {
        Value::deserialize(extension)
    }

    // No capacity ahead: what a head announces costs its sender nothing.
    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json_of(bytes: &[u8]) -> Option<String> {
        match shown(Codec::MessagePack, bytes) {
            Shown::Json(json) => Some(json.get().to_owned()),
            Shown::Base64(_) => None,
        }
    }

    #[test]
    fn what_json_has_no_words_for_is_said_in_others() {
        let cases: [(&[u8], &str); 8] = [
            (&[0xc4, 2, 0xff, 0x00], "\"/wA=\""),
            (&[0xca, 0x7f, 0xc0, 0, 0], "null"),
            (&[0xca, 0x3d, 0xcc, 0xcc, 0xcd], "0.1"),
            (&[0xd4, 5, 0xff], r#"[5,"/w=="]"#),
            (&[0x81, 0x07, 0xc3], r#"{"7":true}"#),
            (&[0x81, 0x91, 0x01, 0xc0], r#"{"[1]":null}"#),
            (&[0x81, 0xc4, 1, 0xff, 0x01], r#"{"/w==":1}"#),
            (&[0xa1, 0xff], "\"/w==\""),
        ];
        for (bytes, json) in cases {
            assert_eq!(json_of(bytes).as_deref(), Some(json), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_no_value_is_shown_as_it_is() {
        for codec in Codec::ALL {
            let Shown::Base64(text) = shown(codec, b"\xc1{") else {
                panic!("{codec}");
            };
            assert_eq!(text, "wXs=");
        }
    }

    proptest! {
        /// Whatever bytes are stored, they are shown as JSON or as they are.
        #[test]
        fn anything_can_be_shown(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for codec in Codec::ALL {
                match shown(codec, &bytes) {
                    Shown::Json(json) => {
                        serde_json::from_str::<serde::de::IgnoredAny>(json.get()).unwrap();
                    }
                    Shown::Base64(text) => prop_assert_eq!(BASE64_STANDARD.decode(text).unwrap(), bytes.clone()),
                }
            }
        }
    }
}
