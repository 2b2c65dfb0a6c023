//! What replicas run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// An executable and the arguments it is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub executable: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
}

/// Programs that stand in for images which no function of a stack builds, by the image's name:
/// its last part, without registry, tag and digest.
///
/// ```
/// use farm_local::{Program, ReadyMade};
/// let program = Program { executable: "/usr/bin/farm".into(), arguments: vec!["autoscaler".into()] };
/// let ready_made = ReadyMade::from([("farm-autoscaler".to_owned(), program)]);
/// assert!(ready_made.contains_key("farm-autoscaler"));
/// ```
pub type ReadyMade = BTreeMap<String, Program>;

impl From<PathBuf> for Program {
    fn from(executable: PathBuf) -> Self {
        Self {
            executable,
            arguments: Vec::new(),
        }
    }
}
