//! Why a stack file cannot be run here.

use std::path::PathBuf;

use crate::substitution::SubstitutionError;

/// A stack file that cannot be used; the message names the file and, where it can, the function.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// There is no stack file.
    #[error("there is no stack.yaml or stack.yml in {}: name the file with -f, or create one with `faas-cli new --lang rust-farm <name>`", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A `${...}` in it cannot be replaced.
    #[error("{}: {source}", file.display())]
    Substitution {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: SubstitutionError,
    },
    /// It is not the YAML of a stack.
    #[error("{}: {source}", file.display())]
    Yaml {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_norway::Error,
    },
    /// What it says outside its functions cannot be used.
    #[error("{}: {problem}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What, and what to write instead.
        problem: String,
    },
    /// One of its functions cannot be used.
    #[error("{}: function {function}: {problem}", file.display())]
    Function {
        /// The file.
        file: PathBuf,
        /// The function.
        function: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Two functions of one farm disagree on what they must share.
    #[error("{}: {disagreement}", file.display())]
    Disagreement {
        /// The file.
        file: PathBuf,
        /// On what.
        disagreement: Box<Disagreement>,
    },
}

/// A setting on which two functions of one farm must agree but do not.
#[derive(Debug, thiserror::Error)]
#[error("functions {} and {} belong to farm {farm} but {key} is {} in one and {} in the other: write the same in both",
    .functions.0, .functions.1, shown(.values.0.as_deref()), shown(.values.1.as_deref()))]
pub struct Disagreement {
    /// The farm.
    pub farm: String,
    /// The environment variable.
    pub key: &'static str,
    /// The two functions.
    pub functions: (String, String),
    /// What each says, if it says anything.
    pub values: (Option<String>, Option<String>),
}

/// What is wrong with one function of a stack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The name is not usable.
    #[error(
        "its name is not usable: use at most 63 lower-case letters, digits and '-', and start and end with a letter or digit"
    )]
    Name,
    /// It has no language.
    #[error("it has no lang: write `lang: rust-farm`")]
    NoLanguage,
    /// It is not a function this platform can run.
    #[error(
        "lang {0} needs Docker to be built and run, and this platform runs rust-farm functions only: leave it out with --filter"
    )]
    Language(String),
    /// The template is not there.
    #[error(
        "there is no folder template/{0} beside the stack file: fetch it with `faas-cli template pull <repository>`"
    )]
    NoTemplate(String),
    /// The template cannot be read.
    #[error("{}: {reason}", file.display())]
    Template {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// It has no handler.
    #[error("it has no handler: name the folder of its crate")]
    NoHandler,
    /// The handler folder is not there.
    #[error("there is no handler folder {}", .0.display())]
    MissingHandler(PathBuf),
    /// Its image is built elsewhere.
    #[error(
        "skip_build is set, it has no handler, and no other function of the stack builds its image {0}: there is nothing to run"
    )]
    NothingToRun(String),
    /// An environment file cannot be used.
    #[error("environment_file {}: {reason}", file.display())]
    EnvironmentFile {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A setting has no meaning.
    #[error("{key}: {reason}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Why, and what to write instead.
        reason: String,
    },
    /// A namespace this platform does not have.
    #[error("namespace {0:?} does not exist on one machine: leave it out")]
    Namespace(String),
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "not set".to_owned(), |value| format!("{value:?}"))
}
