//! A folder as tasks: one per file, content and all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use walkdir::{DirEntry, WalkDir};

use crate::failure::Failure;

const MAX_FILES: usize = 1_000_000;
const MAX_DEPTH: usize = 64;
/// Read whole, one file at a time. NATS carries at most 64 MiB in one message.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// The task made of one file.
#[derive(Serialize)]
struct FileTask<'a> {
    name: &'a str,
    bytes_base64: String,
}

/// The files of a folder, in the order they are sent.
#[derive(Debug)]
pub struct FileTasks {
    files: Vec<(String, PathBuf)>,
}

impl FileTasks {
    /// Finds the regular files under `root`, sorted, without hidden ones; links are not followed.
    /// If `root` is a file, it is the only one.
    ///
    /// # Errors
    /// Nothing found, too many files or folders inside folders, a name that is no Unicode, or a
    /// folder that cannot be read.
    pub fn find(root: &Path) -> Result<Self, Failure> {
        let walk = WalkDir::new(root).max_depth(MAX_DEPTH).sort_by_file_name();
        let mut files = Vec::new();
        for entry in walk
            .into_iter()
            .filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry))
        {
            let entry =
                entry.map_err(|e| Failure::Refused(format!("cannot read a folder: {e}")))?;
            if entry.depth() == MAX_DEPTH && entry.file_type().is_dir() {
                return Err(refused(
                    entry.path(),
                    "lies too deep",
                    "submit its parent folders one by one",
                ));
            }
            if !is_file(&entry) {
                continue;
            }
            if files.len() == MAX_FILES {
                return Err(refused(
                    root,
                    "has more than a million files",
                    "submit its folders one by one",
                ));
            }
            files.push((name_below(root, entry.path())?, entry.into_path()));
        }
        if files.is_empty() {
            return Err(refused(
                root,
                "has no files to submit",
                "hidden files and links are skipped",
            ));
        }
        Ok(Self { files })
    }

    /// The name of the task at a 0-based position.
    pub fn name(&self, position: usize) -> Option<&str> {
        self.files.get(position).map(|(name, _)| name.as_str())
    }

    /// The tasks as NDJSON, each file read when its turn comes.
    pub fn lines(self: Arc<Self>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold((self, 0), |(tasks, position)| async move {
            let Some((name, path)) = tasks.files.get(position) else {
                return Ok(None);
            };
            let line = line(name, path)
                .await
                .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
            Ok(Some((line, (tasks, position + 1))))
        })
    }
}

async fn line(name: &str, path: &Path) -> io::Result<Bytes> {
    if tokio::fs::metadata(path).await?.len() > FILE_MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 64 MiB, which no task can be: submit its address instead of its content",
        ));
    }
    let bytes_base64 = BASE64_STANDARD.encode(tokio::fs::read(path).await?);
    let mut line = serde_json::to_vec(&FileTask { name, bytes_base64 })?;
    line.push(b'\n');
    Ok(line.into())
}

/// The argument itself may be a link; what is found below it may not.
fn is_file(entry: &DirEntry) -> bool {
    match entry.depth() {
        0 => entry.path().is_file(),
        _ => entry.file_type().is_file(),
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn name_below(root: &Path, path: &Path) -> Result<String, Failure> {
    let below = path.strip_prefix(root).unwrap_or(path);
    let name = if below.as_os_str().is_empty() {
        path.file_name().map(Path::new)
    } else {
        Some(below)
    };
    let parts: Option<Vec<&str>> =
        name.and_then(|name| name.iter().map(|part| part.to_str()).collect());
    match parts {
        Some(parts) => Ok(parts.join("/")),
        None => Err(refused(path, "has a name that is no Unicode", "rename it")),
    }
}

fn refused(path: &Path, what: &str, next: &str) -> Failure {
    Failure::Refused(format!("{} {what}: {next}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::TryStreamExt;
    use std::fs;

    async fn tasks_of(root: &Path) -> Vec<serde_json::Value> {
        let tasks = Arc::new(FileTasks::find(root).unwrap());
        let lines: Vec<Bytes> = tasks.lines().try_collect().await.unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn files_are_sorted_and_named_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for (path, content) in [("b/2.txt", "two"), ("b/1.txt", "one"), ("a.txt", "zero")] {
            fs::write(folder.path().join(path), content).unwrap();
        }
        let tasks = tasks_of(folder.path()).await;
        let names: Vec<_> = tasks
            .iter()
            .map(|task| task["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["a.txt", "b/1.txt", "b/2.txt"]);
        assert_eq!(tasks[0]["bytes_base64"], "emVybw==");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn hidden_files_and_links_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        for path in [".git/config", ".hidden", "seen"] {
            fs::write(folder.path().join(path), path).unwrap();
        }
        std::os::unix::fs::symlink("seen", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("..", folder.path().join("loop")).unwrap();
        let tasks = tasks_of(folder.path()).await;
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0]["name"], "seen");
    }

    #[tokio::test]
    async fn a_single_file_keeps_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("photo.jpg");
        fs::write(&file, [0xff, 0xd8]).unwrap();
        assert_eq!(tasks_of(&file).await[0]["name"], "photo.jpg");
    }

    #[test]
    fn an_empty_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            FileTasks::find(folder.path()),
            Err(Failure::Refused(_))
        ));
    }

    #[tokio::test]
    async fn a_file_that_vanished_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gone"), "x").unwrap();
        let tasks = Arc::new(FileTasks::find(folder.path()).unwrap());
        fs::remove_file(folder.path().join("gone")).unwrap();
        let lines: io::Result<Vec<Bytes>> = tasks.lines().try_collect().await;
        assert!(lines.unwrap_err().to_string().contains("gone"));
    }
}
