//! The jobs bucket: what was asked, how far it is, what was cancelled.

use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use farm_core::JobId;
use farm_core::http::{JobState, JobStatus};
use farm_core::job::{ChunkPlan, JobCancel, JobProgress, JobSpec};
use farm_core::topology::key;
use futures_util::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::clock;
use crate::runtime::broker::Broker;
use crate::task_error::chain;

/// NATS did not serve the jobs bucket.
#[derive(Debug, thiserror::Error)]
#[error("the farm's jobs cannot be reached: {0}")]
pub(crate) struct Unavailable(String);

impl Unavailable {
    pub fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(chain(error))
    }
}

/// Everything known of one job.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JobRecord {
    pub spec: Option<JobSpec>,
    pub progress: Option<JobProgress>,
    /// Revision of `progress` in the bucket; 0 if there is none.
    pub revision: u64,
    pub cancel: Option<JobCancel>,
}

/// How a job was announced.
pub(crate) struct Announced {
    pub spec: JobSpec,
    /// Of `spec` in the bucket, if this submit is the first and may change it.
    pub revision: Option<u64>,
}

/// Who an idempotency key belongs to.
pub(crate) enum Claim {
    Ours,
    Earlier(JobId),
}

/// How long to wait for a change before looking all the same.
const LISTEN: Duration = Duration::from_millis(250);
/// How long a change that was heard may take to be stored.
const STORED: Duration = Duration::from_millis(5);

pub(crate) struct Jobs<'a> {
    store: &'a kv::Store,
    client: &'a async_nats::Client,
}

impl<'a> Jobs<'a> {
    pub fn new(broker: &'a Broker) -> Self {
        Self {
            store: &broker.jobs,
            client: &broker.client,
        }
    }

    async fn get<T: DeserializeOwned>(&self, key: String) -> Result<Option<T>, Unavailable> {
        let entry = self
            .store
            .get(key)
            .await
            .map_err(|e| Unavailable::new(&e))?;
        Ok(entry.and_then(|json| serde_json::from_slice(&json).ok()))
    }

    /// As `get`, but answered by the stream's leader: another replica may lag behind.
    async fn latest<T: DeserializeOwned>(&self, key: String) -> Result<Option<T>, Unavailable> {
        Ok(self.latest_revision(key).await?.0)
    }

    async fn latest_revision<T: DeserializeOwned>(
        &self,
        key: String,
    ) -> Result<(Option<T>, u64), Unavailable> {
        let subject = format!("{}{key}", self.store.prefix);
        let message = match self
            .store
            .stream
            .get_last_raw_message_by_subject(&subject)
            .await
        {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok((None, 0));
            }
            Err(error) => return Err(Unavailable::new(&error)),
        };
        // What is deleted leaves a message without a body.
        let value = serde_json::from_slice(&message.payload).ok();
        Ok((value, message.sequence))
    }

    async fn put<T: Serialize>(&self, key: String, value: &T) -> Result<(), Unavailable> {
        let json = serde_json::to_vec(value).map_err(|e| Unavailable::new(&e))?;
        let put = self.store.put(key, json.into()).await;
        put.map(drop).map_err(|e| Unavailable::new(&e))
    }

    pub async fn put_spec(&self, job: &JobId, spec: &JobSpec) -> Result<(), Unavailable> {
        self.put(key::spec(job), spec).await
    }

    /// Announces `job`, unless it was before: a repeat must not undo what the first has sealed.
    pub async fn announce(&self, job: &JobId, spec: JobSpec) -> Result<Announced, Unavailable> {
        let json = serde_json::to_vec(&spec).map_err(|e| Unavailable::new(&e))?;
        match self.store.create(key::spec(job), json.into()).await {
            Ok(revision) => Ok(Announced {
                spec,
                revision: Some(revision),
            }),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                self.announced_before(job).await
            }
            Err(error) => Err(Unavailable::new(&error)),
        }
    }

    /// What `job` was announced as. If its first submit may still be under way it plans nothing more
    /// from here on: two that add to one plan would cut at different places.
    async fn announced_before(&self, job: &JobId) -> Result<Announced, Unavailable> {
        for _ in 0..ChunkPlan::MOST_SEGMENTS {
            let (spec, revision) = self.latest_revision(key::spec(job)).await?;
            let spec: Option<JobSpec> = spec;
            let mut spec =
                spec.ok_or_else(|| Unavailable(format!("job {job} was forgotten meanwhile")))?;
            let plan = spec.chunks.as_mut().filter(|plan| !plan.is_final);
            let is_open = spec.accepted.is_none();
            if let Some(plan) = plan.filter(|_| is_open) {
                plan.is_final = true;
                if self.update_spec(job, &spec, revision).await?.is_none() {
                    continue;
                }
            }
            return Ok(Announced {
                spec,
                revision: None,
            });
        }
        Err(Unavailable(format!("job {job} changes all the time")))
    }

    /// Stores `spec` over `revision`, and gives back the new revision; `None` if somebody else has
    /// written meanwhile.
    pub async fn update_spec(
        &self,
        job: &JobId,
        spec: &JobSpec,
        revision: u64,
    ) -> Result<Option<u64>, Unavailable> {
        let json = serde_json::to_vec(spec).map_err(|e| Unavailable::new(&e))?;
        let updated = self.store.update(key::spec(job), json.into(), revision);
        match updated.await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(Unavailable::new(&error)),
        }
    }

    pub async fn latest_spec(&self, job: &JobId) -> Result<Option<JobSpec>, Unavailable> {
        self.latest(key::spec(job)).await
    }

    /// Stores `progress` over `revision`, and gives back the new revision.
    ///
    /// # Errors
    /// Also when somebody else has stored another progress meanwhile.
    pub async fn update_progress(
        &self,
        job: &JobId,
        progress: &JobProgress,
        revision: u64,
    ) -> Result<u64, Unavailable> {
        let json = serde_json::to_vec(progress).map_err(|e| Unavailable::new(&e))?;
        let updated = self.store.update(key::progress(job), json.into(), revision);
        updated.await.map_err(|e| Unavailable::new(&e))
    }

    async fn progress(&self, job: &JobId) -> Result<(Option<JobProgress>, u64), Unavailable> {
        let entry = self.store.entry(key::progress(job)).await;
        let Some(entry) = entry.map_err(|e| Unavailable::new(&e))? else {
            return Ok((None, 0));
        };
        Ok((serde_json::from_slice(&entry.value).ok(), entry.revision))
    }

    pub async fn record(&self, job: &JobId) -> Result<JobRecord, Unavailable> {
        let (spec, (progress, revision), cancel) = tokio::try_join!(
            self.get(key::spec(job)),
            self.progress(job),
            self.get(key::cancel(job)),
        )?;
        Ok(JobRecord {
            spec,
            progress,
            revision,
            cancel,
        })
    }

    /// Where `job` stands, or `None` if nothing is known of it.
    pub async fn status(&self, job: &JobId) -> Result<Option<JobStatus>, Unavailable> {
        let mut record = self.record(job).await?;
        if record == JobRecord::default() {
            // A client that was told of its job a moment ago must not hear that there is none.
            record.spec = self.latest(key::spec(job)).await?;
        }
        Ok(account(job, &record, clock::now_seconds()))
    }

    /// Waits until `job` has ended, at most for `limit`; gives back where it stands then.
    pub async fn wait(
        &self,
        job: &JobId,
        limit: Duration,
    ) -> Result<Option<JobStatus>, Unavailable> {
        let watching = async {
            // A put is a message: hearing it costs the server no consumer, as a watch would.
            let subject = format!("$KV.{}.{job}.*", self.store.name);
            let heard = self.client.subscribe(subject).await;
            let mut changes = heard.map_err(|e| Unavailable::new(&e))?;
            let mut pause = LISTEN;
            loop {
                let status = self.status(job).await?;
                if status.as_ref().is_some_and(has_ended) {
                    return Ok(status);
                }
                // It may be heard a moment before it is stored, and is not while disconnected.
                let heard = tokio::time::timeout(pause, changes.next()).await.is_ok();
                pause = if heard { STORED } else { LISTEN };
            }
        };
        match tokio::time::timeout(limit, watching).await {
            Ok(status) => status,
            Err(_) => self.status(job).await,
        }
    }

    /// Takes every record of `job` away, without leaving marks that would have to expire.
    pub async fn forget(&self, job: &JobId) -> Result<(), Unavailable> {
        let records = format!("{}{job}.>", self.store.prefix);
        let purged = self.store.stream.purge().filter(records).await;
        purged.map(drop).map_err(|e| Unavailable::new(&e))
    }

    /// As `is_cancelled`, but another server of a cluster may lag behind a moment. A worker may read
    /// nothing else of a job.
    pub async fn seems_cancelled(&self, job: &JobId) -> Result<bool, Unavailable> {
        let mark: Option<JobCancel> = self.get(key::cancel(job)).await?;
        Ok(mark.is_some())
    }

    pub async fn is_cancelled(&self, job: &JobId) -> Result<bool, Unavailable> {
        let mark: Option<JobCancel> = self.latest(key::cancel(job)).await?;
        Ok(mark.is_some())
    }

    /// Marks `job` cancelled. The first reason stays.
    pub async fn mark_cancelled(&self, job: &JobId, reason: &str) -> Result<(), Unavailable> {
        let mark = JobCancel {
            cancelled_seconds: clock::now_seconds(),
            reason: reason.to_owned(),
        };
        let json = serde_json::to_vec(&mark).map_err(|e| Unavailable::new(&e))?;
        match self.store.create(key::cancel(job), json.into()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Unavailable::new(&error)),
        }
    }

    /// Ties an idempotency key to `job`, or tells which job has it.
    pub async fn claim(&self, idempotency_key: &str, job: &JobId) -> Result<Claim, Unavailable> {
        let key = claim_key(idempotency_key);
        let value = Bytes::from(job.to_string());
        loop {
            match self.store.create(&key, value.clone()).await {
                Ok(_) => return Ok(Claim::Ours),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(Unavailable::new(&error)),
            }
            if let Some(owner) = self.claimed_by(idempotency_key).await? {
                return Ok(Claim::Earlier(owner));
            }
            // Released between the two calls: try again.
        }
    }

    /// The job that an idempotency key is tied to.
    pub async fn claimed_by(&self, idempotency_key: &str) -> Result<Option<JobId>, Unavailable> {
        let entry = self.store.entry(claim_key(idempotency_key)).await;
        let entry = entry.map_err(|e| Unavailable::new(&e))?;
        Ok(entry
            .filter(|entry| entry.operation == Operation::Put)
            .and_then(|entry| String::from_utf8(entry.value.to_vec()).ok())
            .and_then(|owner| JobId::new(owner).ok()))
    }

    /// Frees an idempotency key whose `job` was refused, if it is still of that job.
    pub async fn release(&self, idempotency_key: &str, job: &JobId) -> Result<(), Unavailable> {
        let key = claim_key(idempotency_key);
        let entry = self.store.entry(&key).await;
        let entry = entry.map_err(|e| Unavailable::new(&e))?;
        let Some(entry) = entry.filter(|entry| entry.value == job.as_str()) else {
            return Ok(());
        };
        let deleted = self
            .store
            .delete_expect_revision(&key, Some(entry.revision));
        deleted.await.map_err(|e| Unavailable::new(&e))
    }
}

/// Any text as a key: its digest, because a key may hold only some characters.
fn claim_key(idempotency_key: &str) -> String {
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, idempotency_key.as_bytes());
    key::idempotency(&digest.simple().to_string())
}

/// Whether nothing more will happen to the job by itself.
pub(crate) fn has_ended(status: &JobStatus) -> bool {
    matches!(status.state, JobState::Done | JobState::Cancelled)
}

/// The account of a job out of its record.
pub(crate) fn account(job: &JobId, record: &JobRecord, now_seconds: f64) -> Option<JobStatus> {
    let JobRecord {
        spec,
        progress,
        cancel,
        ..
    } = record;
    if spec.is_none() && progress.is_none() {
        return None;
    }
    let progress = progress.clone().unwrap_or_default();
    let outcomes = progress.done + progress.failed;
    let accepted = spec.as_ref().and_then(|spec| spec.accepted);
    let missing = accepted.map_or(0, |accepted| accepted.saturating_sub(outcomes));
    let cut_short = cancel.is_some() && (missing > 0 || accepted.is_none());
    let state = match (cut_short, progress.ended_seconds, accepted) {
        (true, _, _) => JobState::Cancelled,
        (false, Some(_), _) => JobState::Done,
        (false, None, Some(_)) => JobState::Running,
        (false, None, None) => JobState::Open,
    };
    let ended_seconds = match state {
        JobState::Done => progress.ended_seconds,
        JobState::Cancelled => cancel.as_ref().map(|cancel| cancel.cancelled_seconds),
        JobState::Open | JobState::Running => None,
    };
    Some(JobStatus {
        job: job.clone(),
        state,
        accepted,
        done: progress.done,
        failed: progress.failed,
        cancelled: if cut_short { missing } else { 0 },
        in_flight: if cut_short { 0 } else { missing },
        qos_ratio: (progress.with_deadline > 0)
            .then(|| progress.in_deadline as f64 / progress.with_deadline as f64),
        created_seconds: spec
            .as_ref()
            .map(|spec| spec.created_seconds)
            .or(progress.first_outcome_seconds)
            .unwrap_or(now_seconds),
        ended_seconds,
        estimated_end_seconds: (state == JobState::Running)
            .then(|| estimated_end(&progress, missing, now_seconds))
            .flatten(),
        note: cancel
            .as_ref()
            .filter(|_| cut_short)
            .map(|cancel| cancel.reason.clone())
            .or_else(|| progress.fold_error.clone()),
    })
}

/// When the rest is done if outcomes keep coming as they did so far.
fn estimated_end(progress: &JobProgress, missing: u64, now_seconds: f64) -> Option<f64> {
    let outcomes = progress.done + progress.failed;
    let span = progress.last_outcome_seconds? - progress.first_outcome_seconds?;
    (outcomes > 1 && span > 0.0)
        .then(|| now_seconds + missing as f64 * span / (outcomes - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(accepted: Option<u64>, done: u64, failed: u64) -> JobRecord {
        JobRecord {
            spec: Some(JobSpec {
                created_seconds: 100.0,
                accepted,
                deadline_seconds: None,
                callback_url: None,
                chunks: None,
            }),
            progress: Some(JobProgress {
                done,
                failed,
                first_outcome_seconds: Some(101.0),
                last_outcome_seconds: Some(103.0),
                ..JobProgress::default()
            }),
            revision: 1,
            cancel: None,
        }
    }

    fn status(record: &JobRecord) -> JobStatus {
        account(&"j".parse().unwrap(), record, 110.0).unwrap()
    }

    #[test]
    fn nothing_is_known_of_an_unknown_job() {
        assert_eq!(
            account(&"j".parse().unwrap(), &JobRecord::default(), 0.0),
            None
        );
    }

    #[test]
    fn a_running_job_adds_up_and_has_an_estimate() {
        let status = status(&record(Some(10), 4, 1));
        assert_eq!(status.state, JobState::Running);
        assert_eq!(status.in_flight, 5);
        // Five outcomes span two seconds, so the other five take two and a half.
        assert_eq!(status.estimated_end_seconds, Some(112.5));
    }

    #[test]
    fn a_job_is_done_when_the_collector_says_so() {
        let mut record = record(Some(5), 4, 1);
        assert_eq!(status(&record).state, JobState::Running);
        record.progress.as_mut().unwrap().ended_seconds = Some(104.0);
        assert_eq!(status(&record).state, JobState::Done);
    }

    #[test]
    fn a_cancelled_job_adds_up() {
        let mut record = record(Some(10), 4, 1);
        record.cancel = Some(JobCancel {
            cancelled_seconds: 105.0,
            reason: "enough".to_owned(),
        });
        let cancelled = status(&record);
        assert_eq!(
            (cancelled.state, cancelled.cancelled, cancelled.in_flight),
            (JobState::Cancelled, 5, 0)
        );
        assert_eq!(cancelled.note.as_deref(), Some("enough"));
    }

    #[test]
    fn a_job_that_ended_before_it_was_cancelled_is_done() {
        let mut record = record(Some(5), 5, 0);
        record.progress.as_mut().unwrap().ended_seconds = Some(104.0);
        record.cancel = Some(JobCancel {
            cancelled_seconds: 105.0,
            reason: "late".to_owned(),
        });
        assert_eq!(status(&record).state, JobState::Done);
    }
}
