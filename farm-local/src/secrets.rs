//! Secrets: files that only this user may read, each given to the functions that ask for it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::gateway::USER;

/// The secret that a function lists to speak to the gateway's system API, as OpenFaaS names it.
pub(crate) const GATEWAY_SECRET: &str = "basic-auth";
const USER_FILE: &str = "basic-auth-user";
const PASSWORD_FILE: &str = "basic-auth-password";
/// For a gateway that asks for none.
const ANY_PASSWORD: &str = "none";
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

/// The secrets of the platform. Never shown, never logged.
pub(crate) struct Secrets {
    /// Those of the user, by name.
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    /// The files of [`GATEWAY_SECRET`], which stands in until the user has a secret of that name.
    gateway: [(&'static str, Vec<u8>); 2],
}

impl Secrets {
    /// These secrets, for a gateway with this password.
    pub(crate) fn new(values: BTreeMap<String, Vec<u8>>, password: Option<&str>) -> Self {
        let password = password.unwrap_or(ANY_PASSWORD);
        Self {
            values: Mutex::new(values),
            gateway: [(USER_FILE, USER.into()), (PASSWORD_FILE, password.into())],
        }
    }

    /// Reads every file of `folder`, as `faas-cli local-run` does with `.secrets`.
    pub(crate) fn load(folder: &Path, password: Option<&str>) -> io::Result<Self> {
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
        Ok(Self::new(values, password))
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.values().keys().cloned().collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        name == GATEWAY_SECRET || self.values().contains_key(name)
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

    /// Writes the secrets called `names` into `folder`, one file each, or one per key.
    pub(crate) fn mount(&self, names: &[String], folder: &Path) -> io::Result<PathBuf> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let values = self.values();
        for name in names {
            match values.get(name) {
                Some(value) => write(folder, name, value)?,
                None if name == GATEWAY_SECRET => {
                    for (file, value) in &self.gateway {
                        write(folder, file, value)?;
                    }
                }
                None => {}
            }
        }
        Ok(folder.to_owned())
    }
}

/// Moves it into place, so that a function reads the old value or the new one.
fn write(folder: &Path, file: &str, value: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let unfinished = folder.join(format!(".new-{file}"));
    options.open(&unfinished)?.write_all(value)?;
    fs::rename(unfinished, folder.join(file))
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

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_function_gets_the_secrets_it_names_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(BTreeMap::new(), None);
        secrets.create("one", b"1".to_vec()).unwrap();
        secrets.create("two", b"2".to_vec()).unwrap();
        let mount = secrets
            .mount(&["one".to_owned()], &folder.path().join("s"))
            .unwrap();
        assert_eq!(fs::read(mount.join("one")).unwrap(), b"1");
        assert!(!mount.join("two").exists());
        assert_eq!(mode(&mount.join("one")), 0o600);
    }

    #[test]
    fn the_gateways_credentials_are_there_until_the_user_has_a_secret_of_that_name() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(BTreeMap::new(), Some("pw"));
        let names = [GATEWAY_SECRET.to_owned()];
        let mount = |to: &str| secrets.mount(&names, &folder.path().join(to)).unwrap();
        let built_in = mount("built-in");
        assert_eq!(fs::read(built_in.join(USER_FILE)).unwrap(), b"admin");
        assert_eq!(fs::read(built_in.join(PASSWORD_FILE)).unwrap(), b"pw");
        assert_eq!(mode(&built_in.join(PASSWORD_FILE)), 0o600);
        assert!(secrets.names().is_empty(), "it is not the user's");

        secrets.create(GATEWAY_SECRET, b"mine".to_vec()).unwrap();
        let own = mount("own");
        assert_eq!(fs::read(own.join(GATEWAY_SECRET)).unwrap(), b"mine");
        assert!(!own.join(PASSWORD_FILE).exists());
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let secrets = Secrets::new(BTreeMap::new(), None);
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(
                matches!(secrets.create(name, vec![]), Err(SecretError::Name(_))),
                "{name:?}"
            );
        }
    }
}
