//! Secrets are files of one folder. What is there but cannot be read is never taken for absent: a
//! secret that is missed opens a door.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::access::AccessError;

/// The folder that `text` names, for who says where secrets are instead of leaving it open.
///
/// # Errors
/// It does not exist, or is no folder; what to do about it.
pub fn secrets_folder(text: &str) -> Result<PathBuf, String> {
    let wrong = |cause: String| format!("{text:?}: {cause}; name the folder where secrets are");
    match std::fs::metadata(text) {
        Ok(found) if found.is_dir() => Ok(text.into()),
        Ok(_) => Err(wrong("it is no folder".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The text of a secret file without white space around it; `None` if there is no such file.
///
/// # Errors
/// [`AccessError::Unreadable`] names the file. A link that leads nowhere is not an absent file.
pub fn read_secret(file: &Path) -> Result<Option<String>, AccessError> {
    if !is_there(file)? {
        return Ok(None);
    }
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => Err(unreadable(file, &error)),
    }
}

/// Whether there is anything of that name.
pub(crate) fn is_there(file: &Path) -> Result<bool, AccessError> {
    match std::fs::symlink_metadata(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unreadable(file, &error)),
    }
}

pub(crate) fn unreadable(file: &Path, error: &std::io::Error) -> AccessError {
    AccessError::Unreadable {
        file: file.display().to_string(),
        cause: match error.kind() {
            ErrorKind::NotFound => "it is a link to a file that does not exist".to_owned(),
            _ => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_nothing_is_not_an_absent_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        assert_eq!(read_secret(&file), Ok(None));
        std::os::unix::fs::symlink(folder.path().join("gone"), &file).unwrap();
        let said = read_secret(&file).unwrap_err().to_string();
        assert!(said.contains("secret: it is a link"), "{said}");
        std::fs::write(folder.path().join("gone"), " text\n").unwrap();
        assert_eq!(read_secret(&file), Ok(Some("text".to_owned())));
    }

    #[test]
    fn a_folder_that_is_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().to_str().unwrap();
        assert_eq!(secrets_folder(named).as_deref(), Ok(folder.path()));
        let file = format!("{named}/file");
        assert!(secrets_folder(&file).unwrap_err().contains("/file"));
        std::fs::write(&file, "").unwrap();
        assert!(secrets_folder(&file).unwrap_err().contains("no folder"));
    }
}
