//! What the outputs of a trained policy stand for.

use serde::{Deserialize, Serialize};

use crate::Action;

/// The actions a trained policy chooses among, one per output.
///
/// ```
/// use farm_policy::learned::ActionSpace;
/// let steps = ActionSpace::unit_steps();
/// assert_eq!(steps.len(), 3);
/// assert_eq!(steps.apply(0, 12).map(|action| action.parallelism), Some(11));
/// let levels = ActionSpace::Levels(vec![4, 8, 16]);
/// assert_eq!(levels.apply(2, 12).map(|action| action.parallelism), Some(16));
/// assert_eq!(levels.apply(3, 12), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSpace {
    /// Workers more or less than were asked for last.
    Steps(Vec<i32>),
    /// A parallelism, whatever it was before.
    Levels(Vec<u32>),
}

/// The name of the two action spaces of the environment, as people write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actions {
    /// One worker less, as many, or one more: the paper's.
    Step,
    /// Any parallelism from the smallest to the largest.
    Free,
}

impl ActionSpace {
    /// One worker less, as many, one more.
    pub fn unit_steps() -> Self {
        Self::Steps(vec![-1, 0, 1])
    }

    /// Every parallelism from `min` to `max`.
    pub fn every_level(min: u32, max: u32) -> Self {
        Self::Levels((min..=max).collect())
    }

    /// The space of that name, for a farm of `min` to `max` workers.
    pub fn named(actions: Actions, min: u32, max: u32) -> Self {
        match actions {
            Actions::Step => Self::unit_steps(),
            Actions::Free => Self::every_level(min, max),
        }
    }

    /// Number of actions.
    pub fn len(&self) -> usize {
        match self {
            Self::Steps(steps) => steps.len(),
            Self::Levels(levels) => levels.len(),
        }
    }

    /// Whether there is nothing to choose.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parallelism that output `index` asks for, when `present` was asked for last; `None` if
    /// there is no such output. Bounds are the guard's business.
    pub fn apply(&self, index: usize, present: u32) -> Option<Action> {
        let parallelism = match self {
            Self::Steps(steps) => present.saturating_add_signed(*steps.get(index)?),
            Self::Levels(levels) => *levels.get(index)?,
        };
        Some(Action { parallelism })
    }

    /// A level that is not in `min` to `max`.
    pub(super) fn level_outside(&self, min: u32, max: u32) -> Option<u32> {
        match self {
            Self::Steps(_) => None,
            Self::Levels(levels) => {
                (levels.iter().copied()).find(|level| !(min..=max).contains(level))
            }
        }
    }

    /// What output `index` stands for, as people write it: `+1`, or `16`.
    pub(crate) fn label(&self, index: usize) -> String {
        let label = match self {
            Self::Steps(steps) => steps.get(index).map(|step| match step {
                0 => "0".to_owned(),
                step => format!("{step:+}"),
            }),
            Self::Levels(levels) => levels.get(index).map(u32::to_string),
        };
        label.unwrap_or_else(|| format!("action {index}"))
    }
}
