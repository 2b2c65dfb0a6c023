//! The shortest explanation of a violation: what was asked and answered about the task's submit, the
//! faults around that, and the outcomes of the task.

use super::super::history::{Event, What};
use super::super::plan::{Entry, tag};
use super::index::{Index, Record};

/// Faults that ended so long before a submit cannot have to do with it.
const BEFORE_SECONDS: f64 = 10.0;
/// Outcomes of a job that are shown.
const MOST_OUTCOMES: usize = 5;

pub(super) fn story(
    index: &Index,
    events: &[Event],
    number: Option<u64>,
    job: Option<&str>,
) -> Vec<String> {
    let by_job = || job.and_then(|job| index.submit_of_job(job));
    let record = number
        .and_then(|number| index.submit_of_task(number))
        .or_else(by_job);
    let Some(record) = record else {
        return outcomes(index, number, job, None);
    };
    let start = events.first().map_or(0.0, |event| event.at_seconds);
    let mine = |event: &&Event| event.what.submit() == Some(record.submit.submit);
    let asked: Vec<&Event> = events
        .iter()
        .filter(|event| mine(event) || is_about_job(&event.what, record))
        .collect();
    let stored = index_times(index, number, job, record);
    let times = asked.iter().map(|event| event.at_seconds).chain(stored);
    let (first, last) = times.fold((f64::MAX, f64::MIN), |(first, last), time| {
        (first.min(time), last.max(time))
    });
    let near = |event: &&Event| {
        let window = first - BEFORE_SECONDS..=last + 1.0;
        let fault = matches!(event.what, What::FaultBegin { .. } | What::FaultEnd { .. });
        fault && window.contains(&event.at_seconds)
    };
    let mut told: Vec<&Event> = events
        .iter()
        .filter(near)
        .chain(asked.iter().copied())
        .collect();
    told.sort_by(|a, b| a.at_seconds.total_cmp(&b.at_seconds));
    let line = |event: &Event| {
        let what = serde_json::to_string(&event.what).unwrap_or_default();
        format!("{:9.3} s  {what}", event.at_seconds - start)
    };
    let mut lines: Vec<String> = told.into_iter().map(line).collect();
    lines.extend(outcomes(index, number, job, Some((record, start))));
    lines
}

fn is_about_job(what: &What, record: &Record) -> bool {
    match what {
        What::CancelAsked { job } | What::CancelAnswered { job, .. } => {
            record.accepted.contains_key(job)
        }
        _ => false,
    }
}

fn places(number: Option<u64>, record: &Record) -> Vec<(String, String)> {
    let Some(number) = number else {
        return Vec::new();
    };
    let key = match record.submit.entry {
        Entry::Raw => tag(number),
        _ => (number - record.submit.first).to_string(),
    };
    let jobs = record.accepted.keys().chain(&record.refused_jobs);
    jobs.map(|job| (job.clone(), key.clone())).collect()
}

fn index_times(index: &Index, number: Option<u64>, job: Option<&str>, record: &Record) -> Vec<f64> {
    let tasks = places(number, record).into_iter();
    let mut times: Vec<f64> = tasks
        .flat_map(|(job, key)| index.outcomes_of(&job, &key))
        .map(|outcome| outcome.stored_seconds)
        .collect();
    if let (Some(job), None) = (job, number) {
        times.extend(
            index
                .outcomes_in(job)
                .iter()
                .map(|outcome| outcome.stored_seconds),
        );
    }
    times
}

fn outcomes(
    index: &Index,
    number: Option<u64>,
    job: Option<&str>,
    known: Option<(&Record, f64)>,
) -> Vec<String> {
    let start = known.map_or(0.0, |(_, start)| start);
    let mut found = Vec::new();
    let mut letters = Vec::new();
    for (job, key) in known.map_or(Vec::new(), |(record, _)| places(number, record)) {
        found.extend(index.outcomes_of(&job, &key));
        letters.extend(index.letters_of(&job, &key));
    }
    if let (Some(job), true) = (job, found.is_empty()) {
        found.extend(index.outcomes_in(job).into_iter().take(MOST_OUTCOMES));
    }
    let outcomes = found.into_iter().map(|outcome| {
        let at = outcome.stored_seconds - start;
        format!("{at:9.3} s  stored: {outcome:?}")
    });
    let letters = letters
        .into_iter()
        .map(|letter| format!("             dead letter: {letter:?}"));
    outcomes.chain(letters).collect()
}
