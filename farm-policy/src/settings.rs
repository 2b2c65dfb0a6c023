//! Reading a policy's parameters: every bad one is told, not just the first.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use farm_core::quantity;

/// A setting that cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {cause}")]
pub struct InvalidSetting {
    /// Name of the setting.
    pub setting: String,
    /// What is wrong with it, and what is allowed.
    pub cause: String,
}

impl InvalidSetting {
    pub(crate) fn new(setting: impl Into<String>, cause: impl Display) -> Self {
        Self {
            setting: setting.into(),
            cause: cause.to_string(),
        }
    }
}

/// The parameters of one policy while they are read.
pub(crate) struct Settings<'a> {
    given: &'a BTreeMap<String, String>,
    known: Vec<&'static str>,
    wrong: Vec<InvalidSetting>,
}

impl<'a> Settings<'a> {
    pub(crate) fn new(given: &'a BTreeMap<String, String>) -> Self {
        Self {
            given,
            known: Vec::new(),
            wrong: Vec::new(),
        }
    }

    fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        self.given.get(name).map(|text| text.trim())
    }

    pub(crate) fn refuse<T>(&mut self, name: &str, cause: impl Display) -> Option<T> {
        self.wrong.push(InvalidSetting::new(name, cause));
        None
    }

    /// A number, or the default.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> f64 {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.parse::<f64>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                let cause = format!("{text:?} is not a number from {low} to {high}");
                self.refuse(name, cause).unwrap_or(default)
            }
        }
    }

    /// A text that has to be given; `what` it is tells who left it out.
    pub(crate) fn required_text(&mut self, name: &'static str, what: &str) -> Option<&'a str> {
        match self.text(name) {
            None | Some("") => self.refuse(name, format!("missing: give {what}")),
            text => text,
        }
    }

    /// A whole number that has to be given.
    pub(crate) fn required_count(&mut self, name: &'static str, range: RangeInclusive<u32>) -> u32 {
        let (low, high) = (*range.start(), *range.end());
        let Some(text) = self.text(name) else {
            let cause = format!("missing: give a whole number from {low} to {high}");
            return self.refuse(name, cause).unwrap_or(low);
        };
        match text.parse::<u32>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let cause = format!("{text:?} is not a whole number from {low} to {high}");
                self.refuse(name, cause).unwrap_or(low)
            }
        }
    }

    /// A duration with its unit, in seconds.
    pub(crate) fn optional_seconds(&mut self, name: &'static str) -> Option<f64> {
        const LONGEST_SECONDS: f64 = 86_400.0;
        let text = self.text(name)?;
        match quantity::parse_duration(text) {
            Ok(duration) if duration.as_secs_f64() <= LONGEST_SECONDS => {
                Some(duration.as_secs_f64())
            }
            Ok(_) => self.refuse(name, format!("{text:?} is longer than a day")),
            Err(error) => self.refuse(name, error),
        }
    }

    /// A duration with its unit, in seconds, or the default.
    pub(crate) fn seconds(&mut self, name: &'static str, default_seconds: f64) -> f64 {
        self.optional_seconds(name).unwrap_or(default_seconds)
    }

    /// A duration of more than nothing, in seconds.
    pub(crate) fn positive_seconds(&mut self, name: &'static str) -> Option<f64> {
        match self.optional_seconds(name) {
            Some(seconds) if seconds <= 0.0 => self.refuse(name, "has to be more than 0 s"),
            seconds => seconds,
        }
    }

    /// One word of a few, or the default.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        default: T,
        words: &[(&str, T)],
    ) -> T {
        let Some(text) = self.text(name) else {
            return default;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let cause = format!("{text:?} is not one of: {}", allowed.join(", "));
        self.refuse(name, cause).unwrap_or(default)
    }

    /// What was wrong, names nobody asked for included.
    pub(crate) fn finish(mut self) -> Vec<InvalidSetting> {
        for name in self.given.keys() {
            if !self.known.contains(&name.as_str()) {
                let cause = format!("unknown parameter; known are: {}", self.known.join(", "));
                self.wrong.push(InvalidSetting::new(name, cause));
            }
        }
        self.wrong
    }
}
