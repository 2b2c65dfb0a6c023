//! The raw collector.

use std::collections::BTreeMap;

use async_nats::jetstream::AckKind;
use futures_util::StreamExt;

use super::emitter::parts;
use super::streams::results;
use super::worker::identity;
use super::{Gathered, Load, PULL_BATCH, connect, say};
use crate::error::Error;
use crate::part::end_with_parent;
use crate::task::epoch_nanoseconds;

/// Gathers the result of every task, then tells what it has.
pub(crate) async fn collect(load: Load) -> Result<(), Error> {
    end_with_parent();
    let client = connect(&load).await?;
    let mut results = results(client).await?;
    let mut tally = Tally::new(load.work.tasks, load.work.warm_up_tasks());
    say("ready")?;
    let mut unacknowledged = 0;
    while tally.tasks < load.work.tasks {
        let Some(result) = results.next().await else {
            break;
        };
        let result = result.map_err(Error::broker("pull results"))?;
        let first = identity(&result).parse().unwrap_or(u64::MAX);
        match load.chunk {
            1 => tally.count(first, &result.payload),
            _ => {
                for (index, part) in (0..).zip(parts(&result.payload)) {
                    tally.count(first.saturating_add(index), part);
                }
            }
        }
        unacknowledged += 1;
        if unacknowledged >= PULL_BATCH || tally.tasks == load.work.tasks {
            unacknowledged = 0;
            let done = result.ack_with(AckKind::Ack).await;
            done.map_err(|error| Error::Broker {
                action: "acknowledge results".to_owned(),
                cause: error.to_string(),
            })?;
        }
    }
    say("gathered")?;
    let gathered = serde_json::to_string(&tally.into_gathered()).unwrap_or_default();
    say(&gathered)?;
    std::future::pending().await
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
            && intended_text != b"0"
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
