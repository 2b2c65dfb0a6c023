//! The collector role: one leader counts the outcomes of every job, and ends jobs.

mod callback;
mod change;
mod fold;
mod lease;
mod ledger;
mod stranded;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::DirectGetErrorKind;
use farm_core::envelope::Outcome;
use farm_core::job::Callback;
use farm_core::{JobId, TaskId};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock;
use crate::collector::ErasedCollector;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::runtime::broker::Broker;
use crate::runtime::jobs::{self, JobRecord, Jobs};
use crate::runtime::outcomes::{self, StoredOutcome, Whose};
use crate::runtime::reading::{Reading, Selection, Stored};
use crate::task_error::chain;
use crate::trace::Tracer;

use change::{Change, Record};
use ledger::{Account, Counted, Ledger};

/// How often progress is stored while outcomes come in.
const FLUSH: Duration = Duration::from_millis(200);
/// How long a collector that stops tries to store its progress.
const LAST_FLUSH: Duration = Duration::from_secs(2);
/// How long the next record of a job may take to arrive.
const STALLED: Duration = Duration::from_secs(10);
/// Jobs folded at once.
pub(crate) const FOLDS: usize = 2;
/// Callbacks under way at once.
pub(crate) const CALLBACKS: usize = 32;
/// How long an ended or silent job stays in memory.
const IDLE_SECONDS: f64 = 60.0;
/// Outcomes counted before anything else gets its turn.
const IN_A_ROW: usize = 256;
/// Key under which the position in the results stream is kept.
const CHECKPOINT: &str = "collector.checkpoint";

pub(crate) struct CollectorRole {
    pub config: Arc<Config>,
    pub broker: Arc<Broker>,
    pub collector: Arc<dyn ErasedCollector>,
    pub user: Handle,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    pub draining: CancellationToken,
    pub http: reqwest::Client,
    /// Jobs folded at once.
    pub folds: Semaphore,
    /// Callbacks under way at once.
    pub callbacks: Semaphore,
}

/// What became of a job's end.
enum Event {
    Folded(JobId, Result<(), String>),
    CalledBack(JobId, Callback),
}

/// Leads whenever it can, until `draining`.
pub(crate) async fn run(role: Arc<CollectorRole>) {
    let holder = format!("{}-{}", role.config.replica, uuid::Uuid::new_v4().simple());
    loop {
        let lease = tokio::select! {
            lease = lease::acquire(&role.broker, &holder) => lease,
            () = role.draining.cancelled() => return,
        };
        tracing::debug!("this collector leads");
        let stop = lease.lost.clone();
        if let Err(error) = lead(&role, &stop).await {
            tracing::warn!(error, "the collector starts over");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // One that cannot be given up expires.
        let _ = tokio::time::timeout(LAST_FLUSH, lease.give_up()).await;
        if role.draining.is_cancelled() {
            return;
        }
    }
}

async fn lead(role: &Arc<CollectorRole>, stop: &CancellationToken) -> Result<(), String> {
    let mut connections = role.broker.link.connections();
    connections.mark_unchanged();
    let (events, mut ended) = mpsc::unbounded_channel();
    let over = CancellationToken::new();
    let mut leader = Leader {
        role: Arc::clone(role),
        ledger: Ledger::default(),
        applied: Position::default(),
        stored: Position::default(),
        events,
        _over: over.clone().drop_guard(),
        over,
    };
    let mut changes = leader.read_changes().await?;
    tokio::select! {
        taken_over = leader.take_over(&mut changes) => taken_over?,
        () = stop.cancelled() => return Ok(()),
        () = role.draining.cancelled() => return Ok(()),
    }
    let mut outcomes = leader.read_outcomes().await?;
    leader.catch_up().await?;
    let broker = Arc::clone(&role.broker);
    leader.spawn(async move { stranded::keep_looking(&broker).await });
    let mut tick = tokio::time::interval(FLUSH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = role.draining.cancelled() => break,
            message = outcomes.next() => leader.count_all(message?, &mut outcomes).await?,
            message = changes.next() => leader.note(&message?).await?,
            Some(event) = ended.recv() => leader.note_event(event).await?,
            // Perhaps to a server that came back with less than was counted.
            Ok(()) = connections.changed() => return Err("there is a new connection".to_owned()),
            _ = tick.tick() => leader.flush().await?,
        }
    }
    // Without NATS the next leader counts again from where the last flush was.
    match tokio::time::timeout(LAST_FLUSH, leader.flush()).await {
        Ok(flushed) => flushed,
        Err(_) => Ok(()),
    }
}

/// A place in the results stream, and what tells that the stream still holds there what it held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    sequence: u64,
    /// When the outcome there was stored, since the Unix epoch.
    stored_nanoseconds: i128,
}

struct Leader {
    role: Arc<CollectorRole>,
    ledger: Ledger,
    /// Up to where the results stream is counted.
    applied: Position,
    /// Up to where the next leader will believe it is.
    stored: Position,
    events: mpsc::UnboundedSender<Event>,
    /// Cancelled when this collector no longer leads: the next one folds and calls back.
    over: CancellationToken,
    _over: DropGuard,
}

impl Leader {
    /// Lets something go on beside the counting, for as long as this collector leads.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        tokio::spawn(async move {
            over.run_until_cancelled(work).await;
        });
    }

    fn jobs(&self) -> Jobs<'_> {
        Jobs::new(&self.role.broker)
    }

    /// Everything in the jobs bucket, and then what is written there.
    async fn read_changes(&self) -> Result<Reading, String> {
        let store = &self.role.broker.jobs;
        let everything = Selection {
            subjects: format!("{}>", store.prefix),
            first_sequence: 1,
            headers_only: false,
        };
        Reading::start(&self.role.broker, &store.stream, everything).await
    }

    /// The outcomes that are not counted yet, and then those to come.
    async fn read_outcomes(&self) -> Result<Reading, String> {
        let broker = &self.role.broker;
        let uncounted = Selection {
            subjects: broker.topology.result_wildcard(),
            first_sequence: self.applied.sequence + 1,
            headers_only: true,
        };
        Reading::start(broker, &broker.results, uncounted).await
    }

    /// Reads what is stored: how far the last leader came, and every job.
    async fn take_over(&mut self, changes: &mut Reading) -> Result<(), String> {
        let store = &self.role.broker.jobs;
        let stored = store.get(CHECKPOINT).await.map_err(|error| chain(&error))?;
        self.stored = stored
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default();
        self.applied = self.stored;
        let mut more = changes.waiting() > 0;
        while more {
            // What was to come may have been taken away meanwhile.
            let next = tokio::time::timeout(STALLED, changes.next()).await;
            let message = next.map_err(|_| "the jobs bucket could not be read to its end")??;
            more = message.pending > 0;
            if let Some(change) = Change::read(&message, &store.prefix) {
                self.ledger.read(change);
            }
        }
        self.read_cancelled_late().await?;
        if !self.still_holds_what_was_counted().await? {
            tracing::error!(
                counted = self.applied.sequence,
                "the results stream has lost outcomes that were counted: did a server lose its disk or its power? Counting anew"
            );
            let info = self.role.broker.results.get_info().await;
            let last = info.map_err(|error| chain(&error))?.state.last_sequence;
            self.applied = Position::default();
            self.ledger.count_anew(last);
        }
        let now = clock::now_seconds();
        for account in self.ledger.accounts.values_mut() {
            account.touched_seconds = now;
        }
        Ok(())
    }

    /// Reads the jobs again that were cancelled after they had ended, and forgotten with their end.
    async fn read_cancelled_late(&mut self) -> Result<(), String> {
        for job in self.ledger.only_cancelled() {
            let record = self.jobs().record(&job).await.map_err(|e| e.to_string())?;
            self.ledger.accounts.remove(&job);
            self.ledger.load(&job, record);
        }
        Ok(())
    }

    /// Whether the outcome last counted is still in its place, as far as can be told: it may have
    /// expired, or been taken back for a replay.
    async fn still_holds_what_was_counted(&self) -> Result<bool, String> {
        let Position {
            sequence,
            stored_nanoseconds,
        } = self.applied;
        if sequence == 0 {
            return Ok(true);
        }
        let results = &self.role.broker.results;
        let info = results.get_info().await.map_err(|error| chain(&error))?;
        if info.state.last_sequence < sequence {
            return Ok(false);
        }
        match results.direct_get(sequence).await {
            Ok(message) => Ok(message.time.unix_timestamp_nanos() == stored_nanoseconds),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(true),
            Err(error) => Err(chain(&error)),
        }
    }

    /// Notes what emitters wrote; progress is our own.
    async fn note(&mut self, message: &Stored) -> Result<(), String> {
        let Some(change) = Change::read(message, &self.role.broker.jobs.prefix) else {
            return Ok(());
        };
        let account = match change.record {
            Record::Progress { .. } => return Ok(()),
            Record::Spec(_) | Record::Cancel(_) => self.account(&change.job).await?,
        };
        match change.record {
            Record::Spec(spec) => account.spec = Some(spec),
            Record::Cancel(cancel) => account.cancel = Some(cancel),
            Record::Progress { .. } => {}
        }
        self.conclude_if_complete(&change.job).await
    }

    /// The account of `job`, loaded if it is not in memory.
    async fn account(&mut self, job: &JobId) -> Result<&mut Account, String> {
        let record = if self.ledger.accounts.contains_key(job) {
            JobRecord::default()
        } else {
            self.jobs().record(job).await.map_err(|e| e.to_string())?
        };
        let account = self.ledger.load(job, record);
        account.touched_seconds = clock::now_seconds();
        Ok(account)
    }

    /// Counts `first` and what has arrived behind it.
    async fn count_all(&mut self, first: Stored, outcomes: &mut Reading) -> Result<(), String> {
        self.count(&first).await?;
        for _ in 1..IN_A_ROW {
            let Some(message) = outcomes.at_hand() else {
                break;
            };
            self.count(&message).await?;
        }
        Ok(())
    }

    async fn count(&mut self, message: &Stored) -> Result<(), String> {
        let Some(stored) = StoredOutcome::read(message, &self.role.broker.topology) else {
            return Ok(());
        };
        let outcome = match stored.whose {
            Whose::Task { outcome, .. } => outcome,
            Whose::Chunk { .. } => Outcome::Done,
        };
        if !self.ledger.accounts.contains_key(&stored.job) {
            self.account(&stored.job).await?;
        }
        let Some(account) = self.ledger.accounts.get_mut(&stored.job) else {
            return Ok(());
        };
        let new = account.count(&Counted {
            sequence: stored.sequence,
            outcome,
            tasks: stored.tasks(),
            replay: stored.replay,
            in_deadline: stored.in_deadline,
            stored_seconds: stored.stored_seconds,
        });
        let folds_now = account.concluding || account.progress.ended_seconds.is_some();
        account.refold |= new && stored.replay > 0 && folds_now;
        let ends = account.refold || account.is_complete();
        self.applied = Position {
            sequence: stored.sequence,
            stored_nanoseconds: message.stored_nanoseconds,
        };
        if !new {
            return Ok(());
        }
        self.role.metrics.collected(outcome, stored.tasks());
        self.trace(&stored, outcome);
        match ends {
            true => self.conclude_if_complete(&stored.job).await,
            false => Ok(()),
        }
    }

    /// Ends the trace of a task; that of a chunk bears the name of its first task.
    fn trace(&self, stored: &StoredOutcome, outcome: Outcome) {
        if !self.role.tracer.is_on() {
            return;
        }
        let key = match &stored.whose {
            Whose::Task { key, .. } => key.clone(),
            Whose::Chunk { range, .. } => range.key(0),
        };
        let task = TaskId::new(stored.job.clone(), key);
        let span = self
            .role
            .tracer
            .collect(&task, stored.traceparent.as_deref());
        span.end((outcome == Outcome::Failed).then_some("dead letter"));
    }

    async fn conclude_if_complete(&mut self, job: &JobId) -> Result<(), String> {
        let Some(account) = self.ledger.accounts.get_mut(job) else {
            return Ok(());
        };
        let again = account.refold && !account.concluding;
        if !account.is_complete() && !again {
            return Ok(());
        }
        account.refold = false;
        if account.cancel.is_some() || !self.role.collector.folds() {
            return self.end(job, None).await;
        }
        account.concluding = true;
        let outcomes = account.progress.done + account.progress.failed;
        let (role, events) = (Arc::clone(&self.role), self.events.clone());
        let job = job.clone();
        self.spawn(async move {
            let _turn = role.folds.acquire().await;
            let collector = &role.collector;
            let folded = fold::fold(&role.broker, &role.user, collector, &job, outcomes).await;
            // Nobody listens once another collector leads; that one folds again.
            let _ = events.send(Event::Folded(job, folded));
        });
        Ok(())
    }

    async fn note_event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Folded(job, folded) => {
                if let Err(error) = &folded {
                    tracing::warn!(%job, error, "a job has no summary");
                }
                self.account(&job).await?.concluding = false;
                self.end(&job, folded.err()).await?;
                self.conclude_if_complete(&job).await
            }
            Event::CalledBack(job, callback) => {
                let account = self.account(&job).await?;
                account.calling_back = false;
                account.progress.callback = callback;
                account.dirty = true;
                Ok(())
            }
        }
    }

    /// Writes that `job` has ended, at once: somebody may be waiting for it.
    async fn end(&mut self, job: &JobId, fold_error: Option<String>) -> Result<(), String> {
        let account = self.account(job).await?;
        account.progress.ended_seconds = Some(clock::now_seconds());
        account.progress.fold_error = fold_error;
        account.dirty = true;
        self.role.metrics.job("ended");
        self.store_progress(job).await?;
        self.call_back(job);
        Ok(())
    }

    /// Stores what changed of a job. Fails if another leader has stored something meanwhile.
    async fn store_progress(&mut self, job: &JobId) -> Result<(), String> {
        let broker = Arc::clone(&self.role.broker);
        let Some(account) = self
            .ledger
            .accounts
            .get_mut(job)
            .filter(|account| account.dirty)
        else {
            return Ok(());
        };
        let jobs = Jobs::new(&broker);
        let stored = jobs.update_progress(job, &account.progress, account.revision);
        account.revision = stored.await.map_err(|e| e.to_string())?;
        account.dirty = false;
        account.touched_seconds = clock::now_seconds();
        Ok(())
    }

    /// Starts the callback of an ended job that still waits for it.
    fn call_back(&mut self, job: &JobId) {
        let Some(account) = self.ledger.accounts.get_mut(job) else {
            return;
        };
        let url = account
            .spec
            .as_ref()
            .and_then(|spec| spec.callback_url.clone());
        let due = account.progress.ended_seconds.is_some()
            && account.progress.callback == Callback::Pending
            && !account.calling_back;
        let (Some(url), true) = (url, due) else {
            return;
        };
        account.calling_back = true;
        let record = JobRecord {
            spec: account.spec.clone(),
            progress: Some(account.progress.clone()),
            revision: account.revision,
            cancel: account.cancel.clone(),
        };
        let Some(status) = jobs::account(job, &record, clock::now_seconds()) else {
            return;
        };
        let (role, events) = (Arc::clone(&self.role), self.events.clone());
        let job = job.clone();
        self.spawn(async move {
            let _turn = role.callbacks.acquire().await;
            let folds = role.collector.folds();
            let ended = outcomes::ended(&role.broker, status, folds).await;
            let callback = callback::call(&role.http, &role.config, &url, &ended).await;
            let _ = events.send(Event::CalledBack(job, callback));
        });
    }

    /// Deals with what ended while nobody led.
    async fn catch_up(&mut self) -> Result<(), String> {
        let jobs: Vec<JobId> = self.ledger.accounts.keys().cloned().collect();
        for job in jobs {
            self.conclude_if_complete(&job).await?;
            self.call_back(&job);
        }
        Ok(())
    }

    /// Stores the progress that changed, then how far the stream was read.
    async fn flush(&mut self) -> Result<(), String> {
        let changed = self
            .ledger
            .accounts
            .iter()
            .filter(|(_, account)| account.dirty);
        let changed: Vec<JobId> = changed.map(|(job, _)| job.clone()).collect();
        for job in &changed {
            self.store_progress(job).await?;
        }
        if self.applied != self.stored {
            let position = serde_json::to_vec(&self.applied).map_err(|error| error.to_string())?;
            let stored = self.role.broker.jobs.put(CHECKPOINT, position.into()).await;
            stored.map_err(|error| chain(&error))?;
            self.stored = self.applied;
        }
        self.ledger.forget_idle(clock::now_seconds(), IDLE_SECONDS);
        Ok(())
    }
}
