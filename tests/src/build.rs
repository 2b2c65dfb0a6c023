//! The binaries under test, each built once per test run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

/// One line of cargo's JSON output, as far as it matters.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// The folder that holds the workspace.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The executable of `package`, built from this checkout: in the dev profile, or for measuring,
/// with `FARM_TESTS_RELEASE` set, in the release profile.
///
/// # Panics
/// If it does not build.
pub fn binary(package: &'static str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<&str, Option<PathBuf>>>> = Mutex::new(None);
    // Each change of the map is one call, so that a panic leaves it whole.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let executable = built
        .get_or_insert_default()
        .entry(package)
        .or_insert_with(|| build(package))
        .clone();
    // A build that failed is not tried again for each of the other tests.
    executable.unwrap_or_else(|| panic!("{package} does not build: see above"))
}

/// Hides what cargo tells this test of its own package: build scripts that look at it would run
/// again, and half the dependencies be built anew, each time.
pub(crate) fn without_package(command: &mut Command) {
    for (key, _) in std::env::vars_os() {
        let key_text = key.to_string_lossy();
        if key_text.starts_with("CARGO_PKG_") || key_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
}

fn build(package: &str) -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("build");
    without_package(&mut command);
    if std::env::var_os("FARM_TESTS_RELEASE").is_some() {
        command.arg("--release");
    }
    let built = command
        .current_dir(repository())
        .args(["--quiet", "--message-format=json", "-p", package])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    if !built.status.success() {
        return None;
    }
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable)
        .next_back()
}
