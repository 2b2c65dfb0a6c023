//! The folder for what belongs to one run, removed at its end: at once, or by the next run if this
//! one is killed.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "farm-up-";
const LOCK: &str = "running";

/// A temporary folder that says whether its run still goes on.
#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: TempDir,
    // The system lets go of the lock even when the process is killed.
    _lock: File,
}

impl RunFolder {
    /// Creates a folder in `parent`, and removes there what killed runs left.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        remove_abandoned(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let unlocked = folder.path().join("starting");
        let lock = File::create(&unlocked)?;
        lock.try_lock()?;
        // Only a lock that is held ever has its final name.
        fs::rename(unlocked, folder.path().join(LOCK))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders whose run has ended; what cannot be removed is somebody else's.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_run = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let lock = File::open(entry.path().join(LOCK));
        if is_run && lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_goes_and_what_runs_stays() {
        let parent = tempfile::tempdir().unwrap();
        let running = RunFolder::create(parent.path()).unwrap();
        let killed = parent.path().join("farm-up-killed");
        let starting = parent.path().join("farm-up-starting");
        for folder in [&killed, &starting] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(killed.join(LOCK), "").unwrap();
        let next = RunFolder::create(parent.path()).unwrap();
        assert!(!killed.exists() && starting.exists());
        assert!(running.path().exists() && next.path().exists());
        let path = running.path().to_owned();
        drop(running);
        assert!(!path.exists());
    }
}
