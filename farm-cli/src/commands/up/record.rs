//! What a running `farm up` leaves beside its stack file, so that other commands find it.

use std::error::Error;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use farm_local::Platform;
use serde_json::{Value, json};

/// The file `.farm/up.json`, ours while this lives: removed when dropped.
pub struct Record {
    file: PathBuf,
    // Locked for as long as it is open, also by a process that was killed.
    _lock: File,
}

impl Record {
    /// Claims the folder for this process.
    ///
    /// # Errors
    /// Another `farm up` runs there.
    pub fn claim(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let file = folder.join("up.json");
        let lock_file = folder.join("up.lock");
        let lock = File::create(&lock_file)
            .map_err(|error| format!("{}: {error}", lock_file.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(already_running(&file).into()),
            Err(TryLockError::Error(error)) => {
                return Err(format!("{}: {error}", lock_file.display()).into());
            }
        }
        // What a killed process left.
        let _ = fs::remove_file(&file);
        Ok(Self { file, _lock: lock })
    }

    /// Writes where the platform is, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, platform: &Platform) -> Result<(), Box<dyn Error>> {
        let names: Vec<String> = platform
            .functions()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let record = json!({
            "gateway_url": platform.gateway_url(),
            "nats_url": platform.nats_url(),
            "pid": std::process::id(),
            "functions": names,
        });
        let failed = |error: std::io::Error| format!("{}: {error}", self.file.display());
        let unfinished = self.file.with_extension("json.new");
        // The URL of a joined NATS server may hold a password.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&unfinished)
            .and_then(|mut file| file.write_all(record.to_string().as_bytes()))
            .map_err(failed)?;
        fs::rename(&unfinished, &self.file).map_err(failed)?;
        Ok(())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn already_running(file: &Path) -> String {
    let record: Value = fs::read(file)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    match (record["pid"].as_u64(), record["gateway_url"].as_str()) {
        (Some(pid), Some(url)) => {
            format!("farm up runs here already (process {pid}, gateway {url}): stop it first")
        }
        _ => "farm up is being started here already: stop it first".to_owned(),
    }
}
