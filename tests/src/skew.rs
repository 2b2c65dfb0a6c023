//! Clocks that go wrong: a library that shifts the time of day of the processes it is loaded into.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Shifts `CLOCK_REALTIME` by the nanoseconds that stand in a file, which is mapped into memory:
/// writing to the file moves the clock of a process that runs.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset_nanoseconds;

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("SKEW_FILE");
    int opened = file ? open(file, O_RDONLY) : -1;
    if (opened < 0) return;
    void *mapped = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, opened, 0);
    close(opened);
    if (mapped != MAP_FAILED) offset_nanoseconds = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (failed || clock != CLOCK_REALTIME || !offset_nanoseconds) return failed;
    int64_t nanoseconds = time->tv_nsec + *offset_nanoseconds % 1000000000;
    time->tv_sec += *offset_nanoseconds / 1000000000;
    if (nanoseconds < 0) { nanoseconds += 1000000000; time->tv_sec--; }
    if (nanoseconds >= 1000000000) { nanoseconds -= 1000000000; time->tv_sec++; }
    time->tv_nsec = nanoseconds;
    return 0;
}
"#;

/// The library, and the clocks that hang on it.
pub struct Skew {
    folder: TempDir,
}

impl Skew {
    /// Compiles the library with the system's C compiler.
    ///
    /// # Panics
    /// If there is none.
    pub fn compile() -> Self {
        let skew = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        let source = skew.folder.path().join("skew.c");
        std::fs::write(&source, SOURCE).expect("a source file");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(skew.shim())
            .arg(source)
            .status();
        assert!(compiled.expect("cc can be run").success());
        skew
    }

    /// The file for `LD_PRELOAD`.
    pub fn shim(&self) -> PathBuf {
        self.folder.path().join("skew.so")
    }

    /// A clock for one process: the file for `SKEW_FILE`.
    pub fn clock(&self, name: &str) -> Clock {
        let clock = Clock {
            file: self.folder.path().join(name),
        };
        clock.set_seconds(0);
        clock
    }
}

/// The clock of one process.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The file that holds its offset.
    pub file: PathBuf,
}

impl Clock {
    /// Sets how far it is ahead, in seconds.
    pub fn set_seconds(&self, seconds: i64) {
        let nanoseconds = (seconds * 1_000_000_000).to_ne_bytes();
        // In place: the mapping is of this very file.
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &nanoseconds))
            .expect("a clock can be set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_of(skew: &Skew, clock: &Clock) -> i64 {
        let program = std::env::current_exe().unwrap();
        let printed = Command::new(program)
            .args(["--exact", "skew::tests::prints_the_time", "--nocapture"])
            .env("LD_PRELOAD", skew.shim())
            .env("SKEW_FILE", &clock.file)
            .output()
            .unwrap();
        let text = String::from_utf8(printed.stdout).unwrap();
        let (_, rest) = text.split_once("now=").expect("the time is printed");
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn prints_the_time() {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        println!("now={} ", now.as_secs());
    }

    #[test]
    fn a_rust_process_lives_an_hour_ahead() {
        let skew = Skew::compile();
        let clock = skew.clock("a");
        let true_time = seconds_of(&skew, &clock);
        clock.set_seconds(3600);
        let ahead = seconds_of(&skew, &clock) - true_time;
        assert!((3600..3660).contains(&ahead), "{ahead}");
    }
}
