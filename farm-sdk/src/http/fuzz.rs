//! Bad input to the cutter of bodies: JSON and NDJSON, in pieces.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::values::{Found, Framing, Values};

const LIMIT_BYTES: usize = 64;
const BODIES: &[&[u8]] = &[
    br#"[{"a": "b\"c,]"}, [1, [2, {"x": null}]], -1.5e3, true]"#,
    b"{\"a\":1}\n\n[1,2]\r\n\"x\\u00e9\"\n",
    b" 1 2 \"three\" {\"four\": [4]} ",
    b"[]",
];

fn cut(framing: Framing, body: &[u8], piece_bytes: usize) -> Option<Vec<Found>> {
    let mut cutter = Values::new(framing, LIMIT_BYTES);
    let mut found = Vec::new();
    for piece in body.chunks(piece_bytes) {
        found.extend(cutter.push(piece).ok()?);
    }
    found.extend(cutter.finish().ok()?);
    Some(found)
}

proptest! {
    /// What is cut out is never more than what came in, and what one piece gives, many pieces give.
    #[test]
    fn bodies(body in farm_fuzz::bytes(BODIES), piece_bytes in 1usize..40) {
        for framing in [Framing::Json, Framing::Lines, Framing::Whole] {
            let Some(found) = cut(framing, &body, piece_bytes) else {
                continue;
            };
            let bytes: usize = found.iter().map(|found| found.bytes.len()).sum();
            prop_assert!(bytes <= body.len());
            prop_assert!(found.iter().all(|found| found.bytes.len() <= LIMIT_BYTES + piece_bytes));
            if let Some(bytewise) = cut(framing, &body, 1) {
                prop_assert_eq!(bytewise, found);
            }
        }
    }

    /// Every value of a valid array is found, and nothing else.
    #[test]
    fn arrays(body in farm_fuzz::bytes(BODIES), piece_bytes in 1usize..40) {
        let Ok(valid) = serde_json::from_slice::<Vec<&RawValue>>(&body) else {
            return Ok(());
        };
        let longest = valid.iter().map(|value| value.get().len()).max().unwrap_or(0);
        if longest >= LIMIT_BYTES {
            return Ok(());
        }
        let found = cut(Framing::Json, &body, piece_bytes).expect("a valid array can be cut");
        let found: Vec<_> = found.iter().map(|found| found.bytes.trim_ascii()).collect();
        let valid: Vec<_> = valid.iter().map(|value| value.get().as_bytes()).collect();
        prop_assert_eq!(found, valid);
    }
}
