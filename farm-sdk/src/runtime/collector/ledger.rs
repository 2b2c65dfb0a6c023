//! The account of every active job, kept by counting outcomes: pure, so that it can be tested to
//! count each exactly once however often it is shown one.

use std::collections::HashMap;

use farm_core::JobId;
use farm_core::envelope::Outcome;
use farm_core::job::{Callback, JobCancel, JobProgress, JobSpec};

use super::change::{Change, Record};
use crate::runtime::jobs::JobRecord;

/// A message of the results stream: the outcome of a task, or of several tasks of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub sequence: u64,
    pub outcome: Outcome,
    /// Tasks whose outcome it is; none if each task of a chunk has one of its own.
    pub tasks: u64,
    /// How often the task had been replayed from the dead letters.
    pub replay: u64,
    pub in_deadline: Option<bool>,
    pub stored_seconds: f64,
}

/// One active job.
#[derive(Debug, Default, Clone)]
pub(crate) struct Account {
    pub spec: Option<JobSpec>,
    pub cancel: Option<JobCancel>,
    pub progress: JobProgress,
    /// Revision of the stored progress; 0 if there is none.
    pub revision: u64,
    /// Whether the progress differs from what is stored.
    pub dirty: bool,
    /// Whether its end is being dealt with.
    pub concluding: bool,
    /// Whether its callback is under way.
    pub calling_back: bool,
    /// Whether a replayed task changed the results of a job that had ended.
    pub refold: bool,
    /// Up to where a stream that lost outcomes is counted again: failures that were taken back for a
    /// replay are not in it any more.
    pub recount_until: u64,
    /// When it last changed, in seconds since the Unix epoch.
    pub touched_seconds: f64,
}

impl Account {
    /// Counts a message unless it was counted before; says whether it was new.
    pub fn count(&mut self, counted: &Counted) -> bool {
        let progress = &mut self.progress;
        if counted.sequence <= progress.applied_sequence {
            return false;
        }
        progress.applied_sequence = counted.sequence;
        self.dirty = true;
        if counted.tasks == 0 {
            return true;
        }
        if progress.first_sequence == 0 {
            progress.first_sequence = counted.sequence;
        }
        if counted.replay > 0 && counted.sequence > self.recount_until {
            // Its earlier outcome, a failure, was taken away when it was replayed.
            progress.failed = progress.failed.saturating_sub(1);
        }
        match counted.outcome {
            Outcome::Done => progress.done += counted.tasks,
            Outcome::Failed => progress.failed += counted.tasks,
        }
        if let Some(in_deadline) = counted.in_deadline {
            progress.with_deadline += counted.tasks;
            // A failure never met its deadline, however soon it came.
            if in_deadline && counted.outcome == Outcome::Done {
                progress.in_deadline += counted.tasks;
            }
        }
        progress
            .first_outcome_seconds
            .get_or_insert(counted.stored_seconds);
        progress.last_outcome_seconds = Some(counted.stored_seconds);
        true
    }

    /// Whether nothing more will be done about the job unless it is replayed.
    fn is_over(&self) -> bool {
        let calls_back = self
            .spec
            .as_ref()
            .is_none_or(|spec| spec.callback_url.is_some());
        let owes_callback = calls_back && self.progress.callback == Callback::Pending;
        self.progress.ended_seconds.is_some() && !owes_callback
    }

    /// Whether every task has its outcome and nobody was told yet.
    pub fn is_complete(&self) -> bool {
        let accepted = self.spec.as_ref().and_then(|spec| spec.accepted);
        let outcomes = self.progress.done + self.progress.failed;
        let all = accepted.is_some_and(|accepted| outcomes >= accepted);
        (all || self.cancel.is_some()) && self.progress.ended_seconds.is_none() && !self.concluding
    }
}

/// Jobs in memory: the active ones, and for a while the ended ones.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub accounts: HashMap<JobId, Account>,
}

impl Ledger {
    /// Takes a job up as it is stored.
    pub fn load(&mut self, job: &JobId, record: JobRecord) -> &mut Account {
        self.accounts.entry(job.clone()).or_insert_with(|| Account {
            spec: record.spec,
            cancel: record.cancel,
            progress: record.progress.unwrap_or_default(),
            revision: record.revision,
            ..Account::default()
        })
    }

    /// Takes a record up as it is stored, in the order of the bucket. What has ended and waits for
    /// nothing is forgotten at once: there may be millions of such jobs.
    pub fn read(&mut self, change: Change) {
        let account = self.accounts.entry(change.job.clone()).or_default();
        match change.record {
            Record::Spec(spec) => account.spec = Some(spec),
            Record::Cancel(cancel) => account.cancel = Some(cancel),
            Record::Progress { progress, revision } => {
                account.progress = progress;
                account.revision = revision;
            }
        }
        if account.is_over() {
            self.accounts.remove(&change.job);
        }
    }

    /// Jobs of which nothing is known but that they were cancelled.
    pub fn only_cancelled(&self) -> Vec<JobId> {
        let lone = self
            .accounts
            .iter()
            .filter(|(_, account)| account.spec.is_none() && account.revision == 0);
        lone.map(|(job, _)| job.clone()).collect()
    }

    /// Forgets the counts of jobs that have not ended, for the stream to be counted again up to
    /// `last_sequence`.
    pub fn count_anew(&mut self, last_sequence: u64) {
        let open = self.accounts.values_mut();
        for account in open.filter(|account| account.progress.ended_seconds.is_none()) {
            account.progress = JobProgress::default();
            account.recount_until = last_sequence;
            account.dirty = true;
        }
    }

    /// Forgets what is stored and has not changed for `idle_seconds`.
    pub fn forget_idle(&mut self, now_seconds: f64, idle_seconds: f64) {
        self.accounts.retain(|_, account| {
            account.dirty
                || account.concluding
                || account.calling_back
                || account.touched_seconds + idle_seconds > now_seconds
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(sequence: u64, outcome: Outcome, replay: u64) -> Counted {
        Counted {
            sequence,
            outcome,
            tasks: 1,
            replay,
            in_deadline: Some(true),
            stored_seconds: sequence as f64,
        }
    }

    fn chunk(sequence: u64, done: u64) -> Counted {
        Counted {
            tasks: done,
            ..outcome(sequence, Outcome::Done, 0)
        }
    }

    fn sealed(accepted: u64) -> Account {
        Account {
            spec: Some(JobSpec {
                created_seconds: 0.0,
                accepted: Some(accepted),
                deadline_seconds: None,
                callback_url: None,
                chunks: None,
            }),
            ..Account::default()
        }
    }

    #[test]
    fn a_job_of_no_tasks_is_complete() {
        assert!(sealed(0).is_complete());
        assert!(!sealed(1).is_complete());
    }

    #[test]
    fn a_job_that_ended_is_forgotten_unless_it_owes_a_callback() {
        let ended = |job: &str, callback_url: Option<&str>| {
            let mut ledger = Ledger::default();
            let job: JobId = job.parse().unwrap();
            let mut spec = sealed(1).spec.unwrap();
            spec.callback_url = callback_url.map(str::to_owned);
            let progress = JobProgress {
                ended_seconds: Some(1.0),
                ..JobProgress::default()
            };
            let revision = 7;
            for record in [Record::Spec(spec), Record::Progress { progress, revision }] {
                let job = job.clone();
                ledger.read(Change { job, record });
            }
            ledger
        };
        assert!(ended("a", None).accounts.is_empty());
        let owing = ended("b", Some("http://there"));
        assert_eq!(owing.accounts.len(), 1);
        assert!(owing.only_cancelled().is_empty());
    }

    #[test]
    fn a_stream_that_lost_outcomes_is_counted_again() {
        let mut ledger = Ledger::default();
        let account = ledger.accounts.entry("j".parse().unwrap()).or_default();
        account.count(&outcome(40, Outcome::Done, 0));
        ledger.count_anew(9);
        let account = ledger.accounts.values_mut().next().unwrap();
        assert!(account.dirty);
        account.count(&outcome(5, Outcome::Failed, 0));
        account.count(&outcome(9, Outcome::Done, 1));
        let progress = &account.progress;
        assert_eq!((progress.done, progress.failed), (1, 1));
        account.count(&outcome(10, Outcome::Done, 1));
        let progress = &account.progress;
        assert_eq!((progress.done, progress.failed), (2, 0));
    }

    #[test]
    fn a_replayed_task_moves_from_failed_to_done() {
        let mut account = sealed(1);
        account.count(&outcome(5, Outcome::Failed, 0));
        account.count(&outcome(9, Outcome::Done, 1));
        assert_eq!((account.progress.done, account.progress.failed), (1, 0));
    }

    #[test]
    fn a_chunk_counts_the_tasks_that_are_done_in_it() {
        let mut account = sealed(256);
        assert!(account.count(&chunk(7, 0)));
        assert_eq!(account.progress.first_outcome_seconds, None);
        account.count(&chunk(9, 255));
        assert!(!account.count(&chunk(9, 255)));
        assert!(!account.is_complete());
        account.count(&outcome(12, Outcome::Failed, 0));
        let progress = &account.progress;
        assert_eq!((progress.done, progress.failed), (255, 1));
        assert_eq!((progress.with_deadline, progress.in_deadline), (256, 255));
        assert_eq!(
            (progress.first_sequence, progress.applied_sequence),
            (9, 12)
        );
        assert_eq!(progress.first_outcome_seconds, Some(9.0));
        assert_eq!(progress.last_outcome_seconds, Some(12.0));
        assert!(account.is_complete());
    }

    fn message() -> impl Strategy<Value = (Outcome, u64)> {
        prop_oneof![
            Just((Outcome::Done, 1)),
            Just((Outcome::Failed, 1)),
            (0u64..=4096).prop_map(|done| (Outcome::Done, done)),
        ]
    }

    proptest! {
        /// Whatever part of the stream a new leader reads again, each outcome counts once.
        #[test]
        fn each_outcome_counts_once(
            messages in proptest::collection::vec(message(), 1..60),
            restarts in proptest::collection::vec(0usize..60, 0..6),
        ) {
            let stream: Vec<_> = messages.iter().enumerate().map(|(i, (kind, tasks))| {
                Counted { tasks: *tasks, ..outcome(i as u64 + 1, *kind, 0) }
            }).collect();
            let count = |kind| {
                let of_kind = messages.iter().filter(|(of, _)| *of == kind);
                of_kind.map(|(_, tasks)| tasks).sum::<u64>()
            };
            let (done, failed) = (count(Outcome::Done), count(Outcome::Failed));
            let mut account = sealed(done + failed);
            for restart in restarts {
                for counted in stream.iter().take(restart) {
                    account.count(counted);
                }
            }
            for counted in &stream {
                account.count(counted);
            }
            let progress = &account.progress;
            prop_assert_eq!((progress.done, progress.failed), (done, failed));
            prop_assert_eq!((progress.with_deadline, progress.in_deadline), (done + failed, done));
            prop_assert_eq!(progress.applied_sequence, stream.len() as u64);
            prop_assert!(account.is_complete());
        }
    }
}
