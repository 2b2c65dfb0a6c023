//! The raw collector.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;

use super::emitter::parts;
use super::streams::results;
use super::{Gathered, Gathering, Load, Once, PULL_BATCH, connect, say};
use crate::error::Error;
use crate::part::end_with_parent;
use crate::task::epoch_nanoseconds;

/// What a task says whose time is of no interest.
const NO_TIME: &[u8] = b"0";

/// Gathers the results of each job, and tells at the end what it has.
pub(crate) async fn collect(load: Load) -> Result<(), Error> {
    end_with_parent();
    let client = connect(&load).await?;
    let mut results = results(client).await?;
    let mut tally = Tally::new(load.cold_tasks + load.work.tasks, load.work.warm_up_tasks());
    say("ready")?;
    for numbers in load.jobs() {
        gather(&load, &mut results, &mut tally, numbers.end).await?;
        say("gathered")?;
    }
    let gathered = serde_json::to_string(&tally.into_gathered()).unwrap_or_default();
    say(&gathered)?;
    std::future::pending().await
}

/// Gathers results until there are `tasks` of them, those of jobs before included.
async fn gather(
    load: &Load,
    results: &mut pull::Stream,
    tally: &mut Tally,
    tasks: u64,
) -> Result<(), Error> {
    let mut unacknowledged = 0;
    while tally.tasks < tasks {
        let Some(result) = results.next().await else {
            break;
        };
        let result = result.map_err(Error::broker("pull results"))?;
        count(load, tally, &result);
        unacknowledged += 1;
        let due = unacknowledged >= PULL_BATCH || tally.tasks == tasks;
        if due && load.safety.gathering == Gathering::Acknowledged {
            unacknowledged = 0;
            let done = result.ack_with(AckKind::Ack).await;
            done.map_err(|error| Error::Broker {
                action: "acknowledge results".to_owned(),
                cause: error.to_string(),
            })?;
        }
    }
    Ok(())
}

fn count(load: &Load, tally: &mut Tally, result: &Message) {
    let once = load.safety.once;
    let first = once.number(result).parse().unwrap_or(u64::MAX);
    match load.chunk {
        1 if once == Once::Unchecked => tally.count(first, NO_TIME),
        1 => tally.count(first, &result.payload),
        _ => {
            for (index, part) in (0..).zip(parts(&result.payload)) {
                tally.count(first.saturating_add(index), part);
            }
        }
    }
}

/// Counts each task once.
struct Tally {
    seen: Vec<bool>,
    warm_up: u64,
    tasks: u64,
    repeated: u64,
    latency_microseconds: BTreeMap<u64, u64>,
}

impl Tally {
    fn new(tasks: u64, warm_up: u64) -> Self {
        Self {
            seen: vec![false; tasks as usize],
            warm_up,
            tasks: 0,
            repeated: 0,
            latency_microseconds: BTreeMap::new(),
        }
    }

    fn count(&mut self, task: u64, intended_text: &[u8]) {
        let seen = usize::try_from(task).ok();
        let Some(seen) = seen.and_then(|index| self.seen.get_mut(index)) else {
            self.repeated += 1;
            return;
        };
        if std::mem::replace(seen, true) {
            self.repeated += 1;
            return;
        }
        self.tasks += 1;
        if task >= self.warm_up
            && intended_text != NO_TIME
            && let Some(intended) = number(intended_text)
        {
            let microseconds = epoch_nanoseconds().saturating_sub(intended) / 1000;
            *self.latency_microseconds.entry(microseconds).or_default() += 1;
        }
    }

    fn into_gathered(self) -> Gathered {
        Gathered {
            tasks: self.tasks,
            repeated: self.repeated,
            latency_microseconds: self.latency_microseconds.into_iter().collect(),
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_counts_once_and_a_stranger_never() {
        let mut tally = Tally::new(2, 0);
        for task in [0, 1, 1, 7] {
            tally.count(task, b"0");
        }
        let gathered = tally.into_gathered();
        assert_eq!((gathered.tasks, gathered.repeated), (2, 2));
        assert!(gathered.latency_microseconds.is_empty());
    }
}
