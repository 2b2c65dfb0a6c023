//! What a policy answers.

/// The parallelism a policy wants: tasks computed at once, over all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Replicas × slots.
    pub parallelism: u32,
}
