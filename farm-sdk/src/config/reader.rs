//! Reads settings out of strings.

use std::time::Duration;

use farm_core::quantity::{format_duration, parse_bytes, parse_duration};

/// Where strings come from: the process environment, or a table in a test.
pub(crate) trait Strings {
    fn get(&self, key: &str) -> Option<String>;
}

/// The environment of this process. An empty value counts as unset.
pub(crate) struct Environment;

impl Strings for Environment {
    fn get(&self, key: &str) -> Option<String> {
        std::env::var(key).ok().filter(|value| !value.is_empty())
    }
}

/// A limit of a stream, and whether somebody asked for it: a default never changes a stream that
/// exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub value: T,
    pub explicit: bool,
}

/// Reads keys one by one and notes what is wrong with them.
pub(super) struct Reader<'a> {
    pub strings: &'a dyn Strings,
    pub bad: Vec<String>,
}

impl Reader<'_> {
    /// The value of `key`, or `default` if it is unset or bad; a bad one is noted.
    pub fn read<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Setting<T> {
        let Some(text) = self.strings.get(key) else {
            return Setting {
                value: default,
                explicit: false,
            };
        };
        match parse(text.trim()) {
            Ok(value) => Setting {
                value,
                explicit: true,
            },
            Err(reason) => {
                self.bad.push(format!("{key}: {reason}"));
                Setting {
                    value: default,
                    explicit: true,
                }
            }
        }
    }

    pub fn duration(&mut self, key: &str, default: Duration, least: Duration) -> Setting<Duration> {
        self.read(key, default, |text| {
            let duration = parse_duration(text).map_err(|e| e.to_string())?;
            if duration < least {
                return Err(format!("{text:?} is below {}", format_duration(least)));
            }
            Ok(duration)
        })
    }

    pub fn number<T>(&mut self, key: &str, default: T, least: T, most: T) -> Setting<T>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        self.read(key, default, |text| match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!(
                "{text:?} is not a whole number from {least} to {most}"
            )),
        })
    }

    pub fn bytes(&mut self, key: &str, default: u64) -> Setting<u64> {
        self.read(key, default, |text| match parse_bytes(text) {
            Ok(bytes) if bytes > 0 && i64::try_from(bytes).is_ok() => Ok(bytes),
            Ok(_) => Err(format!("{text:?} is out of range")),
            Err(error) => Err(error.to_string()),
        })
    }

    pub fn word<T: Copy>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> Setting<T> {
        self.read(key, default, |text| {
            words
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
                .ok_or_else(|| {
                    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                    format!("{text:?} is not one of {}", known.join(", "))
                })
        })
    }
}
