//! Record and reads, arranged for looking things up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::history::{Event, What};
use super::super::plan::{Entry, Submit, number_of};
use super::super::reads::{LetterRead, OutcomeRead, Reads};

/// All that is known of one submit.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub submit: Submit,
    /// Jobs it was accepted as, with the tasks they were said to have.
    pub accepted: BTreeMap<String, u64>,
    /// Jobs that were named when it was refused.
    pub refused_jobs: BTreeSet<String>,
    /// Whether it was ever left unanswered.
    pub unknown: bool,
    /// Whether the job was to be cancelled.
    pub cancel_asked: bool,
}

impl Record {
    /// Whether a task of that key can be in its job.
    pub fn holds(&self, key: &str) -> bool {
        let numbers = self.submit.first..self.submit.first + self.submit.tasks;
        match self.submit.entry {
            Entry::Raw => number_of(key).is_some_and(|number| numbers.contains(&number)),
            _ => key
                .parse::<u64>()
                .is_ok_and(|position| position < self.submit.tasks),
        }
    }
}

type ByTask<'a, T> = HashMap<&'a str, HashMap<&'a str, Vec<&'a T>>>;

/// Everything by submit, job and task.
pub(super) struct Index<'a> {
    pub submits: BTreeMap<u64, Record>,
    /// The first number of each submit.
    firsts: BTreeMap<u64, u64>,
    jobs: HashMap<&'a str, u64>,
    outcomes: ByTask<'a, OutcomeRead>,
    letters: ByTask<'a, LetterRead>,
}

impl<'a> Index<'a> {
    pub fn new(events: &'a [Event], reads: &'a Reads) -> Self {
        let mut index = Self {
            submits: BTreeMap::new(),
            firsts: BTreeMap::new(),
            jobs: HashMap::new(),
            outcomes: HashMap::new(),
            letters: HashMap::new(),
        };
        for event in events {
            index.add(&event.what);
        }
        for outcome in &reads.outcomes {
            let job = index.outcomes.entry(&outcome.job).or_default();
            job.entry(&outcome.key).or_default().push(outcome);
        }
        for letter in &reads.letters {
            let job = index.letters.entry(&letter.job).or_default();
            job.entry(&letter.key).or_default().push(letter);
        }
        index
    }

    fn add(&mut self, what: &'a What) {
        match what {
            What::Invoked { submit } => {
                self.firsts.insert(submit.first, submit.submit);
                self.submits.entry(submit.submit).or_insert_with(|| Record {
                    submit: submit.clone(),
                    accepted: BTreeMap::new(),
                    refused_jobs: BTreeSet::new(),
                    unknown: false,
                    cancel_asked: false,
                });
            }
            What::Accepted {
                submit,
                job,
                accepted,
            } => {
                self.jobs.insert(job, *submit);
                if let Some(record) = self.submits.get_mut(submit) {
                    record.accepted.insert(job.clone(), *accepted);
                }
            }
            What::Refused {
                submit,
                job: Some(job),
                ..
            } => {
                if let Some(record) = self.submits.get_mut(submit) {
                    record.refused_jobs.insert(job.clone());
                }
            }
            What::Unknown { submit, .. } => {
                if let Some(record) = self.submits.get_mut(submit) {
                    record.unknown = true;
                }
            }
            What::CancelAsked { job } => {
                let submit = self.jobs.get(job.as_str());
                if let Some(record) = submit.and_then(|submit| self.submits.get_mut(submit)) {
                    record.cancel_asked = true;
                }
            }
            _ => {}
        }
    }

    pub fn submit_of_job(&self, job: &str) -> Option<&Record> {
        self.submits.get(self.jobs.get(job)?)
    }

    pub fn submit_of_task(&self, number: u64) -> Option<&Record> {
        let (first, submit) = self.firsts.range(..=number).next_back()?;
        let record = self.submits.get(submit)?;
        (number < first + record.submit.tasks).then_some(record)
    }

    pub fn outcomes_of(&self, job: &str, key: &str) -> Vec<&'a OutcomeRead> {
        let found = self.outcomes.get(job).and_then(|job| job.get(key));
        found.cloned().unwrap_or_default()
    }

    pub fn letters_of(&self, job: &str, key: &str) -> Vec<&'a LetterRead> {
        let found = self.letters.get(job).and_then(|job| job.get(key));
        found.cloned().unwrap_or_default()
    }

    pub fn outcomes_in(&self, job: &str) -> Vec<&'a OutcomeRead> {
        let found = self.outcomes.get(job).into_iter();
        found.flat_map(HashMap::values).flatten().copied().collect()
    }
}
