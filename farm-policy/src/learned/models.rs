//! Where trained policies come from.

use std::borrow::Cow;
use std::sync::Arc;

use super::Artefact;

/// The files that are part of this crate, by name; those of `farm-policy/models`.
const BUILT_IN: &[(&str, &[u8])] = &[
    (
        "paper.sarsa.json",
        include_bytes!("../../models/paper.sarsa.json"),
    ),
    (
        "paper-shuffled.sarsa.json",
        include_bytes!("../../models/paper-shuffled.sarsa.json"),
    ),
    (
        "paper.dqn.onnx",
        include_bytes!("../../models/paper.dqn.onnx"),
    ),
    (
        "paper-free.dqn.onnx",
        include_bytes!("../../models/paper-free.dqn.onnx"),
    ),
];

/// Finds the files of trained policies by name.
///
/// ```
/// use std::borrow::Cow;
/// use std::collections::BTreeMap;
/// use farm_policy::PolicySpec;
/// use farm_policy::learned::{ActionSpace, Contract, Models, Table};
///
/// struct Mine(Table);
///
/// impl Models for Mine {
///     fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
///         match name {
///             "mine" => Ok(self.0.to_json().into_bytes().into()),
///             _ => Err(format!("{name:?} is unknown; known is: mine")),
///         }
///     }
/// }
///
/// let models = Mine(Table::new(Contract::paper(ActionSpace::unit_steps()), vec![]));
/// let parameters = BTreeMap::from([("model".to_owned(), "mine".to_owned())]);
/// let spec = PolicySpec::parse_with("sarsa", &parameters, &models)
///     .map_err(|wrong| wrong[0].clone())?;
/// assert_eq!(spec.name(), "sarsa");
/// # Ok::<(), farm_policy::InvalidSetting>(())
/// ```
pub trait Models {
    /// The file of that name.
    ///
    /// # Errors
    /// Why there is none, and which there are.
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String>;

    /// The trained policy in the file of that name. Who is asked often keeps what it read.
    ///
    /// # Errors
    /// Why there is none, or why it cannot be used.
    fn load(&self, name: &str) -> Result<Arc<Artefact>, String> {
        let bytes = self.read(name)?;
        match Artefact::read(&bytes) {
            Ok(artefact) => Ok(Arc::new(artefact)),
            Err(error) => Err(format!("{name:?}: {error}")),
        }
    }
}

/// The trained policies that are part of this crate.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltInModels;

impl BuiltInModels {
    /// Their names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }
}

impl Models for BuiltInModels {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, bytes)) => Ok(Cow::Borrowed(bytes)),
            None => {
                let known: Vec<&str> = Self::names().collect();
                let known = match known.is_empty() {
                    true => "none".to_owned(),
                    false => known.join(", "),
                };
                Err(format!("{name:?} is unknown; built in are: {known}"))
            }
        }
    }
}
