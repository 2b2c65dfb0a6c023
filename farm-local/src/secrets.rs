//! Secrets: files that only this user may read, each given to the functions that ask for it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Largest secret, as Kubernetes has it.
const MAX_BYTES: usize = 1 << 20;

/// Why a secret was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("a secret of that name exists already")]
    Exists,
    #[error("there is no secret of that name")]
    Missing,
    #[error("{0:?} is no name for a secret: use letters, digits, '-', '_' and '.'")]
    Name(String),
    #[error("a secret holds at most {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it cannot be given to a function: {0}")]
    Mount(#[from] io::Error),
    #[error("the body is no secret")]
    Body,
    #[error("rawValue is not base64")]
    Encoding,
}

/// The secrets of the platform, by name. Never shown, never logged.
#[derive(Default)]
pub(crate) struct Secrets(Mutex<BTreeMap<String, Vec<u8>>>);

impl Secrets {
    /// Reads every file of `folder`, as `faas-cli local-run` does with `.secrets`.
    pub(crate) fn load(folder: &Path) -> io::Result<Self> {
        let mut values = BTreeMap::new();
        if folder.is_dir() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_file() && check(&name, &[]).is_ok() {
                    values.insert(name, fs::read(entry.path())?);
                }
            }
        }
        Ok(Self(Mutex::new(values)))
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.values().keys().cloned().collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values().contains_key(name)
    }

    pub(crate) fn create(&self, name: &str, value: Vec<u8>) -> Result<(), SecretError> {
        check(name, &value)?;
        let mut values = self.values();
        if values.contains_key(name) {
            return Err(SecretError::Exists);
        }
        values.insert(name.to_owned(), value);
        Ok(())
    }

    pub(crate) fn update(&self, name: &str, value: Vec<u8>) -> Result<(), SecretError> {
        check(name, &value)?;
        match self.values().get_mut(name) {
            Some(old) => *old = value,
            None => return Err(SecretError::Missing),
        }
        Ok(())
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), SecretError> {
        let removed = self.values().remove(name);
        removed.map(drop).ok_or(SecretError::Missing)
    }

    /// Writes the secrets called `names` into `folder`, one file each.
    pub(crate) fn mount(&self, names: &[String], folder: &Path) -> io::Result<PathBuf> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let values = self.values();
        for name in names {
            if let Some(value) = values.get(name) {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(0o600);
                // Moved into place, so that a function reads the old value or the new one.
                let unfinished = folder.join(format!(".new-{name}"));
                options.open(&unfinished)?.write_all(value)?;
                fs::rename(unfinished, folder.join(name))?;
            }
        }
        Ok(folder.to_owned())
    }
}

fn check(name: &str, value: &[u8]) -> Result<(), SecretError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > 253 || !name.chars().all(plain) {
        return Err(SecretError::Name(name.to_owned()));
    }
    if value.len() > MAX_BYTES {
        return Err(SecretError::TooLarge);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_function_gets_the_secrets_it_names_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::default();
        secrets.create("one", b"1".to_vec()).unwrap();
        secrets.create("two", b"2".to_vec()).unwrap();
        let mount = secrets
            .mount(&["one".to_owned()], &folder.path().join("s"))
            .unwrap();
        assert_eq!(fs::read(mount.join("one")).unwrap(), b"1");
        assert!(!mount.join("two").exists());
        let mode = fs::metadata(mount.join("one"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let secrets = Secrets::default();
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(
                matches!(secrets.create(name, vec![]), Err(SecretError::Name(_))),
                "{name:?}"
            );
        }
    }
}
