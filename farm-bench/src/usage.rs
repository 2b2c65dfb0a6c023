//! What a process has used so far, as the kernel counts it.

use std::fs;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;

/// Fields of the processors' line: idle, and waiting for disks next to it.
const IDLE: usize = 3;
/// The last field that counts: time that other virtual machines took.
const STOLEN: usize = 7;

/// Counts since the process started; a difference of two of them is what a stretch of time cost.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Usage {
    /// Processor time of all its threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Times a thread of it went to sleep: as often it was woken.
    pub sleeps: u64,
    /// Bytes it caused to be written to disk.
    pub disk_bytes: u64,
}

impl Usage {
    /// Reads the counts of process `id`.
    pub fn of(id: u32) -> Result<Self, Error> {
        let stat = read(id, "stat")?;
        // The name of the program, in brackets, may hold anything.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<u64>().ok())
        };
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            return Err(unreadable(id, "stat"));
        };
        let ticked = (user + system) as f64 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self {
            // Exact, but without threads that have ended; the ticks have them, in steps of 10 ms.
            cpu_seconds: scheduled_seconds(id).max(ticked),
            sleeps: sleeps(id),
            disk_bytes: number(id, "io", "write_bytes").unwrap_or(0),
        })
    }
}

impl Sub for Usage {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            sleeps: self.sleeps.saturating_sub(earlier.sleeps),
            disk_bytes: self.disk_bytes.saturating_sub(earlier.disk_bytes),
        }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}

impl Add for Usage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
            sleeps: self.sleeps + other.sleeps,
            disk_bytes: self.disk_bytes + other.disk_bytes,
        }
    }
}

/// Processor time that all processes of the machine, and its hypervisor, have used, in seconds.
pub(crate) fn machine_cpu_seconds() -> Result<f64, Error> {
    let what = "/proc/stat";
    let unreadable = || Error::Proc {
        what: what.to_owned(),
    };
    let text = fs::read_to_string(what).map_err(|_| unreadable())?;
    let line = text.lines().next().ok_or_else(unreadable)?;
    let ticks = line.split_whitespace().skip(1).take(STOLEN + 1);
    let ticks: Vec<u64> = ticks.filter_map(|field| field.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(IDLE).take(2).sum();
    Ok((all - idle) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Resident memory of process `id`, in bytes.
pub(crate) fn resident_bytes(id: u32) -> Result<u64, Error> {
    number(id, "status", "VmRSS")
        .map(|kibibytes| kibibytes * 1024)
        .ok_or_else(|| unreadable(id, "status"))
}

/// Folders of the threads of process `id`.
fn threads(id: u32) -> impl Iterator<Item = PathBuf> {
    let threads = fs::read_dir(format!("/proc/{id}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads.map(|thread| thread.path())
}

fn scheduled_seconds(id: u32) -> f64 {
    let nanoseconds = threads(id).filter_map(|thread| {
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

fn sleeps(id: u32) -> u64 {
    let counts = threads(id).filter_map(|thread| {
        let status = thread.join("status");
        let count = crate::machine::field(status.to_str()?, "voluntary_ctxt_switches")?;
        count.parse::<u64>().ok()
    });
    counts.sum()
}

fn number(id: u32, file: &str, name: &str) -> Option<u64> {
    let text = crate::machine::field(&format!("/proc/{id}/{file}"), name)?;
    text.split_whitespace().next()?.parse().ok()
}

fn read(id: u32, file: &str) -> Result<String, Error> {
    fs::read_to_string(format!("/proc/{id}/{file}")).map_err(|_| unreadable(id, file))
}

fn unreadable(id: u32, file: &str) -> Error {
    Error::Proc {
        what: format!("/proc/{id}/{file}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_process_shows() {
        let id = std::process::id();
        let (before, all_before) = (Usage::of(id).unwrap(), machine_cpu_seconds().unwrap());
        // Ends because the count grows, and only then.
        while (Usage::of(id).unwrap() - before).cpu_seconds < 0.03 {
            std::hint::black_box(crate::task::spin(1000));
        }
        assert!(machine_cpu_seconds().unwrap() > all_before);
        assert!(resident_bytes(id).unwrap() > 100_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        assert!(matches!(Usage::of(u32::MAX), Err(Error::Proc { .. })));
    }
}
