//! The machine that a figure belongs to.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// What a reader must know to judge a figure.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// Name of the processor.
    pub processor: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// Load averages of 1, 5 and 15 minutes, before the benchmark began.
    pub load_average: String,
    /// What the NATS server says of itself.
    pub nats_server: String,
    /// Build of the benchmark: figures of a debug build say nothing.
    pub build: &'static str,
}

impl Machine {
    /// Describes this machine, with the NATS server at that path.
    pub fn describe(nats_server: &Path) -> Self {
        let version = Command::new(nats_server).arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        Self {
            cores: cores(),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            memory_bytes: memory_bytes(),
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            load_average: line("/proc/loadavg")
                .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
                .unwrap_or_else(unknown),
            nats_server: version.map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn memory_bytes() -> u64 {
    let kibibytes = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// The first `name : value` of a file.
pub(crate) fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
