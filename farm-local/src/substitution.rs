//! Environment variables in a stack file, replaced as `faas-cli` replaces them.
//!
//! Over the whole file, before it is read as YAML: `${V}`, `${V:-default}` and `${V:=default}`;
//! an unset or empty variable gives the default, or nothing. A bare `$V` stays as it is,
//! `$$` gives `$` (so `$${V}` gives `${V}`), and `\/` and `\\` lose their first backslash.

/// A substitution that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SubstitutionError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

/// Deepest nesting of defaults inside defaults.
const MAX_DEPTH: usize = 16;

/// Replaces the variables of `text` by what `lookup` gives.
///
/// # Errors
/// A substitution that does not end, names no variable, or is of another kind.
///
/// ```
/// use farm_local::{SubstitutionError, substitute};
/// let lookup = |name: &str| (name == "OWNER").then(|| "me".to_owned());
/// assert_eq!(substitute("${OWNER}/app:${TAG:-latest}", lookup)?, "me/app:latest");
/// # Ok::<(), SubstitutionError>(())
/// ```
pub fn substitute(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, SubstitutionError> {
    let mut scanner = Scanner {
        text,
        position: 0,
        lookup: &lookup,
    };
    let mut output = String::with_capacity(text.len());
    while let Some(next) = scanner.next() {
        match (next, scanner.peek()) {
            ('$', Some('{')) => {
                scanner.next();
                output.push_str(&scanner.variable(0)?);
            }
            ('$', Some('$')) => {
                scanner.next();
                output.push('$');
            }
            ('\\', Some(escaped @ ('/' | '\\'))) => {
                scanner.next();
                output.push(escaped);
            }
            (plain, _) => output.push(plain),
        }
    }
    Ok(output)
}

struct Scanner<'a> {
    text: &'a str,
    position: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let found = self.text[self.position..].starts_with(prefix);
        if found {
            self.position += prefix.len();
        }
        found
    }

    fn refuse<T>(&self, reason: String) -> Result<T, SubstitutionError> {
        let line = 1 + self.text[..self.position].matches('\n').count();
        Err(SubstitutionError { line, reason })
    }

    /// The value of the substitution whose `${` was just read.
    fn variable(&mut self, depth: usize) -> Result<String, SubstitutionError> {
        let start = self.position;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.next();
        }
        let name = &self.text[start..self.position];
        if name.is_empty() {
            return self.refuse("\"${\" must be followed by the name of a variable; write \"$${\" for the text itself".into());
        }
        let value = (self.lookup)(name).unwrap_or_default();
        if self.skip("}") {
            return Ok(value);
        }
        if [":-", ":=", ":?", ":+", "="]
            .iter()
            .any(|operator| self.skip(operator))
        {
            let default = self.default(name, depth)?;
            return Ok(if value.is_empty() { default } else { value });
        }
        self.refuse(format!("\"${{{name}\" goes on in a way that is not understood: write ${{{name}}} or ${{{name}:-default}}"))
    }

    /// The text up to the closing brace.
    fn default(&mut self, name: &str, depth: usize) -> Result<String, SubstitutionError> {
        if depth == MAX_DEPTH {
            return self.refuse(format!(
                "the defaults inside \"${{{name}\" are nested too deeply"
            ));
        }
        let mut default = String::new();
        while !self.skip("}") {
            if self.skip("${") {
                default.push_str(&self.variable(depth + 1)?);
                continue;
            }
            match self.next() {
                Some(plain) => default.push(plain),
                None => return self.refuse(format!("\"${{{name}\" has no closing brace")),
            }
        }
        Ok(default)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with_a(text: &str) -> Result<String, SubstitutionError> {
        substitute(text, |name| match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn it_reads_what_faas_cli_reads() {
        for (text, expected) in [
            ("plain ${A} text", "plain one text"),
            ("${A:-d} ${B:-d} ${B:=d} ${EMPTY:-d} ${B=d}", "one d d d d"),
            ("[${B}]", "[]"),
            ("$A $ }{", "$A $ }{"),
            ("$${A} $$A $$$${A} $$${A}", "${A} $A $${A} $one"),
            ("${B:-http://x:8080/} ${B:-a${A}b}", "http://x:8080/ aoneb"),
            (r"a\/b c\\d e\f", r"a/b c\d e\f"),
            ("", ""),
        ] {
            assert_eq!(with_a(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn the_line_of_a_bad_substitution_is_named() {
        for bad in [
            "\n\n${",
            "\n\n${}",
            "\n\n${A",
            "\n\n${A:-x",
            "\n\n${A,,}",
            "\n\n${A:1:2}",
            "\n\n${A-x}",
        ] {
            assert_eq!(with_a(bad).unwrap_err().line, 3, "{bad:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(with_a(&"${B:-".repeat(100_000)).is_err());
    }
}
