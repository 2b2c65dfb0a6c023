//! Names that become part of a NATS subject, a URL path and a metric label at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that cannot be used, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} name {name:?} is not usable: {rule}")]
pub struct InvalidName {
    kind: &'static str,
    name: String,
    rule: &'static str,
}

fn token_rule(name: &str, max_length: usize) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > max_length {
        return Err("it is too long");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        return Err("use ASCII letters, digits, '-' and '_' only");
    }
    Ok(())
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `name` against the rule of this kind of name.
            ///
            /// # Errors
            /// [`InvalidName`] says which rule is broken.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                match token_rule(&name, $max) {
                    Ok(()) => Ok(Self(name)),
                    Err(rule) => Err(InvalidName { kind: $kind, name, rule }),
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

token! {
    /// The id of a job: one request to a farm, made of any number of tasks.
    ///
    /// ASCII letters, digits, `-` and `_`, at most 64 of them.
    JobId, "job", 64
}

token! {
    /// The name of a task inside its job; the emitter numbers tasks from 0.
    TaskKey, "task", 64
}

impl TaskKey {
    /// The key of the task with this 0-based position in its job.
    pub fn from_sequence(sequence: u64) -> Self {
        Self(sequence.to_string())
    }
}

/// The name of a farm, which is also what its functions are usually called.
///
/// Lower-case letters, digits and `-`, at most 63, as Kubernetes asks of a Service.
///
/// ```
/// use farm_core::FarmName;
/// assert!(FarmName::new("thumbnails-2").is_ok());
/// assert!(FarmName::new("Thumbnails.2").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FarmName(String);

impl FarmName {
    /// Checks `name` against the rule above.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule is broken.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let rule = match token_rule(&name, 63) {
            Err(rule) => Some(rule),
            Ok(()) if name.starts_with('-') || name.ends_with('-') => {
                Some("it may not start or end with '-'")
            }
            Ok(()) if name.bytes().any(|b| b.is_ascii_uppercase() || b == b'_') => {
                Some("use lower-case letters, digits and '-' only")
            }
            // Its lease would be in the bucket of the autoscaler's.
            Ok(()) if name == "autoscaler" => Some("that is the autoscaler, which is of no farm"),
            Ok(()) => None,
        };
        match rule {
            None => Ok(Self(name)),
            Some(rule) => Err(InvalidName {
                kind: "farm",
                name,
                rule,
            }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FarmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FarmName {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl TryFrom<String> for FarmName {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl From<FarmName> for String {
    fn from(name: FarmName) -> String {
        name.0
    }
}

/// The farm-wide name of a task, written `<job>.<key>`: results are deduplicated by it.
///
/// ```
/// use farm_core::TaskId;
/// let task: TaskId = "album-7.12".parse()?;
/// assert_eq!((task.job.as_str(), task.key.as_str()), ("album-7", "12"));
/// # Ok::<(), farm_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// The job the task belongs to.
    pub job: JobId,
    /// The task inside that job.
    pub key: TaskKey,
}

impl TaskId {
    /// Joins a job and a task key.
    pub fn new(job: JobId, key: TaskKey) -> Self {
        Self { job, key }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.key)
    }
}

impl FromStr for TaskId {
    type Err = InvalidName;
    fn from_str(id: &str) -> Result<Self, InvalidName> {
        let (job, key) = id.split_once('.').ok_or_else(|| InvalidName {
            kind: "task",
            name: id.to_owned(),
            rule: "write it as <job>.<task>",
        })?;
        Ok(Self::new(JobId::new(job)?, TaskKey::new(key)?))
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidName;
    fn try_from(id: String) -> Result<Self, InvalidName> {
        id.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_would_change_a_subject_is_refused() {
        for bad in ["", "a.b", "a b", "*", ">", "a\n", "é"] {
            assert!(JobId::new(bad).is_err(), "{bad:?}");
            assert!(FarmName::new(bad).is_err(), "{bad:?}");
        }
        assert!(FarmName::new("-a").is_err());
        assert!(FarmName::new("autoscaler").is_err());
        assert!(FarmName::new("a".repeat(64)).is_err());
        assert!(JobId::new("a".repeat(65)).is_err());
    }

    #[test]
    fn the_message_names_the_rule() {
        let message = FarmName::new("My_Farm").unwrap_err().to_string();
        assert_eq!(
            message,
            "farm name \"My_Farm\" is not usable: use lower-case letters, digits and '-' only"
        );
    }

    proptest! {
        #[test]
        fn a_task_id_survives_the_wire(job in "[A-Za-z0-9_-]{1,64}", key in "[A-Za-z0-9_-]{1,64}") {
            let id = TaskId::new(JobId::new(job).unwrap(), TaskKey::new(key).unwrap());
            prop_assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        }
    }
}
