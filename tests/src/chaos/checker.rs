//! Finds violations of what the farm promises: pure, over the record and the final reads.

mod explain;
mod index;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use farm_core::http::JobState;
use serde::Serialize;

use super::history::{Event, What};
use super::plan::{Entry, Fate, Submit, tag};
use super::reads::{AccountRead, LetterRead, OutcomeRead, Reads};
use index::{Index, Record};

/// Violations that are explained.
const MOST_STORIES: usize = 50;

/// What was agreed with the farm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The seed, which tells what each task is.
    pub seed: u64,
    /// Replicas lost with a task before it is given up.
    pub max_deliveries: u64,
    /// Failed attempts before a task is given up.
    pub max_attempts: u64,
}

/// What may be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// An acknowledged task has neither result nor dead letter, and was not cancelled.
    Lost,
    /// A task has two outcomes.
    SecondOutcome,
    /// A result or dead letter is another task's.
    ForeignTag,
    /// An outcome of what was never submitted, or was refused.
    Phantom,
    /// A failure without its dead letter.
    MissingLetter,
    /// A dead letter without its failure, or two of one task.
    StrayLetter,
    /// A task that cannot succeed did, or one that can was given up too early.
    WrongOutcome,
    /// More or fewer attempts than there can be.
    Attempts,
    /// A job's account does not say what the streams hold.
    Account,
    /// One idempotency key was accepted as two jobs.
    SecondJob,
    /// Outcomes were delivered out of order, twice, or not at all.
    Order,
    /// Tasks are still queued at the end.
    Unsettled,
}

/// One violation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// What is broken.
    pub broken: Broken,
    /// How, in one sentence.
    pub what: String,
    /// What happened to the task or job, in order.
    pub story: Vec<String>,
}

/// Counts beside the violations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Tasks that were acknowledged, by entry.
    pub acknowledged: BTreeMap<Entry, u64>,
    /// Tasks of submits that were never acknowledged, by entry.
    pub unacknowledged: BTreeMap<Entry, u64>,
    /// Acknowledged tasks with a result.
    pub done: u64,
    /// Acknowledged tasks with a dead letter.
    pub failed: u64,
    /// Acknowledged tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks that were to succeed and were given up at the ceiling.
    pub given_up: u64,
    /// The most deliveries of one task.
    pub most_attempts: u64,
    /// Jobs whose accounts were compared.
    pub accounts: u64,
    /// Jobs whose results were followed while they ran, to their end.
    pub followed: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Everything that is broken.
    pub violations: Vec<Violation>,
    /// Counts.
    pub tally: Tally,
}

/// Checks a record against the final reads.
pub fn check(events: &[Event], reads: &Reads, rules: &Rules) -> Verdict {
    let mut check = Check {
        index: Index::new(events, reads),
        events,
        reads,
        rules,
        verdict: Verdict::default(),
    };
    check.submits();
    check.outcomes();
    check.letters();
    check.followed();
    if reads.tasks_left > 0 {
        let what = format!("{} tasks are still queued", reads.tasks_left);
        check.found(Broken::Unsettled, what, None, None);
    }
    check.verdict
}

struct Check<'a> {
    index: Index<'a>,
    events: &'a [Event],
    reads: &'a Reads,
    rules: &'a Rules,
    verdict: Verdict,
}

impl Check<'_> {
    fn found(&mut self, broken: Broken, what: String, number: Option<u64>, job: Option<&str>) {
        // The first ones say it all, should there be many.
        let story = match self.verdict.violations.len() {
            0..MOST_STORIES => explain::story(&self.index, self.events, number, job),
            _ => Vec::new(),
        };
        self.verdict.violations.push(Violation {
            broken,
            what,
            story,
        });
    }

    /// Every acknowledged task against its one end.
    fn submits(&mut self) {
        let records: Vec<Record> = self.index.submits.values().cloned().collect();
        for record in records {
            let Submit { submit, entry, .. } = record.submit;
            if record.accepted.len() > 1 {
                let what = format!("submit {submit} is jobs {:?}", record.accepted.keys());
                self.found(Broken::SecondJob, what, Some(record.submit.first), None);
            }
            let Some((job, accepted)) = record.accepted.first_key_value() else {
                let count = self.verdict.tally.unacknowledged.entry(entry).or_default();
                *count += record.submit.tasks;
                continue;
            };
            *self.verdict.tally.acknowledged.entry(entry).or_default() += record.submit.tasks;
            if *accepted != record.submit.tasks {
                let sent = record.submit.tasks;
                let what = format!("job {job} took {accepted} of {sent} tasks");
                self.found(Broken::Account, what, None, Some(job));
            }
            for position in 0..record.submit.tasks {
                self.task(&record, job, position);
            }
            self.account(&record, job);
        }
    }

    fn task(&mut self, record: &Record, job: &str, position: u64) {
        let number = record.submit.first + position;
        let key = match record.submit.entry {
            Entry::Raw => tag(number),
            _ => position.to_string(),
        };
        let outcomes = self.index.outcomes_of(job, &key);
        match outcomes[..] {
            [] if record.cancel_asked && self.reads.cancelled.contains(job) => {
                self.verdict.tally.cancelled += 1;
            }
            [] => {
                let what = format!("task {number} ({job}.{key}) was acknowledged and has no end");
                self.found(Broken::Lost, what, Some(number), None);
            }
            [outcome] => self.ended(number, outcome),
            _ => {
                let count = outcomes.len();
                let what = format!("task {number} ({job}.{key}) has {count} outcomes");
                self.found(Broken::SecondOutcome, what, Some(number), None);
            }
        }
    }

    fn ended(&mut self, number: u64, outcome: &OutcomeRead) {
        let OutcomeRead { job, key, .. } = outcome;
        let fate = Fate::of(self.rules.seed, number);
        self.attempts(number, outcome);
        if outcome.done {
            self.verdict.tally.done += 1;
            if outcome.number != Some(number) {
                let tag = outcome.number.map_or("none".to_owned(), tag);
                let what = format!("the result of task {number} ({job}.{key}) has the tag {tag}");
                self.found(Broken::ForeignTag, what, Some(number), None);
            } else if !fate.succeeds() {
                let what = format!("task {number} cannot succeed and has a result");
                self.found(Broken::WrongOutcome, what, Some(number), None);
            }
            return;
        }
        self.verdict.tally.failed += 1;
        let Some(letter) = self.index.letters_of(job, key).first().copied() else {
            let what = format!("task {number} ({job}.{key}) failed without a dead letter");
            self.found(Broken::MissingLetter, what, Some(number), None);
            return;
        };
        if letter.number != Some(number) {
            let what = format!("the dead letter of task {number} ({job}.{key}) is not its body");
            self.found(Broken::ForeignTag, what, Some(number), None);
        }
        if fate.succeeds() {
            self.given_up(number, letter);
        }
    }

    fn attempts(&mut self, number: u64, outcome: &OutcomeRead) {
        let attempt = outcome.attempt;
        let tally = &mut self.verdict.tally;
        tally.most_attempts = tally.most_attempts.max(attempt);
        // What is handed back is delivered again, too; no campaign hands a task back so often.
        let most = self.rules.max_deliveries + self.rules.max_attempts;
        let fewest = match Fate::of(self.rules.seed, number) {
            Fate::FailsFirst(failures) if outcome.done => failures + 1,
            Fate::KillsOnce if outcome.done => 2,
            _ => 1,
        };
        if !(fewest..=most).contains(&attempt) {
            let what =
                format!("task {number} ended after {attempt} attempts, not {fewest}..={most}");
            self.found(Broken::Attempts, what, Some(number), None);
        }
    }

    /// A task that could have succeeded may only be given up at a ceiling.
    fn given_up(&mut self, number: u64, letter: &LetterRead) {
        self.verdict.tally.given_up += 1;
        let ceiling = self.rules.max_attempts.min(self.rules.max_deliveries);
        if letter.attempt < ceiling {
            let what = format!(
                "task {number} was given up after {} deliveries: {}",
                letter.attempt, letter.cause
            );
            self.found(Broken::WrongOutcome, what, Some(number), None);
        }
    }

    fn account(&mut self, record: &Record, job: &str) {
        let outcomes = self.index.outcomes_in(job);
        let done = outcomes.iter().filter(|outcome| outcome.done).count() as u64;
        let failed = outcomes.len() as u64 - done;
        let Some(account) = self.reads.accounts.get(job) else {
            let what = format!("the farm has no account of job {job}");
            return self.found(Broken::Account, what, None, Some(job));
        };
        self.verdict.tally.accounts += 1;
        let raw = record.submit.entry == Entry::Raw;
        let cancelled = record.cancel_asked && self.reads.cancelled.contains(job);
        let rest = record.submit.tasks.saturating_sub(done + failed);
        let states: &[JobState] = match (raw, cancelled) {
            // Nobody says how many tasks it has.
            (true, _) => &[JobState::Open],
            (false, true) => &[JobState::Cancelled, JobState::Done],
            (false, false) => &[JobState::Done],
        };
        let wanted = AccountRead {
            state: account.state,
            accepted: (!raw).then_some(record.submit.tasks),
            done,
            failed,
            cancelled: if cancelled { rest } else { 0 },
            in_flight: 0,
        };
        if *account != wanted || !states.contains(&account.state) {
            let what = format!("job {job}: the account says {account:?}, the streams {wanted:?}");
            self.found(Broken::Account, what, None, Some(job));
        }
    }

    /// Every outcome against the submit it comes from.
    fn outcomes(&mut self) {
        let mut elsewhere: HashMap<u64, &OutcomeRead> = HashMap::new();
        for outcome in &self.reads.outcomes {
            let OutcomeRead { job, key, .. } = outcome;
            if let Some(record) = self.index.submit_of_job(job) {
                if !record.holds(key) {
                    let what = format!("{job}.{key} is no task of its job");
                    self.found(Broken::Phantom, what, None, Some(job));
                }
                continue;
            }
            let letters = self.index.letters_of(job, key);
            let number = outcome
                .number
                .or_else(|| letters.first().and_then(|letter| letter.number));
            let record = number
                .and_then(|number| self.index.submit_of_task(number))
                .cloned();
            let (Some(number), Some(record)) = (number, record) else {
                let what = format!("{job}.{key} has an outcome and was never submitted");
                self.found(Broken::Phantom, what, None, Some(job));
                continue;
            };
            // What was refused, or taken in for a client that did not wait for the answer.
            if self.reads.cancelled.contains(job) || record.refused_jobs.contains(job) {
                continue;
            }
            if !record.unknown || !record.accepted.is_empty() {
                let what = format!("task {number} has an outcome outside its job, as {job}.{key}");
                self.found(Broken::Phantom, what, Some(number), None);
            } else if elsewhere.insert(number, outcome).is_some() {
                let what = format!("task {number}, never acknowledged, has two outcomes");
                self.found(Broken::SecondOutcome, what, Some(number), None);
            }
        }
    }

    fn letters(&mut self) {
        let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
        for letter in &self.reads.letters {
            let LetterRead { job, key, .. } = letter;
            let count = seen.entry((job, key)).or_default();
            *count += 1;
            let outcomes = self.index.outcomes_of(job, key);
            let failed = outcomes.iter().any(|outcome| !outcome.done);
            if *count > 1 || !failed {
                let what = format!("{job}.{key} has a dead letter beside its result, or a second");
                self.found(Broken::StrayLetter, what, letter.number, Some(job));
            }
        }
    }

    fn followed(&mut self) {
        for event in self.events {
            let What::Followed {
                job,
                cursors,
                complete,
            } = &event.what
            else {
                continue;
            };
            let mut stored: Vec<u64> = self
                .index
                .outcomes_in(job)
                .iter()
                .map(|outcome| outcome.cursor)
                .collect();
            stored.sort_unstable();
            let rising = cursors.windows(2).all(|pair| pair[0] < pair[1]);
            let known = cursors
                .iter()
                .all(|cursor| stored.binary_search(cursor).is_ok());
            // Of a cancelled job, what had started may end after its stream.
            let all = self.reads.cancelled.contains(job) || cursors.len() == stored.len();
            if !rising || !known || (*complete && !all) {
                let (came, are) = (cursors.len(), stored.len());
                let what = format!(
                    "a follower of job {job} got {came} outcomes of {are}, rising: {rising}"
                );
                self.found(Broken::Order, what, None, Some(job));
            }
            self.verdict.tally.followed += u64::from(*complete);
        }
    }
}
