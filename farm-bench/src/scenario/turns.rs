//! Sides that take turns, so that a slow minute of the machine meets all of them.

use serde::Serialize;

use crate::bench::Bench;
use crate::error::Error;

/// The longest run by number of tasks: more says nothing that these do not.
const MOST_TASKS: u64 = 20_000_000;

/// The runs of both sides, pair by pair.
#[derive(Debug, Serialize)]
pub(super) struct Pairs<T> {
    pub raw: Vec<T>,
    pub farm: Vec<T>,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Raw,
    Farm,
}

impl<T> Pairs<T> {
    /// Runs both sides in turns.
    pub async fn run(
        bench: &Bench,
        what: &str,
        raw: impl AsyncFn() -> Result<T, Error>,
        farm: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<Self, Error> {
        let mut sides = [(Side::Raw, Vec::new()), (Side::Farm, Vec::new())];
        in_turns(bench, what, &mut sides, async |side| match side {
            Side::Raw => raw().await,
            Side::Farm => farm().await,
        })
        .await?;
        let [(_, raw), (_, farm)] = sides;
        Ok(Self { raw, farm })
    }

    /// A value of the farm over that of the raw loop, pair by pair.
    pub fn ratios(&self, value: impl Fn(&T) -> f64) -> impl Iterator<Item = f64> {
        let pairs = self.farm.iter().zip(&self.raw);
        pairs.map(move |(farm, raw)| value(farm) / value(raw).max(1e-9))
    }
}

/// Runs every side once in each round, and gathers what it came to.
///
/// Whoever comes later meets a warmer machine, so another side begins in every round.
pub(super) async fn in_turns<S, T>(
    bench: &Bench,
    what: &str,
    sides: &mut [(S, Vec<T>)],
    run: impl AsyncFn(&S) -> Result<T, Error>,
) -> Result<(), Error> {
    for round in 0..bench.settings.pairs {
        let (number, of) = (round + 1, bench.settings.pairs);
        bench.say(format!("{what}: round {number} of {of}"));
        let (before, from) = sides.split_at_mut(round % sides.len().max(1));
        for (side, runs) in from.iter_mut().chain(before) {
            runs.push(run(side).await?);
        }
    }
    Ok(())
}

/// How many tasks make a run of the wanted length, going by the tasks a second that `trial` reaches
/// with so many of them.
pub(super) async fn fitting(
    bench: &Bench,
    what: &str,
    trial_tasks: u64,
    trial: impl AsyncFn(u64) -> Result<f64, Error>,
) -> Result<u64, Error> {
    let most = bench.settings.max_tasks.unwrap_or(MOST_TASKS);
    if most <= trial_tasks {
        return Ok(most);
    }
    bench.say(format!("{what}: trial"));
    let tasks = trial(trial_tasks).await? * bench.settings.run_seconds;
    Ok((tasks as u64).clamp(trial_tasks, most))
}

/// Tasks of a trial: enough that starting it does not hide the rate.
pub(super) fn trial_tasks(tasks_per_message: u32) -> u64 {
    u64::from(tasks_per_message * 64).max(5_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::bench::Settings;

    fn bench(pairs: usize) -> Bench {
        let settings = Settings {
            nats_server: "/bin/echo".into(),
            pairs,
            run_seconds: 2.0,
            max_tasks: None,
            slots: 1,
            all: false,
            only: Vec::new(),
            idle_seconds: 1.0,
            idle_workers: 1,
            function: None,
            function_job: String::new(),
        };
        Bench::new(settings, |_| {})
    }

    #[tokio::test]
    async fn every_side_begins_in_its_turn() {
        let order = RefCell::new(String::new());
        let mut sides = ['a', 'b', 'c'].map(|side| (side, Vec::new()));
        let run = async |side: &char| {
            order.borrow_mut().push(*side);
            Ok(order.borrow().len())
        };
        in_turns(&bench(4), "a test", &mut sides, run)
            .await
            .unwrap();
        assert_eq!(order.into_inner(), "abcbcacababc");
        assert_eq!(sides[0].1, [1, 6, 8, 10]);
    }

    #[tokio::test]
    async fn ratios_are_taken_within_a_pair() {
        let rates = RefCell::new(vec![4.0, 1.0, 2.0, 2.0]);
        let next = async || Ok(rates.borrow_mut().pop().unwrap());
        let pairs = Pairs::run(&bench(2), "a test", next, next).await.unwrap();
        // The raw loop begins the first pair, the farm the second.
        assert_eq!(
            (&pairs.raw[..], &pairs.farm[..]),
            (&[2.0, 4.0][..], &[2.0, 1.0][..])
        );
        assert_eq!(pairs.ratios(|rate| *rate).collect::<Vec<_>>(), [1.0, 0.25]);
    }

    #[tokio::test]
    async fn a_run_is_as_long_as_wanted() {
        let rate = async |tasks: u64| Ok(10.0 * tasks as f64);
        assert_eq!(
            fitting(&bench(1), "a test", 100, rate).await.unwrap(),
            2_000
        );
        let mut few = bench(1);
        few.settings.max_tasks = Some(50);
        assert_eq!(fitting(&few, "a test", 100, rate).await.unwrap(), 50);
        few.settings.max_tasks = Some(150);
        assert_eq!(fitting(&few, "a test", 100, rate).await.unwrap(), 150);
    }
}
