//! What a replica of a farm function does.

use std::fmt;
use std::str::FromStr;

/// One of the three parts of a farm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Takes jobs over HTTP and hands out their tasks.
    Emitter,
    /// Computes tasks.
    Worker,
    /// Gathers results and keeps the account of every job.
    Collector,
}

impl Role {
    /// All roles, in the order a task meets them.
    pub const ALL: [Role; 3] = [Role::Emitter, Role::Worker, Role::Collector];

    /// The word used in `FARM_ROLE` and in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Emitter => "emitter",
            Role::Worker => "worker",
            Role::Collector => "collector",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown role {0:?}: use emitter, worker, collector, or several joined by commas; or setup alone"
)]
pub struct InvalidRole(String);

/// The roles one replica plays; all three unless told otherwise.
///
/// Or none: `setup` makes the farm's streams, with an administrator's permissions, and ends.
///
/// ```
/// use farm_core::{Role, Roles};
/// let roles: Roles = "emitter, collector".parse()?;
/// assert!(roles.has(Role::Emitter) && !roles.has(Role::Worker));
/// # Ok::<(), farm_core::InvalidRole>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    emitter: bool,
    worker: bool,
    collector: bool,
    setup: bool,
}

impl Roles {
    /// Every role: a single function is then a whole farm.
    pub const ALL: Roles = Roles {
        emitter: true,
        worker: true,
        collector: true,
        setup: false,
    };

    /// No role: makes the farm's streams and buckets, and ends.
    pub const SETUP: Roles = Roles {
        emitter: false,
        worker: false,
        collector: false,
        setup: true,
    };

    /// Whether this only makes the farm's streams and buckets.
    pub fn is_setup(self) -> bool {
        self.setup
    }

    /// Whether a replica with these roles plays `role`.
    pub fn has(self, role: Role) -> bool {
        match role {
            Role::Emitter => self.emitter,
            Role::Worker => self.worker,
            Role::Collector => self.collector,
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.setup {
            return f.write_str("setup");
        }
        let words: Vec<_> = Role::ALL
            .into_iter()
            .filter(|role| self.has(*role))
            .map(Role::as_str)
            .collect();
        f.write_str(&words.join(","))
    }
}

impl FromStr for Roles {
    type Err = InvalidRole;
    fn from_str(words: &str) -> Result<Self, InvalidRole> {
        if words.trim() == "setup" {
            return Ok(Roles::SETUP);
        }
        let mut roles = Roles {
            emitter: false,
            worker: false,
            collector: false,
            setup: false,
        };
        for word in words.split(',').map(str::trim) {
            match word {
                "emitter" => roles.emitter = true,
                "worker" => roles.worker = true,
                "collector" => roles.collector = true,
                other => return Err(InvalidRole(other.to_owned())),
            }
        }
        Ok(roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_or_missing_role_is_refused() {
        assert!("".parse::<Roles>().is_err());
        assert!("worker,boss".parse::<Roles>().is_err());
        assert!("worker,setup".parse::<Roles>().is_err());
        assert!("setup".parse::<Roles>().unwrap().is_setup());
        assert_eq!(
            "collector,worker".parse::<Roles>().unwrap().to_string(),
            "worker,collector"
        );
    }
}
