//! A trained policy's file, whichever kind it is.

use super::{ArtefactError, Contract, Network, Table};

/// Largest file of a trained policy, in bytes.
pub const MAX_ARTEFACT_BYTES: usize = 16 << 20;

/// What was trained: a table or a network.
#[derive(Debug)]
pub enum Artefact {
    /// Values of actions by state.
    Table(Table),
    /// Values of actions by computation.
    Network(Network),
}

impl Artefact {
    /// Reads the file of a trained policy: JSON is a table, everything else an ONNX network.
    ///
    /// # Errors
    /// [`ArtefactError`] if it cannot be used; see [`Table::from_json`] and
    /// [`Network::from_onnx`].
    ///
    /// ```
    /// use farm_policy::learned::{ActionSpace, Artefact, Contract, Table};
    /// let table = Table::new(Contract::paper(ActionSpace::unit_steps()), vec![]);
    /// let artefact = Artefact::read(table.to_json().as_bytes())?;
    /// assert_eq!(artefact.kind(), "table");
    /// assert!(Artefact::read(b"").is_err());
    /// # Ok::<(), farm_policy::learned::ArtefactError>(())
    /// ```
    pub fn read(bytes: &[u8]) -> Result<Self, ArtefactError> {
        check_size(bytes)?;
        // In a protobuf, `{` would begin a group, which ONNX has none of.
        match bytes.trim_ascii_start().first() {
            Some(b'{') => Table::from_json(bytes).map(Self::Table),
            _ => Network::from_onnx(bytes).map(Self::Network),
        }
    }

    /// What it was trained on.
    pub fn contract(&self) -> &Contract {
        match self {
            Self::Table(table) => table.contract(),
            Self::Network(network) => network.contract(),
        }
    }

    /// What it is: `table` or `network`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Network(_) => "network",
        }
    }
}

pub(super) fn check_size(bytes: &[u8]) -> Result<(), ArtefactError> {
    if bytes.len() <= MAX_ARTEFACT_BYTES {
        return Ok(());
    }
    Err(ArtefactError::TooLarge {
        bytes: bytes.len(),
        limit_bytes: MAX_ARTEFACT_BYTES,
    })
}
