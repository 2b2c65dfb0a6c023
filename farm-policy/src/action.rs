//! What a policy answers.

/// The parallelism a policy wants: tasks computed at once, over all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Replicas × slots.
    pub parallelism: u32,
}

/// One worker less, as many, or one more: the only actions of the paper.
///
/// ```
/// use farm_policy::{Action, UnitStep};
/// let step = UnitStep::try_from(-1)?;
/// assert_eq!(step.from_parallelism(12), Action { parallelism: 11 });
/// assert_eq!(UnitStep::towards(12, 20), UnitStep::Up);
/// # Ok::<(), farm_policy::NotAUnitStep>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitStep {
    /// −1
    Down,
    /// 0
    Stay,
    /// +1
    Up,
}

impl UnitStep {
    /// The step that leads from the present parallelism towards the wanted one.
    pub fn towards(present: u32, wanted: u32) -> Self {
        match wanted.cmp(&present) {
            std::cmp::Ordering::Less => Self::Down,
            std::cmp::Ordering::Equal => Self::Stay,
            std::cmp::Ordering::Greater => Self::Up,
        }
    }

    /// The parallelism after this step.
    pub fn from_parallelism(self, present: u32) -> Action {
        let parallelism = match self {
            Self::Down => present.saturating_sub(1),
            Self::Stay => present,
            Self::Up => present.saturating_add(1),
        };
        Action { parallelism }
    }
}

/// A number that is no step of at most one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a unit step: use -1, 0 or 1")]
pub struct NotAUnitStep(i32);

impl TryFrom<i32> for UnitStep {
    type Error = NotAUnitStep;

    fn try_from(change: i32) -> Result<Self, NotAUnitStep> {
        match change {
            -1 => Ok(Self::Down),
            0 => Ok(Self::Stay),
            1 => Ok(Self::Up),
            other => Err(NotAUnitStep(other)),
        }
    }
}
