//! Figures with their units, and the promises that were broken.

use std::fmt::Display;

use serde_json::{Map, Value, json};

/// What one experiment found.
pub struct Report {
    name: &'static str,
    figures: Vec<(String, f64)>,
    broken: Vec<String>,
}

impl Report {
    pub fn new(name: &'static str) -> Self {
        eprintln!("== {name}");
        Self {
            name,
            figures: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Notes a figure; its name ends in its unit.
    pub fn figure(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        eprintln!("   {name} = {value:.3}");
        self.figures.push((name, value));
    }

    /// Notes a size, in MB.
    pub fn megabytes(&mut self, name: impl Display, bytes: u64) {
        self.figure(format!("{name}, MB"), bytes as f64 / 1e6);
    }

    /// Notes that a promise is broken unless `kept`.
    pub fn check(&mut self, kept: bool, promise: impl FnOnce() -> String) {
        if !kept {
            self.breaks(promise());
        }
    }

    /// Notes a broken promise.
    pub fn breaks(&mut self, promise: String) {
        eprintln!("   BROKEN: {promise}");
        self.broken.push(promise);
    }

    pub fn is_kept(&self) -> bool {
        self.broken.is_empty()
    }

    /// Prints the figures as a table in Markdown.
    pub fn print(&self) {
        println!("\n| {} | |\n|---|---|", self.name);
        for (name, value) in &self.figures {
            println!("| {name} | {} |", rounded(*value));
        }
        for promise in &self.broken {
            println!("| **broken** | {promise} |");
        }
    }

    pub fn json(&self) -> (String, Value) {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let account = json!({"figures": figures, "broken": self.broken});
        (self.name.to_owned(), account)
    }
}

/// Three significant digits are more than these figures hold.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The value below which the share `ratio` of `values` lies; NaN if there are none.
pub fn quantile(values: &mut [f64], ratio: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let place = (last as f64 * ratio).round() as usize;
    values.get(place).copied().unwrap_or(f64::NAN)
}
