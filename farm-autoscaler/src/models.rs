//! The files of trained policies: built in, or in the folder `FARM_MODEL_DIR`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use farm_policy::learned::{Artefact, BuiltInModels, MAX_ARTEFACT_BYTES, Models};

/// Reads a model once, and again when its file has changed: functions are listed every few seconds.
pub(crate) struct ModelFiles {
    folder: Folder,
    loaded: Mutex<HashMap<String, Loaded>>,
}

struct Loaded {
    stamp: Stamp,
    outcome: Result<Arc<Artefact>, String>,
}

/// What changes with a file: its size and its time.
#[derive(PartialEq)]
struct Stamp(u64, Option<SystemTime>);

impl ModelFiles {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: Folder(folder.to_owned()),
            loaded: Mutex::default(),
        }
    }
}

impl Models for ModelFiles {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.folder.read(name)
    }

    fn load(&self, name: &str) -> Result<Arc<Artefact>, String> {
        let stamp = match is_built_in(name) {
            true => Stamp(0, None),
            false => self.folder.find(name)?.1,
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.get(name).filter(|known| known.stamp == stamp) {
            return known.outcome.clone();
        }
        let outcome = self.folder.load(name);
        let read = Loaded {
            stamp,
            outcome: outcome.clone(),
        };
        loaded.insert(name.to_owned(), read);
        outcome
    }
}

/// Reads whenever it is asked.
struct Folder(PathBuf);

impl Folder {
    fn find(&self, name: &str) -> Result<(PathBuf, Stamp), String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_allowed) {
            return Err(format!(
                "{name:?} is not the name of a file: letters, digits, '.', '_' and '-' make one"
            ));
        }
        let (path, folder) = (self.0.join(name), self.0.display());
        match fs::metadata(&path) {
            Ok(file) if file.is_file() => Ok((path, Stamp(file.len(), file.modified().ok()))),
            Ok(_) => Err(format!("{name:?} is not a file in {folder}")),
            Err(error) => {
                let built_in: Vec<&str> = BuiltInModels::names().collect();
                let built_in = built_in.join(", ");
                Err(format!(
                    "{name:?} is not in {folder} ({error}), nor built in ({built_in})"
                ))
            }
        }
    }
}

impl Models for Folder {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        if is_built_in(name) {
            return BuiltInModels.read(name);
        }
        let (path, _) = self.find(name)?;
        let explain = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut bytes = Vec::new();
        // One byte more than is allowed tells a file that is too large.
        let most = MAX_ARTEFACT_BYTES as u64 + 1;
        let file = File::open(&path).map_err(explain)?;
        file.take(most).read_to_end(&mut bytes).map_err(explain)?;
        Ok(bytes.into())
    }
}

fn is_built_in(name: &str) -> bool {
    BuiltInModels::names().any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use farm_policy::learned::{ActionSpace, Contract, Table};

    use super::*;

    fn table(interval_seconds: f64) -> String {
        let contract = Contract {
            interval_seconds,
            ..Contract::paper(ActionSpace::unit_steps())
        };
        Table::new(contract, vec![]).to_json()
    }

    #[test]
    fn a_file_is_read_once_and_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let models = ModelFiles::new(folder.path());
        let path = folder.path().join("mine.json");

        let missing = models.load("mine.json").unwrap_err();
        assert!(missing.starts_with("\"mine.json\" is not in "), "{missing}");
        assert!(
            missing.contains(&folder.path().display().to_string()),
            "{missing}"
        );

        fs::write(&path, "{}").unwrap();
        let malformed = models.load("mine.json").unwrap_err();
        assert!(
            malformed.starts_with("\"mine.json\": the table is malformed"),
            "{malformed}"
        );

        fs::write(&path, table(8.0)).unwrap();
        let first = models.load("mine.json").unwrap();
        assert_eq!(first.contract().interval_seconds, 8.0);
        assert!(Arc::ptr_eq(&first, &models.load("mine.json").unwrap()));

        fs::write(&path, table(0.25)).unwrap();
        let second = models.load("mine.json").unwrap();
        assert_eq!(second.contract().interval_seconds, 0.25);
    }

    #[test]
    fn only_plain_files_of_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let models = ModelFiles::new(&folder.path().join("models"));
        fs::create_dir_all(folder.path().join("models/inner")).unwrap();
        fs::write(folder.path().join("secret"), table(8.0)).unwrap();
        for name in [
            "../secret",
            "..",
            ".",
            "",
            "/etc/passwd",
            "inner/../../secret",
            "a\\b",
            "a\0",
        ] {
            let refused = models.load(name).unwrap_err();
            assert!(
                refused.contains("is not the name of a file"),
                "{name:?}: {refused}"
            );
        }
        let refused = models.load("inner").unwrap_err();
        assert!(refused.contains("is not a file in "), "{refused}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("large")).unwrap();
        file.set_len(1 << 40).unwrap();
        let models = ModelFiles::new(folder.path());
        let refused = models.load("large").unwrap_err();
        assert!(
            refused.contains("more than the 16777216 of the largest artefact"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_built_in_goes_first() {
        for name in BuiltInModels::names() {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), "{}").unwrap();
            let models = ModelFiles::new(folder.path());
            assert!(models.load(name).is_ok(), "{name}");
        }
    }
}
