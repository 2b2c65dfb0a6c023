//! Bad input to the codecs: bodies of tasks and results.

use bytes::Bytes;
use farm_core::Codec;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Encoded, Raw, Shown, decode, shown};

/// Reads itself in every way that a type can, and without end.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Anything {
    Nothing,
    Number(f64),
    Bytes(Raw),
    Named {
        parts: Vec<Anything>,
        next: Option<Box<Anything>>,
    },
    Again(Box<Anything>),
}

const BODIES: &[&[u8]] = &[
    br#"{"Named":{"parts":[{"Number":1.5},"Nothing",{"Bytes":"/wA="}],"next":{"Again":"Nothing"}}}"#,
    b"\x81\xa5Named\x82\xa5parts\x93\x81\xa6Number\xcb\x3f\xf8\0\0\0\0\0\0\xa7Nothing\x81\xa5Bytes\xc4\x02\xff\0\xa4next\x81\xa5Again\xa7Nothing",
    b"\xdf\0\0\0\x01\xd4\x05\xff\xdd\0\0\0\x02\xca\x7f\xc0\0\0\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xa5Again\x81\xa5Again\x81\xa5Again\x81\xa5Again\xa7Nothing",
];

proptest! {
    /// A body is read or does not fit; a result can be shown, as JSON or as it is.
    #[test]
    fn codecs(body in farm_fuzz::bytes(BODIES)) {
        for codec in Codec::ALL {
            let value = Encoded { codec, bytes: Bytes::copy_from_slice(&body) };
            for mismatch in [decode::<Anything>(&value).err(), decode::<Raw>(&value).err()] {
                prop_assert!(mismatch.is_none_or(|mismatch| !mismatch.to_string().is_empty()));
            }
            if let Shown::Json(json) = shown(codec, &body) {
                prop_assert!(serde_json::from_str::<IgnoredAny>(json.get()).is_ok());
            }
        }
    }
}

#[test]
fn the_bodies_are_good_input_before_they_are_damaged() {
    for (body, codec) in BODIES.iter().zip([Codec::Json, Codec::MessagePack]) {
        let bytes = Bytes::from_static(body);
        assert!(
            decode::<Anything>(&Encoded { codec, bytes }).is_ok(),
            "{codec}"
        );
    }
    for body in &BODIES[1..] {
        assert!(
            matches!(shown(Codec::MessagePack, body), Shown::Json(_)),
            "{body:02x?}"
        );
    }
}
