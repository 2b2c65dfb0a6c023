//! Values from MessagePack.

use serde::de::DeserializeOwned;

use super::Mismatch;

/// Levels of arrays and maps in one value, as in JSON.
const DEEPEST: usize = 128;

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Mismatch> {
    check(bytes)?;
    // The path is only worth its cost when there is something to report.
    rmp_serde::from_slice(bytes).or_else(|_| {
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Mismatch::at(&error))
    })
}

/// Makes sure that the bytes are one value, whole, and nested no deeper than a stack bears:
/// rmp-serde counts no levels of enums, and leaves what follows a value.
pub(super) fn check(bytes: &[u8]) -> Result<(), Mismatch> {
    let mut rest = bytes;
    // How many values are to come on each level; on the stack, as this is done for every body.
    let mut left = [0_u64; DEEPEST + 1];
    let mut level = 0;
    left[level] = 1;
    loop {
        if left[level] > 0 {
            left[level] -= 1;
            let inner = skip(&mut rest).ok_or_else(|| Mismatch::whole(SHORT))?;
            if inner > 0 {
                level += 1;
                *left.get_mut(level).ok_or_else(|| Mismatch::whole(DEEP))? = inner;
            }
        } else if level > 0 {
            level -= 1;
        } else {
            break;
        }
    }
    match rest.len() {
        0 => Ok(()),
        more => Err(Mismatch::whole(format!(
            "{more} bytes follow the MessagePack value"
        ))),
    }
}

const SHORT: &str = "no MessagePack, or cut short";
const DEEP: &str = "nested deeper than 128 levels";

/// Takes one value from the front, or the head of an array or map: how many values are in that.
fn skip(rest: &mut &[u8]) -> Option<u64> {
    let marker = number(rest, 1)?;
    let (bytes, inner) = match marker {
        0x80..=0x8f => (0, 2 * (marker & 0x0f)),
        0x90..=0x9f => (0, marker & 0x0f),
        0xa0..=0xbf => (marker & 0x1f, 0),
        // Never used.
        0xc1 => return None,
        // Bytes, and text.
        0xc4 | 0xd9 => (number(rest, 1)?, 0),
        0xc5 | 0xda => (number(rest, 2)?, 0),
        0xc6 | 0xdb => (number(rest, 4)?, 0),
        // Extensions: their kind is one byte more.
        0xc7 => (number(rest, 1)? + 1, 0),
        0xc8 => (number(rest, 2)? + 1, 0),
        0xc9 => (number(rest, 4)? + 1, 0),
        0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
        // Numbers.
        0xcc | 0xd0 => (1, 0),
        0xcd | 0xd1 => (2, 0),
        0xca | 0xce | 0xd2 => (4, 0),
        0xcb | 0xcf | 0xd3 => (8, 0),
        // Arrays and maps.
        0xdc => (0, number(rest, 2)?),
        0xdd => (0, number(rest, 4)?),
        0xde => (0, 2 * number(rest, 2)?),
        0xdf => (0, 2 * number(rest, 4)?),
        // Small numbers, true, false and nil are their own marker.
        _ => (0, 0),
    };
    let bytes = usize::try_from(bytes).ok()?;
    *rest = rest.get(bytes..)?;
    Some(inner)
}

/// Takes a big-endian number of so many bytes.
fn number(rest: &mut &[u8], bytes: usize) -> Option<u64> {
    let (number, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(
        number
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::{Deserialize, IgnoredAny};

    use super::*;

    /// Whether rmp-serde finds one value, and nothing after it.
    fn is_one_value(bytes: &[u8]) -> bool {
        let mut cursor = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
        IgnoredAny::deserialize(&mut cursor).is_ok() && cursor.position() == bytes.len() as u64
    }

    proptest! {
        #[test]
        fn a_value_is_one_where_rmp_serde_finds_one(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..24),
                proptest::collection::vec(0x80_u8..=0xdf, 0..12),
                proptest::collection::vec(prop_oneof![Just(0x91_u8), Just(0xc0), 0xc0_u8..=0xdf, 0_u8..4], 0..24),
            ]
        ) {
            prop_assert_eq!(check(&bytes).is_ok(), is_one_value(&bytes));
        }
    }

    #[test]
    fn a_value_is_nested_as_deep_as_in_json_and_no_deeper() {
        let nested = |levels: usize| {
            let mut bytes = vec![0x91; levels];
            bytes.push(0xc0);
            bytes
        };
        assert_eq!(check(&nested(DEEPEST)), Ok(()));
        let error = check(&nested(DEEPEST + 1)).unwrap_err();
        assert!(error.to_string().contains("128 levels"), "{error}");
    }

    /// rmp-serde itself would follow these to the end of the stack.
    #[test]
    fn endless_enums_are_refused() {
        #[derive(Debug, serde::Deserialize)]
        enum Endless {
            #[expect(dead_code, reason = "only its depth matters here")]
            N(Box<Endless>),
        }
        let bytes = [0x81, 0xa1, b'N'].repeat(1 << 20);
        let error = decode::<Endless>(&bytes).unwrap_err();
        assert!(error.to_string().contains("128 levels"), "{error}");
    }

    #[test]
    fn what_follows_a_value_is_noticed() {
        let error = decode::<u32>(&[1, 2]).unwrap_err();
        assert!(error.to_string().contains("1 bytes follow"), "{error}");
    }
}
