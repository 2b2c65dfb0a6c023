//! Bad input for tests: arbitrary bytes, and valid input that was damaged.
//!
//! Whatever reads what others wrote has a target in its crate's `fuzz` module. They run with all
//! tests; `make fuzz` runs them for long. A failure prints the input, shrunk, and is kept in
//! `proptest-regressions/` to be tried first from then on.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Bytes of arbitrary input at most.
const ARBITRARY_BYTES: usize = 200;
/// Damages to one input at most.
const DAMAGES: usize = 8;
/// Bytes that one damage repeats at most.
const REPEATED_BYTES: usize = 64;

/// Bytes that mean something to most formats.
const TELLING: &[u8] = b"{}[]\",:\\/-+.eE0129 \t\r\n\0\x7f\x80\xff$%&*!|>#'?=~";

#[derive(Debug, Clone)]
enum Damage {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Repeat(Index, Index),
    Flip(Index, u8),
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![any::<u8>(), select(TELLING)]
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        4 => (place(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        4 => (place(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        4 => place().prop_map(Damage::Remove),
        1 => place().prop_map(Damage::Cut),
        2 => (place(), place()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        2 => (place(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match damage {
        Damage::Replace(at, byte) => bytes[at.index(length)] = *byte,
        Damage::Insert(at, byte) => bytes.insert(at.index(length + 1), *byte),
        Damage::Remove(at) => {
            bytes.remove(at.index(length));
        }
        Damage::Cut(at) => bytes.truncate(at.index(length)),
        Damage::Repeat(from, to) => {
            let start = from.index(length);
            let end = (start + REPEATED_BYTES).min(length);
            let piece = bytes[start..end].to_vec();
            let at = to.index(length);
            bytes.splice(at..at, piece);
        }
        Damage::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
    }
}

/// Arbitrary bytes, and `seeds` with up to a few damages each; sometimes none.
pub fn bytes(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (select(seeds), vec(damage(), 0..=DAMAGES)).prop_map(|(seed, damages)| {
        let mut bytes = seed.to_vec();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        bytes
    });
    prop_oneof![
        1 => vec(byte(), 0..=ARBITRARY_BYTES),
        3 => damaged,
    ]
}

/// The same as text: what is no UTF-8 is replaced.
pub fn text(seeds: &'static [&'static [u8]]) -> impl Strategy<Value = String> {
    bytes(seeds).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn input_stays_small(bytes in bytes(&[b"0123456789"])) {
            prop_assert!(bytes.len() <= ARBITRARY_BYTES.max(10 + DAMAGES * REPEATED_BYTES));
        }
    }
}
