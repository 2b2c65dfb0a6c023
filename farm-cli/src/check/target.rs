//! What is to be checked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::failure::Failure;

/// What the word on the command line means.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// A running function.
    Url(Url),
    /// A folder with a `Cargo.toml`.
    Crate(PathBuf),
    /// A built function.
    Executable(PathBuf),
    /// An image of Docker's.
    Image(String),
}

impl Target {
    /// Tells them apart: an address has a scheme, what exists is a file or a folder, and the rest
    /// is the name of an image.
    ///
    /// # Errors
    /// A path that leads nowhere, or to what cannot be a function.
    pub fn parse(word: &str) -> Result<Self, Failure> {
        if word.starts_with("http://") || word.starts_with("https://") {
            let url = Url::parse(word)
                .map_err(|error| Failure::Usage(format!("{word} is no address: {error}")))?;
            return Ok(Target::Url(url));
        }
        let path = Path::new(word);
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                if !path.join("Cargo.toml").is_file() {
                    return Err(Failure::Usage(format!(
                        "{word} has no Cargo.toml: give the folder of a function's crate"
                    )));
                }
                Ok(Target::Crate(absolute(path)?))
            }
            Ok(found) if found.permissions().mode() & 0o111 != 0 => {
                Ok(Target::Executable(absolute(path)?))
            }
            Ok(_) => Err(Failure::Usage(format!(
                "{word} is no executable: give a crate, a built function, an image or a URL"
            ))),
            Err(_) if word.starts_with(['.', '/', '~']) => Err(Failure::Usage(format!(
                "{word} does not exist: give a crate, a built function, an image or a URL"
            ))),
            Err(_) if word.is_empty() || word.starts_with('-') => {
                Err(Failure::Usage(format!("{word:?} is no image")))
            }
            Err(_) => Ok(Target::Image(word.to_owned())),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let canonical = path.canonicalize();
    canonical.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_word_is_taken_for_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("plain"), "").unwrap();
        for wrong in [
            at("plain"),
            at(""),
            at("none"),
            "./none".into(),
            "-f".into(),
        ] {
            assert!(
                matches!(Target::parse(&wrong), Err(Failure::Usage(_))),
                "{wrong}"
            );
        }
        std::fs::write(at("Cargo.toml"), "").unwrap();
        assert!(matches!(Target::parse(&at("")).unwrap(), Target::Crate(_)));
        assert!(matches!(
            Target::parse("/bin/sh").unwrap(),
            Target::Executable(_)
        ));
        assert!(matches!(
            Target::parse("http://g:8080/function/f").unwrap(),
            Target::Url(_)
        ));
        assert_eq!(
            Target::parse("me/hello:1").unwrap(),
            Target::Image("me/hello:1".into())
        );
    }
}
