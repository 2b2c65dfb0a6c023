//! How long the farm took to settle tasks again after each fault.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::history::{Event, What};
use super::reads::Reads;
use super::schedule::Kind;

/// One fault, and what came after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// Its number.
    pub fault: usize,
    /// What it was.
    pub kind: Kind,
    /// Whom it struck.
    pub target: String,
    /// From the heal to the first outcome of a task that was submitted after it, in seconds.
    pub serves_seconds: Option<f64>,
    /// From the heal to the last outcome of the tasks that were accepted before the fault and had
    /// none when it began, in seconds; what they take themselves is in it.
    pub settles_seconds: Option<f64>,
}

/// One kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindRecovery {
    /// The kind.
    pub kind: Kind,
    /// How often it struck.
    pub faults: usize,
    /// Median time until new tasks were served, in seconds.
    pub serves_p50_seconds: f64,
    /// Longest such time.
    pub serves_max_seconds: f64,
    /// Median time until the old tasks were settled, in seconds.
    pub settles_p50_seconds: f64,
    /// Longest such time.
    pub settles_max_seconds: f64,
}

/// How many of the slowest tasks are told of.
const SLOWEST: usize = 5;

/// A task that took long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slow {
    /// `<job>.<key>`.
    pub task: String,
    /// From its acceptance to its outcome, in seconds.
    pub seconds: f64,
    /// Deliveries it took.
    pub attempt: u64,
    /// Who computed it.
    pub worker: String,
}

/// The tasks whose outcomes came latest after their acceptance.
pub fn slowest(events: &[Event], reads: &Reads) -> Vec<Slow> {
    let mut accepted = HashMap::new();
    for event in events {
        if let What::Accepted { job, .. } = &event.what {
            accepted.entry(job.as_str()).or_insert(event.at_seconds);
        }
    }
    let mut slow: Vec<Slow> = reads
        .outcomes
        .iter()
        .filter_map(|outcome| {
            Some(Slow {
                task: format!("{}.{}", outcome.job, outcome.key),
                seconds: outcome.stored_seconds - accepted.get(outcome.job.as_str())?,
                attempt: outcome.attempt,
                worker: outcome.worker.clone(),
            })
        })
        .collect();
    slow.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    slow.truncate(SLOWEST);
    slow
}

/// One settled task.
struct Settled {
    invoked_seconds: f64,
    accepted_seconds: f64,
    stored_seconds: f64,
}

/// The recovery from each fault of a record.
pub fn recoveries(events: &[Event], reads: &Reads) -> Vec<Recovery> {
    let settled = settled(events, reads);
    let mut ends = HashMap::new();
    for event in events {
        if let What::FaultEnd { fault } = event.what {
            ends.insert(fault, event.at_seconds);
        }
    }
    let begun = events.iter().filter_map(|event| match &event.what {
        What::FaultBegin {
            fault,
            kind,
            target,
        } => Some((event.at_seconds, *fault, *kind, target)),
        _ => None,
    });
    begun
        .map(|(begin, fault, kind, target)| {
            let healed = ends.get(&fault).copied().unwrap_or(begin);
            let new = settled.iter().filter(|task| task.invoked_seconds >= healed);
            let old = settled
                .iter()
                .filter(|task| task.accepted_seconds <= begin && task.stored_seconds > begin);
            let serves = new
                .map(|task| task.stored_seconds - healed)
                .reduce(f64::min);
            let settles = old.map(|task| (task.stored_seconds - healed).max(0.0));
            Recovery {
                fault,
                kind,
                target: target.clone(),
                serves_seconds: serves,
                settles_seconds: settles.reduce(f64::max),
            }
        })
        .collect()
}

fn settled(events: &[Event], reads: &Reads) -> Vec<Settled> {
    let (mut invoked, mut jobs) = (HashMap::new(), HashMap::new());
    for event in events {
        match &event.what {
            What::Invoked { submit } => {
                invoked.entry(submit.submit).or_insert(event.at_seconds);
            }
            What::Accepted { submit, job, .. } => {
                jobs.entry(job.as_str())
                    .or_insert((*submit, event.at_seconds));
            }
            _ => {}
        }
    }
    let outcomes = reads.outcomes.iter();
    outcomes
        .filter_map(|outcome| {
            let (submit, accepted_seconds) = *jobs.get(outcome.job.as_str())?;
            // One of a submit that was sent more than once may have come early.
            Some(Settled {
                invoked_seconds: *invoked.get(&submit)?,
                accepted_seconds,
                stored_seconds: outcome.stored_seconds,
            })
        })
        .collect()
}

/// Sums up by kind.
pub fn by_kind(recoveries: &[Recovery]) -> Vec<KindRecovery> {
    let mut kinds: BTreeMap<Kind, Vec<&Recovery>> = BTreeMap::new();
    for recovery in recoveries {
        kinds.entry(recovery.kind).or_default().push(recovery);
    }
    let row = |(kind, faults): (Kind, Vec<&Recovery>)| {
        let serves = faults.iter().filter_map(|fault| fault.serves_seconds);
        let (serves_p50_seconds, serves_max_seconds) = median_and_max(serves);
        let settles = faults.iter().filter_map(|fault| fault.settles_seconds);
        let (settles_p50_seconds, settles_max_seconds) = median_and_max(settles);
        KindRecovery {
            kind,
            faults: faults.len(),
            serves_p50_seconds,
            serves_max_seconds,
            settles_p50_seconds,
            settles_max_seconds,
        }
    };
    kinds.into_iter().map(row).collect()
}

fn median_and_max(times: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    let max = times.last().copied().unwrap_or(0.0);
    (times.get(times.len() / 2).copied().unwrap_or(0.0), max)
}
