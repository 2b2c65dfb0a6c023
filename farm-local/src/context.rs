//! The build context of a function: the folder `faas-cli build --shrinkwrap` would leave.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::stack::{Stack, StackFunction};
use crate::template::{IgnoredTargets, Template};

/// Top-level entries of a handler that are never copied.
const NEVER_COPIED: [&str; 2] = ["build", "template"];

/// A build context that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A file or folder could not be copied.
    #[error("function {function}: the build context cannot be written: {}: {source}", path.display())]
    Copy {
        /// The function.
        function: String,
        /// What was being read or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `configuration.copy` names a path outside the stack's folder.
    #[error("configuration.copy: {} is not inside the folder of the stack file", .0.display())]
    OutsideStack(PathBuf),
}

/// A written build context.
#[derive(Debug, Clone)]
pub struct BuildContext {
    /// `build/<function>` beside the stack file.
    pub folder: PathBuf,
    /// The crate inside it.
    pub handler: PathBuf,
}

impl BuildContext {
    /// Writes the context of `function` as `faas-cli` does: the old one is deleted, the template
    /// copied, the handler laid over it, and the extra paths of the stack put under the handler.
    ///
    /// Cargo's `target` folders are left out if the template's `.dockerignore` says so: Docker
    /// would drop them from the context.
    ///
    /// # Errors
    /// The path that could not be copied, or that may not be.
    pub fn write(
        stack: &Stack,
        function: &StackFunction,
        template: &Template,
    ) -> Result<Self, ContextError> {
        let folder = stack.folder.join("build").join(&function.name);
        let handler = folder.join(&template.handler_folder);
        let failed = |(path, source)| ContextError::Copy {
            function: function.name.clone(),
            path,
            source,
        };
        let copier = Copier {
            ignored: template.ignored,
            context: &folder,
        };

        copier.clear(&folder).map_err(failed)?;
        fs::create_dir_all(&handler).map_err(|error| failed((handler.clone(), error)))?;
        copier.copy(&template.folder, &folder).map_err(failed)?;
        copier
            .overlay(&stack.folder.join(&function.handler), &handler)
            .map_err(failed)?;
        for extra in &stack.copy {
            let inside = inside(&stack.folder, extra)?;
            copier
                .copy(&stack.folder.join(&inside), &handler.join(&inside))
                .map_err(failed)?;
        }
        Ok(Self { folder, handler })
    }
}

type Failure = (PathBuf, io::Error);

struct Copier<'a> {
    ignored: IgnoredTargets,
    context: &'a Path,
}

impl Copier<'_> {
    fn clear(&self, folder: &Path) -> Result<(), Failure> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err((folder.to_owned(), error))
            }
            _ => Ok(()),
        }
    }

    /// Copies what is in `from`, except what belongs to the stack rather than to the handler.
    fn overlay(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        for name in entries(from)? {
            if !NEVER_COPIED.iter().any(|never| name.as_os_str() == *never) {
                self.copy(&from.join(&name), &to.join(&name))?;
            }
        }
        Ok(())
    }

    /// Copies a file with its mode, or a folder with all that is in it; symbolic links are followed.
    fn copy(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        if self
            .ignored
            .ignores(to.strip_prefix(self.context).unwrap_or(to))
        {
            return Ok(());
        }
        let at = |path: &Path| {
            let path = path.to_owned();
            |error| (path, error)
        };
        if !fs::metadata(from).map_err(at(from))?.is_dir() {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder).map_err(at(folder))?;
            }
            return fs::copy(from, to).map(drop).map_err(at(from));
        }
        fs::create_dir_all(to).map_err(at(to))?;
        for name in entries(from)? {
            self.copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let names = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().into()))
            .collect()
    };
    names().map_err(|error| (folder.to_owned(), error))
}

/// `path` without `.` and `..`, relative to `folder`; refused if it is not below it.
fn inside(folder: &Path, path: &Path) -> Result<PathBuf, ContextError> {
    let mut resolved = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved.pop();
            }
            part => resolved.push(part),
        }
    }
    match resolved.strip_prefix(folder) {
        Ok(below) if !below.as_os_str().is_empty() => Ok(below.to_owned()),
        _ => Err(ContextError::OutsideStack(path.to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_extra_path_stays_below_the_stack() {
        let folder = Path::new("/s/stack");
        assert_eq!(
            inside(folder, Path::new("./a/../common")).unwrap(),
            Path::new("common")
        );
        assert_eq!(
            inside(folder, Path::new("/s/stack/x")).unwrap(),
            Path::new("x")
        );
        for outside in [".", "..", "../stack2", "a/../..", "/etc"] {
            assert!(inside(folder, Path::new(outside)).is_err(), "{outside}");
        }
    }
}
