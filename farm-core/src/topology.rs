//! Where things are on NATS: every stream, subject, bucket and key of a farm is named here, once.
//!
//! | what | name | holds |
//! |---|---|---|
//! | stream | `farm-<F>-tasks` | tasks nobody has finished (work queue) |
//! | stream | `farm-<F>-results` | one outcome per task, or per chunk of tasks, for `FARM_RESULT_TTL` |
//! | stream | `farm-<F>-dead` | dead letters, until replayed or purged |
//! | key-value bucket | `farm-<F>-jobs` | what each job is, how far it is |
//! | key-value bucket | `farm-<F>-lease` | which collector leads |
//! | key-value bucket | `farm-<F>-attempts` | of tasks delivered again, how their attempts ended |
//! | object store | `farm-<F>-summaries` | what the collector folded, per job |
//! | stream | `farm-<F>-control` | the last order of each kind to the workers |
//! | subject | `farm.<F>.telemetry` | what worker replicas say of themselves; not stored |
//! | subject | `farm.<F>.decision` | what the autoscaler decided and why; not stored |
//! | key-value bucket | `farm-autoscaler-lease` | which autoscaler replica leads; of no farm |

use std::time::Duration;

use crate::chunk::ChunkId;
use crate::{FarmName, JobId, TaskId};

/// The names of one farm on NATS.
///
/// ```
/// use farm_core::{FarmName, topology::Topology};
/// let topology = Topology::new(FarmName::new("thumbnails")?);
/// assert_eq!(topology.tasks_stream(), "farm-thumbnails-tasks");
/// # Ok::<(), farm_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    farm: FarmName,
}

impl Topology {
    /// The durable consumer that all workers of a farm share.
    pub const WORKERS_CONSUMER: &'static str = "workers";
    /// Reports of the worker replicas of every farm.
    pub const ALL_TELEMETRY: &'static str = "farm.*.telemetry";
    /// Decisions about every farm.
    pub const ALL_DECISIONS: &'static str = "farm.*.decision";
    /// Key-value bucket whose keys expire: which autoscaler replica leads.
    pub const AUTOSCALER_LEASE_BUCKET: &'static str = "farm-autoscaler-lease";
    /// How long a key of it lives without being renewed.
    pub const AUTOSCALER_LEASE: Duration = Duration::from_secs(6);

    /// The names of `farm`.
    pub fn new(farm: FarmName) -> Self {
        Self { farm }
    }

    /// The farm these names belong to.
    pub fn farm(&self) -> &FarmName {
        &self.farm
    }

    /// Stream of tasks that nobody has finished.
    pub fn tasks_stream(&self) -> String {
        format!("farm-{}-tasks", self.farm)
    }

    /// Stream of outcomes: at most one message per task, or per chunk of tasks.
    pub fn results_stream(&self) -> String {
        format!("farm-{}-results", self.farm)
    }

    /// Stream of dead letters.
    pub fn dead_stream(&self) -> String {
        format!("farm-{}-dead", self.farm)
    }

    /// Key-value bucket of jobs.
    pub fn jobs_bucket(&self) -> String {
        format!("farm-{}-jobs", self.farm)
    }

    /// Key-value bucket whose keys expire: the collector's lease.
    pub fn lease_bucket(&self) -> String {
        format!("farm-{}-lease", self.farm)
    }

    /// Key-value bucket of tasks that were delivered again: how their earlier attempts ended.
    pub fn attempts_bucket(&self) -> String {
        format!("farm-{}-attempts", self.farm)
    }

    /// Object store of what the collector folded.
    pub fn summaries_store(&self) -> String {
        format!("farm-{}-summaries", self.farm)
    }

    /// Stream that keeps the last order of each kind to the workers.
    pub fn control_stream(&self) -> String {
        format!("farm-{}-control", self.farm)
    }

    /// All orders to the workers.
    pub fn control_wildcard(&self) -> String {
        format!("farm.{}.control.*", self.farm)
    }

    /// Where workers are told their slots ([`crate::control::SlotsOrder`]).
    pub fn control_slots_subject(&self) -> String {
        format!("farm.{}.control.slots", self.farm)
    }

    /// Where worker replicas report ([`crate::telemetry::WorkerTelemetry`]).
    pub fn telemetry_subject(&self) -> String {
        format!("farm.{}.telemetry", self.farm)
    }

    /// Where decisions are told ([`crate::decision::DecisionEvent`]).
    pub fn decision_subject(&self) -> String {
        format!("farm.{}.decision", self.farm)
    }

    /// Where the tasks of `job` are published.
    pub fn task_subject(&self, job: &JobId) -> String {
        format!("farm.{}.task.{job}", self.farm)
    }

    /// All tasks of the farm.
    pub fn task_wildcard(&self) -> String {
        format!("farm.{}.task.*", self.farm)
    }

    /// The one place where the outcome of `task` may be written.
    pub fn result_subject(&self, task: &TaskId) -> String {
        format!("farm.{}.result.{}.{}", self.farm, task.job, task.key)
    }

    /// The one place where the outcome of a chunk may be written; [`Self::result_wildcard`] and
    /// [`Self::job_results_wildcard`] name it, too.
    pub fn chunk_subject(&self, chunk: &ChunkId) -> String {
        format!("farm.{}.result.{chunk}", self.farm)
    }

    /// The chunk whose outcome belongs on a subject, or `None` if it is not that of a chunk.
    pub fn chunk_of_subject(&self, subject: &str) -> Option<ChunkId> {
        let rest = subject
            .strip_prefix("farm.")?
            .strip_prefix(self.farm.as_str())?;
        ChunkId::parse(rest.strip_prefix(".result.")?)
    }

    /// All outcomes of `job`.
    pub fn job_results_wildcard(&self, job: &JobId) -> String {
        format!("farm.{}.result.{job}.*", self.farm)
    }

    /// All outcomes of the farm.
    pub fn result_wildcard(&self) -> String {
        format!("farm.{}.result.*.*", self.farm)
    }

    /// Where the dead letter of `task` is kept.
    pub fn dead_subject(&self, task: &TaskId) -> String {
        format!("farm.{}.dead.{}.{}", self.farm, task.job, task.key)
    }

    /// All dead letters of `job`.
    pub fn job_dead_wildcard(&self, job: &JobId) -> String {
        format!("farm.{}.dead.{job}.*", self.farm)
    }

    /// All dead letters of the farm.
    pub fn dead_wildcard(&self) -> String {
        format!("farm.{}.dead.*.*", self.farm)
    }

    /// The job a task subject belongs to, or `None` if it is no task subject of this farm.
    pub fn job_of_task_subject(&self, subject: &str) -> Option<JobId> {
        let job = subject
            .strip_prefix("farm.")?
            .strip_prefix(self.farm.as_str())?
            .strip_prefix(".task.")?;
        JobId::new(job).ok()
    }

    /// The farm a telemetry or decision subject belongs to.
    ///
    /// ```
    /// use farm_core::topology::Topology;
    /// let farm = Topology::farm_of_subject("farm.thumbnails.telemetry").unwrap();
    /// assert_eq!(farm.as_str(), "thumbnails");
    /// assert!(Topology::farm_of_subject("farm.thumbnails.task.7").is_none());
    /// ```
    pub fn farm_of_subject(subject: &str) -> Option<FarmName> {
        let rest = subject.strip_prefix("farm.")?;
        let (farm, kind) = rest.split_once('.')?;
        matches!(kind, "telemetry" | "decision").then_some(())?;
        FarmName::new(farm).ok()
    }

    /// The task a result or dead-letter subject belongs to.
    pub fn task_of_subject(&self, subject: &str) -> Option<TaskId> {
        let rest = subject
            .strip_prefix("farm.")?
            .strip_prefix(self.farm.as_str())?;
        rest.strip_prefix(".result.")
            .or_else(|| rest.strip_prefix(".dead."))?
            .parse()
            .ok()
    }
}

/// Keys of the buckets. Each key of the jobs bucket has one kind of writer, so that none overwrites
/// another.
pub mod key {
    use std::fmt::Display;

    use crate::JobId;

    /// In the attempts bucket: how earlier attempts of a task, or of a chunk, ended. `replay` tells
    /// how often the task came back from the dead letters, after which its attempts count anew.
    pub fn attempts(task: &impl Display, replay: u64) -> String {
        format!("{task}.{replay}")
    }

    /// What was asked: written by the emitter ([`crate::job::JobSpec`]).
    pub fn spec(job: &JobId) -> String {
        format!("{job}.spec")
    }

    /// How far it is: written by the leading collector ([`crate::job::JobProgress`]).
    pub fn progress(job: &JobId) -> String {
        format!("{job}.progress")
    }

    /// Present once the job was cancelled ([`crate::job::JobCancel`]).
    pub fn cancel(job: &JobId) -> String {
        format!("{job}.cancel")
    }

    /// Which job an `Idempotency-Key` stands for; `digest` is a digest of the key.
    pub fn idempotency(digest: &str) -> String {
        format!("idempotency.{digest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskKey;

    #[test]
    fn subjects_lead_back_to_what_they_name() {
        let topology = Topology::new(FarmName::new("f1").unwrap());
        let task = TaskId::new(JobId::new("j").unwrap(), TaskKey::from_sequence(7));
        let subject = topology.result_subject(&task);
        assert_eq!(topology.task_of_subject(&subject).as_ref(), Some(&task));
        assert_eq!(
            topology.task_of_subject(&topology.dead_subject(&task)),
            Some(task.clone())
        );
        assert_eq!(
            topology.job_of_task_subject(&topology.task_subject(&task.job)),
            Some(task.job)
        );
        assert_eq!(topology.job_of_task_subject("farm.f10.task.j"), None);
        assert_eq!(topology.task_of_subject("farm.f1.result.j"), None);
        let chunk = ChunkId::parse("j.=0-7").unwrap();
        let subject = topology.chunk_subject(&chunk);
        assert_eq!(topology.chunk_of_subject(&subject), Some(chunk));
        assert_eq!(topology.task_of_subject(&subject), None);
    }
}
