//! What can be wrong with a trained policy's file.

use crate::InvalidSetting;

/// Why the file of a trained policy cannot be used: what differs, from what.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// The file is too large to be one.
    #[error("{bytes} bytes are more than the {limit_bytes} of the largest artefact")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        limit_bytes: usize,
    },
    /// Text that is not the JSON it should be.
    #[error("{what} is malformed: {cause}")]
    Malformed {
        /// The part of the artefact.
        what: &'static str,
        /// What the parser said, with line and column.
        cause: String,
    },
    /// A file of another kind.
    #[error("format {found:?} is not {expected:?}")]
    Format {
        /// The format it says it has.
        found: String,
        /// The format it should have.
        expected: &'static str,
    },
    /// A version that this build does not know.
    #[error("{what} has version {found}; this build reads version {expected}")]
    Version {
        /// What is versioned: the table or the contract.
        what: &'static str,
        /// The version it says it has.
        found: u32,
        /// The version that is known.
        expected: u32,
    },
    /// The contract contradicts itself.
    #[error("{}", tell(.0))]
    Contract(Vec<InvalidSetting>),
    /// A table's edges that do not divide its features into bins.
    #[error("edges: {0}")]
    Edges(String),
    /// A row of a table that fits neither its edges nor its actions.
    #[error("states: {0}")]
    States(String),
    /// A file that is no network, or one with operators that no policy needs.
    #[error("the network cannot be read: {0}")]
    Network(String),
    /// Metadata that a network must carry.
    #[error(
        "the network has no {0:?} in its metadata_props: see \"Trained policies\" in docs/scaling.md"
    )]
    MissingMetadata(&'static str),
    /// An input or output that is not what the contract promises.
    #[error("{what} is {found}, where the contract needs {expected}")]
    Shape {
        /// The part of the network.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The network does not compute what it computed where it was made.
    #[error("golden pair: row {row}, action {action} is {found}, where {expected} was recorded")]
    Golden {
        /// Row of the recorded observations.
        row: usize,
        /// Index of the action.
        action: usize,
        /// What was computed here.
        found: f32,
        /// What was recorded when it was made.
        expected: f32,
    },
    /// The network could not compute.
    #[error("the network cannot compute: {0}")]
    Compute(String),
}

fn tell(wrong: &[InvalidSetting]) -> String {
    let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    told.join("; ")
}
