//! What a command prints on standard output: a table for people, JSON lines for programs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tabwriter::TabWriter;

use crate::failure::Failure;

/// Prints `value` as one line of JSON.
///
/// # Errors
/// Standard output is closed or cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|e| Failure::output(e.into()))?;
    print_line(&line)
}

/// Prints one line.
///
/// # Errors
/// Standard output is closed or cannot be written.
pub fn print_line(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(Failure::output)
}

/// Prints a table with one line per row; the first row is the heading.
///
/// # Errors
/// Standard output is closed or cannot be written.
pub fn print_table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Result<(), Failure> {
    let mut table = TabWriter::new(io::stdout()).padding(3);
    for row in rows {
        // A tab or line break inside a cell would move every cell after it.
        let cells: Vec<_> = row
            .iter()
            .map(|cell| cell.replace(['\t', '\n', '\r'], " "))
            .collect();
        writeln!(table, "{}", cells.join("\t").trim_end()).map_err(Failure::output)?;
    }
    table.flush().map_err(Failure::output)
}

/// Where results go: a file, or standard output.
pub struct Out {
    writer: BufWriter<Box<dyn Write + Send>>,
    name: String,
}

impl Out {
    /// Creates a file; standard output without a path. Do it before any work, so that a wrong
    /// path costs nothing.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let (writer, name): (Box<dyn Write + Send>, _) = match path {
            None => (Box::new(io::stdout()), "standard output".to_owned()),
            Some(path) => match File::create(path) {
                Ok(file) => (Box::new(file), path.display().to_string()),
                Err(e) => {
                    return Err(Failure::Failed(format!(
                        "cannot create {}: {e}",
                        path.display()
                    )));
                }
            },
        };
        Ok(Self {
            writer: BufWriter::new(writer),
            name,
        })
    }

    /// Writes bytes, and lets readers see them at once.
    ///
    /// # Errors
    /// The file cannot be written, or standard output was closed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self
            .writer
            .write_all(bytes)
            .and_then(|()| self.writer.flush());
        written.map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(format!("cannot write {}: {e}", self.name)),
        })
    }
}

/// A list of named values, one per line; absent values are left out.
#[derive(Default)]
pub struct Fields(Vec<[String; 2]>);

impl Fields {
    /// Adds a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push([name.to_owned(), value.to_string()]);
        self
    }

    /// Adds a value if there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Prints the list.
    ///
    /// # Errors
    /// Standard output is closed or cannot be written.
    pub fn print(&self) -> Result<(), Failure> {
        print_table(&self.0)
    }
}

/// Writes a share between 0 and 1 as a percentage.
pub fn percent(ratio: f64) -> String {
    format!("{:.2} %", ratio * 100.0)
}

/// Writes seconds with a unit that fits their size.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 600.0 => format!("{s:.2} s"),
        s => indicatif::HumanDuration(Duration::from_secs_f64(s)).to_string(),
    }
}

/// Writes a moment as the time that has passed since.
pub fn ago(epoch_seconds: f64) -> String {
    distance(now_epoch_seconds() - epoch_seconds, "ago")
}

/// Writes a moment as the time that is left until it comes.
pub fn ahead(epoch_seconds: f64) -> String {
    distance(epoch_seconds - now_epoch_seconds(), "from now")
}

fn distance(seconds: f64, direction: &str) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    format!("{} {direction}", indicatif::HumanDuration(duration))
}

/// Seconds since the Unix epoch.
pub fn now_epoch_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Cuts `text` to `max_chars` characters, showing that it was cut.
pub fn shorten(text: &str, max_chars: usize) -> String {
    let Some((cut, _)) = text.char_indices().nth(max_chars) else {
        return text.to_owned();
    };
    format!("{}…", &text[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_get_the_unit_that_fits() {
        assert_eq!(seconds(0.000_25), "250 µs");
        assert_eq!(seconds(0.0125), "12.5 ms");
        assert_eq!(seconds(2.5), "2.50 s");
        assert_eq!(seconds(3600.0), "60 minutes");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shorten("héllo", 2), "hé…");
        assert_eq!(shorten("héllo", 5), "héllo");
    }
}
