//! Cuts a stream of bytes into values, never holding more than one.

use bytes::{Buf, Bytes, BytesMut};

/// Levels of arrays and objects in one value; serde_json reads no more either.
const DEEPEST: u32 = 128;

/// How the values follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One value a line (NDJSON).
    Lines,
    /// One JSON array, or values after one another.
    Json,
    /// The body is one value, in whatever codec.
    Whole,
}

/// A value and where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Line for [`Framing::Lines`], position in the array otherwise; from 1.
    pub place: u64,
    pub bytes: Bytes,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the value is larger than {limit} bytes, the most one task may have")]
    TooLarge { place: u64, limit: usize },
    #[error("{what}")]
    Syntax { place: u64, what: &'static str },
}

/// The cutter. Feed it with [`push`](Values::push), then call [`finish`](Values::finish).
pub(crate) struct Values {
    framing: Framing,
    limit: usize,
    buffer: BytesMut,
    /// Bytes of `buffer` already looked at.
    seen: usize,
    line: u64,
    position: u64,
    array: Array,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether a value has begun in `buffer`.
    begun: bool,
}

/// Where the cutter is with respect to the one outer array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Array {
    Undecided,
    None,
    /// Before a value; `true` after a comma, when one must follow.
    Open(bool),
    /// After a value.
    Between,
    Closed,
}

impl Values {
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self {
            framing,
            limit,
            buffer: BytesMut::new(),
            seen: 0,
            line: 1,
            position: 1,
            array: Array::Undecided,
            depth: 0,
            in_string: false,
            escaped: false,
            begun: false,
        }
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    fn place(&self) -> u64 {
        match self.framing {
            Framing::Lines => self.line,
            Framing::Json | Framing::Whole => self.position,
        }
    }

    fn syntax(&self, what: &'static str) -> Malformed {
        Malformed::Syntax {
            place: self.place(),
            what,
        }
    }

    /// Takes a piece of the stream, gives back the values it completes.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Found>, Malformed> {
        self.buffer.extend_from_slice(piece);
        let mut found = Vec::new();
        while self.seen < self.buffer.len() {
            let complete = match self.framing {
                Framing::Lines => self.look_for_line(),
                Framing::Json => self.look_for_value()?,
                Framing::Whole => {
                    self.seen = self.buffer.len();
                    None
                }
            };
            found.extend(complete);
            if self.buffer.len() > self.limit && self.seen > self.limit {
                return Err(Malformed::TooLarge {
                    place: self.place(),
                    limit: self.limit,
                });
            }
        }
        Ok(found)
    }

    /// Ends the stream, gives back the value it ended with.
    pub fn finish(mut self) -> Result<Option<Found>, Malformed> {
        match self.framing {
            Framing::Lines => {
                let rest = self.buffer.split().freeze();
                Ok((!rest.trim_ascii().is_empty()).then_some(Found {
                    place: self.line,
                    bytes: rest,
                }))
            }
            Framing::Whole => Ok(Some(self.cut(self.buffer.len()))),
            Framing::Json if matches!(self.array, Array::Open(_) | Array::Between) => {
                Err(self.syntax("the array is not closed"))
            }
            Framing::Json => Ok(self.begun.then(|| self.cut(self.buffer.len()))),
        }
    }

    fn look_for_line(&mut self) -> Option<Found> {
        let end = self.buffer[self.seen..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(end) = end else {
            self.seen = self.buffer.len();
            return None;
        };
        let bytes = self.buffer.split_to(self.seen + end + 1).freeze();
        self.seen = 0;
        let place = self.line;
        self.line += 1;
        (!bytes.trim_ascii().is_empty()).then_some(Found { place, bytes })
    }

    /// Looks at one byte, or at all that a string still holds.
    fn look_for_value(&mut self) -> Result<Option<Found>, Malformed> {
        if self.in_string {
            return Ok(self.skip_string());
        }
        let byte = self.buffer[self.seen];
        if self.depth == 0 && !self.begun {
            return self.between_values(byte);
        }
        self.seen += 1;
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' if self.depth == DEEPEST => {
                return Err(self.syntax("the value is nested deeper than 128 levels"));
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Ok(Some(self.cut(self.seen)));
                }
            }
            // The end of a number or word; the byte itself belongs to what follows.
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}' if self.depth == 0 => {
                self.seen -= 1;
                return Ok(Some(self.cut(self.seen)));
            }
            _ => {}
        }
        Ok(None)
    }

    fn skip_string(&mut self) -> Option<Found> {
        while self.seen < self.buffer.len() {
            let byte = self.buffer[self.seen];
            self.seen += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return (self.depth == 0).then(|| self.cut(self.seen));
                }
                _ => {}
            }
        }
        None
    }

    fn between_values(&mut self, byte: u8) -> Result<Option<Found>, Malformed> {
        let skip = |values: &mut Self| {
            values.buffer.advance(1);
            values.seen = 0;
        };
        match (byte, self.array) {
            (b' ' | b'\t' | b'\r' | b'\n', _) => skip(self),
            (b'[', Array::Undecided) => {
                self.array = Array::Open(false);
                skip(self);
            }
            (b']', Array::Open(false) | Array::Between) => {
                self.array = Array::Closed;
                skip(self);
            }
            (b',', Array::Between) => {
                self.array = Array::Open(true);
                skip(self);
            }
            (b',' | b']' | b'}', _) => return Err(self.syntax("a JSON value was expected here")),
            (_, Array::Between) => {
                return Err(self.syntax("a comma was expected before this value"));
            }
            (_, Array::Closed) => return Err(self.syntax("nothing may follow the array")),
            (_, Array::Undecided | Array::None | Array::Open(_)) => {
                if self.array == Array::Undecided {
                    self.array = Array::None;
                }
                self.begun = true;
            }
        }
        Ok(None)
    }

    fn cut(&mut self, end: usize) -> Found {
        let bytes = self.buffer.split_to(end).freeze();
        let place = self.position;
        self.position += 1;
        self.seen = 0;
        self.begun = false;
        if matches!(self.array, Array::Open(_)) {
            self.array = Array::Between;
        }
        Found { place, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(framing: Framing, text: &str, piece: usize) -> Result<Vec<String>, Malformed> {
        let mut values = Values::new(framing, 1000);
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            found.extend(values.push(piece)?);
        }
        found.extend(values.finish()?);
        let text = |found: &Found| {
            String::from_utf8(found.bytes.to_vec())
                .unwrap()
                .trim()
                .to_owned()
        };
        Ok(found.iter().map(text).collect())
    }

    #[test]
    fn an_array_gives_its_elements() {
        let text = r#" [1, "a,]\"b", {"x":[1,2]}, [3], null ] "#;
        let found = cut(Framing::Json, text, 3).unwrap();
        assert_eq!(found, ["1", r#""a,]\"b""#, r#"{"x":[1,2]}"#, "[3]", "null"]);
    }

    #[test]
    fn one_value_may_span_lines() {
        assert_eq!(
            cut(Framing::Json, "{\n \"x\": 1\n}\n", 2).unwrap(),
            ["{\n \"x\": 1\n}"]
        );
        assert_eq!(cut(Framing::Json, "42", 1).unwrap(), ["42"]);
        assert_eq!(cut(Framing::Json, "[]", 1).unwrap(), Vec::<String>::new());
        assert_eq!(cut(Framing::Json, "", 1).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_line_is_a_value_even_if_it_is_an_array() {
        assert_eq!(
            cut(Framing::Lines, "[1,2]\r\n\n{}\n3", 2).unwrap(),
            ["[1,2]", "{}", "3"]
        );
    }

    #[test]
    fn the_place_of_a_line_counts_empty_ones() {
        let mut values = Values::new(Framing::Lines, 100);
        let found = values.push(b"1\n\n2\n").unwrap();
        assert_eq!(
            found.iter().map(|found| found.place).collect::<Vec<_>>(),
            [1, 3]
        );
    }

    #[test]
    fn a_whole_body_is_one_value_whatever_is_in_it() {
        for body in ["", "1\n2\n", "[1, 2]", "\u{0}{"] {
            assert_eq!(cut(Framing::Whole, body, 2).unwrap(), [body.trim()]);
        }
    }

    #[test]
    fn broken_arrays_are_noticed() {
        for (text, place) in [
            ("[1,]", 2),
            ("[1 2]", 2),
            ("[1", 1),
            ("[,1]", 1),
            ("[1] 2", 2),
            ("}", 1),
        ] {
            match cut(Framing::Json, text, 1) {
                Err(Malformed::Syntax { place: found, .. }) => assert_eq!(found, place, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_value_over_the_limit_is_refused_before_it_is_held() {
        for framing in [Framing::Json, Framing::Lines, Framing::Whole] {
            let mut values = Values::new(framing, 10);
            assert!(values.push(b"\"12345").is_ok());
            let refused = values.push(b"67890123").unwrap_err();
            assert_eq!(
                refused,
                Malformed::TooLarge {
                    place: 1,
                    limit: 10
                }
            );
        }
    }

    proptest! {
        /// However the stream is cut into pieces, the values are the same.
        #[test]
        fn pieces_do_not_matter(values in proptest::collection::vec(".{0,8}", 0..8), piece in 1usize..9) {
            let strings: Vec<String> = values.iter().map(|v| serde_json::to_string(v).unwrap()).collect();
            let array = format!("[{}]", strings.join(" ,"));
            prop_assert_eq!(cut(Framing::Json, &array, piece).unwrap(), strings.clone());
            let lines = strings.join("\n");
            prop_assert_eq!(cut(Framing::Lines, &lines, piece).unwrap(), strings);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), piece in 1usize..9) {
            for framing in [Framing::Json, Framing::Lines, Framing::Whole] {
                let mut values = Values::new(framing, 20);
                let fed = bytes.chunks(piece).try_for_each(|piece| values.push(piece).map(drop));
                if fed.is_ok() {
                    let _ = values.finish();
                }
            }
        }
    }
}
