//! Any value survives any codec, and what does not fit is told with its place.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    text: String,
    bytes: Raw,
    number: Option<i64>,
    #[serde(rename = "parts-of-one")]
    ratio: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shapes: Vec<Shape>,
    #[serde(flatten)]
    more: More,
    address: std::net::IpAddr,
    pair: (u8, char),
    unit: (),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct More {
    inner: Raw,
    counts: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u32),
    Box { width: i16, height: i16 },
    Tagged(Tagged),
    Nested(Box<Shape>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Tagged {
    LeftOver,
    Named { name: String },
}

fn raw() -> impl Strategy<Value = Raw> {
    proptest::collection::vec(any::<u8>(), 0..300).prop_map(Raw::from)
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        any::<u32>().prop_map(Shape::Circle),
        any::<(i16, i16)>().prop_map(|(width, height)| Shape::Box { width, height }),
        Just(Shape::Tagged(Tagged::LeftOver)),
        any::<String>().prop_map(|name| Shape::Tagged(Tagged::Named { name })),
    ];
    leaf.prop_recursive(4, 8, 1, |inner| {
        inner.prop_map(|shape| Shape::Nested(Box::new(shape)))
    })
}

prop_compose! {
    fn sample()(
        (text, number, ratio) in any::<(String, Option<i64>, i16)>(),
        (bytes, inner) in (raw(), raw()),
        shapes in proptest::collection::vec(shape(), 0..5),
        counts in proptest::collection::btree_map(any::<String>(), any::<u64>(), 0..4),
        (address, pair) in any::<(std::net::IpAddr, (u8, char))>(),
    ) -> Sample {
        // A number that serde_json reads exactly; others may be off by their last bit.
        let ratio = f64::from(ratio) / 1024.0;
        let more = More { inner, counts };
        Sample { text, bytes, number, ratio, shapes, more, address, pair, unit: () }
    }
}

fn encoded(codec: Codec, bytes: &[u8]) -> Encoded {
    Encoded {
        codec,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

proptest! {
    #[test]
    fn a_value_survives_every_codec(value in sample()) {
        for codec in [Codec::Json, Codec::MessagePack] {
            let written = encode(&value, codec).unwrap();
            prop_assert_eq!(written.codec, codec);
            prop_assert_eq!(decode::<Sample>(&written).unwrap(), value.clone());
        }
    }

    /// In lines of results a value looks the same in whatever codec it came, unless it is one that
    /// writes itself in another way for programs than for people, as addresses do.
    #[test]
    fn a_result_is_shown_as_its_json(value in sample()) {
        let value = (value.text, value.bytes, value.number, value.shapes, value.more, value.ratio);
        let packed = encode(&value, Codec::MessagePack).unwrap();
        let Shown::Json(shown) = shown(packed.codec, &packed.bytes) else {
            return Err(TestCaseError::fail("no JSON"));
        };
        prop_assert_eq!(shown.get(), serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn raw_bytes_are_not_touched(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for wished in Codec::ALL {
            let written = encode(&Raw::from(bytes.clone()), wished).unwrap();
            prop_assert_eq!(&written, &encoded(Codec::Raw, &bytes));
            prop_assert_eq!(decode::<Raw>(&written).unwrap().to_vec(), bytes.clone());
        }
    }
}

#[test]
fn raw_bytes_are_not_even_copied() {
    let bytes = Bytes::from(vec![7; 1000]);
    let written = encode(&Raw(bytes.clone()), Codec::Json).unwrap();
    let read: Raw = decode(&written).unwrap();
    assert_eq!(read.as_ptr(), bytes.as_ptr());
}

#[test]
fn raw_bytes_in_other_codecs_are_a_value() {
    let raw = Raw::from(vec![0xff, 0x00]);
    assert_eq!(
        decode::<Raw>(&encoded(Codec::Json, br#""/wA=""#)),
        Ok(raw.clone())
    );
    let bin = [0xc4, 2, 0xff, 0x00];
    assert_eq!(
        decode::<Raw>(&encoded(Codec::MessagePack, &bin)),
        Ok(raw.clone())
    );
    assert_eq!(rmp_serde::to_vec_named(&raw).unwrap(), bin);
    assert_eq!(serde_json::to_string(&raw).unwrap(), r#""/wA=""#);
    for (json, told) in [
        ("\"?\"", "no base64"),
        ("7", "base64"),
        ("[255,0]", "base64"),
    ] {
        let error = decode::<Raw>(&encoded(Codec::Json, json.as_bytes())).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn raw_bytes_fit_nothing_else() {
    let error = decode::<Vec<u8>>(&encoded(Codec::Raw, b"[1]")).unwrap_err();
    assert!(error.to_string().starts_with("raw bytes"), "{error}");
    assert_eq!(encode(&1, Codec::Raw).unwrap(), encoded(Codec::Json, b"1"));
}

#[test]
fn a_mismatch_names_its_place() {
    #[derive(Debug, Deserialize)]
    struct Album {
        #[expect(dead_code, reason = "only its type matters here")]
        photos: Vec<u32>,
    }
    let album = BTreeMap::from([("photos", (1, "x"))]);
    let told = [
        (Codec::Json, "invalid type: string \"x\", expected u32"),
        (Codec::MessagePack, "wrong msgpack marker FixStr(1)"),
    ];
    for (codec, told) in told {
        let mismatch = decode::<Album>(&encode(&album, codec).unwrap()).unwrap_err();
        assert_eq!(mismatch.path, "photos[1]");
        assert!(mismatch.message.contains(told), "{mismatch}");
    }
}

#[test]
fn trailing_text_is_no_json() {
    assert!(decode::<u32>(&encoded(Codec::Json, b"1 2")).is_err());
}

#[test]
fn a_value_without_words_is_told_with_its_codec() {
    let keys_are_lists = BTreeMap::from([(vec![1], 1)]);
    let error = encode(&keys_are_lists, Codec::Json).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot be written as JSON: "),
        "{error}"
    );
    assert!(encode(&keys_are_lists, Codec::MessagePack).is_ok());
}
