//! Arrivals that were recorded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arrivals::LONGEST_SECONDS;
use super::{Deadline, Stream, Task};
use crate::{Nanoseconds, nanoseconds};

/// A recorded stream: arrival times and, where they were measured, service times.
///
/// Its file is CSV with a heading: `arrival_seconds` and optionally `service_seconds`, one line a
/// task, in the order of arrival.
///
/// ```
/// use farm_sim::workload::Recording;
/// let recording = Recording::parse("arrival_seconds,service_seconds\n0.0,1.5\n0.2,0.7\n")?;
/// assert_eq!(recording.len(), 2);
/// let wrong = Recording::parse("arrival_seconds\n3\nfour\n").unwrap_err();
/// assert_eq!(wrong.to_string(), "line 3: \"four\" is no time in seconds from 0 to 31622400");
/// # Ok::<(), farm_sim::workload::RecordingError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Columns")]
pub struct Recording {
    arrival_seconds: Arc<[f64]>,
    service_seconds: Option<Arc<[f64]>>,
}

/// A recording as it is written, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Columns {
    arrival_seconds: Vec<f64>,
    #[serde(default)]
    service_seconds: Option<Vec<f64>>,
}

/// No task takes longer.
const LONGEST_SERVICE_SECONDS: f64 = 86_400.0;

impl TryFrom<Columns> for Recording {
    type Error = String;

    fn try_from(columns: Columns) -> Result<Self, String> {
        let arrivals = &columns.arrival_seconds;
        let fits = |seconds: &f64| (0.0..=LONGEST_SECONDS).contains(seconds);
        if !(arrivals.iter().all(fits) && arrivals.is_sorted()) {
            return Err(format!(
                "arrival_seconds: use ascending times from 0 to {LONGEST_SECONDS}"
            ));
        }
        let services = columns.service_seconds.as_ref();
        let fits = |seconds: &f64| (0.0..=LONGEST_SERVICE_SECONDS).contains(seconds);
        let sound = services.is_none_or(|all| all.len() == arrivals.len() && all.iter().all(fits));
        if !sound {
            return Err(format!(
                "service_seconds: use one time from 0 to {LONGEST_SERVICE_SECONDS} for each arrival"
            ));
        }
        Ok(Self {
            arrival_seconds: columns.arrival_seconds.into(),
            service_seconds: columns.service_seconds.map(Into::into),
        })
    }
}

/// A file that is no recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct RecordingError {
    line: usize,
    cause: String,
}

impl Recording {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that cannot be read, and why.
    pub fn parse(text: &str) -> Result<Self, RecordingError> {
        let mut lines = text.lines().enumerate();
        let fail = |line: usize, cause: String| RecordingError {
            line: line + 1,
            cause,
        };
        let heading = lines.next().map_or("", |(_, line)| line.trim());
        let columns: Vec<&str> = heading.split(',').map(str::trim).collect();
        let column = |name| columns.iter().position(|column| *column == name);
        let arrival = column("arrival_seconds").ok_or_else(|| {
            fail(
                0,
                format!("the heading {heading:?} has no column arrival_seconds"),
            )
        })?;
        let service = column("service_seconds");
        let mut arrivals: Vec<f64> = Vec::new();
        let mut services = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let read = |index: usize, longest_seconds: f64| {
                let cell = cells.get(index).copied().unwrap_or_default();
                match cell.parse::<f64>() {
                    Ok(seconds) if (0.0..=longest_seconds).contains(&seconds) => Ok(seconds),
                    _ => Err(fail(
                        number,
                        format!("{cell:?} is no time in seconds from 0 to {longest_seconds}"),
                    )),
                }
            };
            let at = read(arrival, LONGEST_SECONDS)?;
            if arrivals.last().is_some_and(|last| at < *last) {
                return Err(fail(
                    number,
                    format!("{at} s is before the arrival above it"),
                ));
            }
            arrivals.push(at);
            if let Some(service) = service {
                services.push(read(service, LONGEST_SERVICE_SECONDS)?);
            }
        }
        Ok(Self {
            arrival_seconds: arrivals.into(),
            service_seconds: service.map(|_| services.into()),
        })
    }

    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.arrival_seconds.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.arrival_seconds.is_empty()
    }

    /// Whether service times were recorded.
    pub fn has_service(&self) -> bool {
        self.service_seconds.is_some()
    }

    pub(super) fn fill(
        &self,
        rate_factor: f64,
        service_factor: f64,
        deadline: Deadline,
        stream: &mut Stream,
    ) {
        for (index, arrival_seconds) in self.arrival_seconds.iter().enumerate() {
            let service = self.service_seconds.as_ref().and_then(|all| all.get(index));
            let service_seconds = service.map_or(0.0, |seconds| seconds * service_factor);
            let due = deadline.seconds(service_seconds);
            stream.tasks.push(Task {
                arrival: nanoseconds(arrival_seconds / rate_factor),
                service: nanoseconds(service_seconds),
                deadline: due.map_or(Nanoseconds::MAX, nanoseconds),
            });
        }
    }
}
