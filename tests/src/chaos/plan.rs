//! Which tasks are submitted, and how: a function of the seed.

use serde::{Deserialize, Serialize};
use serde_json::json;

/// A small generator of random numbers (SplitMix64): equal seeds, equal numbers, on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed` for one purpose.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        random
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How a task is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// With its result.
    Succeeds,
    /// With its result, after so many failed attempts.
    FailsFirst(u64),
    /// With its result, after it took its process with it once.
    KillsOnce,
    /// In the dead letters.
    FailsForGood,
    /// In the dead letters, with a panic.
    Panics,
}

impl Fate {
    /// The fate of the task with this number.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed, number.wrapping_mul(2) + 1);
        match random.below(20_000) {
            0..200 => Self::FailsFirst(1 + random.below(2)),
            200..300 => Self::FailsForGood,
            300..350 => Self::Panics,
            350..354 => Self::KillsOnce,
            _ => Self::Succeeds,
        }
    }

    /// Whether it is to have a result.
    pub fn succeeds(self) -> bool {
        !matches!(self, Self::FailsForGood | Self::Panics)
    }
}

/// The tag that a task carries and its result returns.
pub fn tag(number: u64) -> String {
    format!("t{number}")
}

/// The number that a tag stands for.
pub fn number_of(tag: &str) -> Option<u64> {
    tag.strip_prefix('t')?.parse().ok()
}

/// The body of the task with this number.
pub fn body(seed: u64, number: u64) -> String {
    let mut random = Random::new(seed, number.wrapping_mul(2) + 2);
    let seconds = match random.below(1000) {
        // Longer than the ack wait of the campaign: kept alive by heartbeats alone.
        0 => 2.5,
        1..20 => random.between(0.02, 0.2),
        _ => random.between(0.0, 0.004),
    };
    let mut task = json!({"seconds": (seconds * 1e4).round() / 1e4, "tag": tag(number)});
    let mut fail = |how: &str, attempts: Option<u64>| {
        task["fail"] = how.into();
        if let Some(attempts) = attempts {
            task["fail_attempts"] = attempts.into();
        }
    };
    match Fate::of(seed, number) {
        Fate::Succeeds => {}
        Fate::FailsFirst(attempts) => fail("transient", Some(attempts)),
        Fate::KillsOnce => fail("exit", Some(1)),
        Fate::FailsForGood => fail("permanent", None),
        Fate::Panics => fail("panic", None),
    }
    task.to_string()
}

/// The way tasks come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// HTTP, one JSON value.
    Single,
    /// HTTP, a JSON array.
    Array,
    /// HTTP, newline-delimited JSON.
    Lines,
    /// With an `Idempotency-Key`, cut in mid-body, then sent again until accepted.
    CutBody,
    /// With an `Idempotency-Key`, cut before the answer, then sent again until accepted.
    CutAnswer,
    /// With an `Idempotency-Key`, sent twice at once, then once more.
    Duplicate,
    /// Published straight to NATS, each with its acknowledgement awaited.
    Raw,
    /// HTTP, cancelled while it runs.
    Cancelled,
    /// HTTP, larger than the server's `max_payload`.
    Oversized,
}

impl Entry {
    /// All ways.
    pub const ALL: [Entry; 9] = [
        Entry::Single,
        Entry::Array,
        Entry::Lines,
        Entry::CutBody,
        Entry::CutAnswer,
        Entry::Duplicate,
        Entry::Raw,
        Entry::Cancelled,
        Entry::Oversized,
    ];

    /// Whether a submit is repeated under its key until it is accepted.
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::CutBody | Self::CutAnswer | Self::Duplicate)
    }

    fn draw(random: &mut Random) -> (Self, u64) {
        match random.below(100) {
            0..25 => (Self::Single, 1),
            25..40 => (Self::Array, 2 + random.below(60)),
            40..58 => (Self::Lines, 20 + random.below(200)),
            58..66 => (Self::CutBody, 10 + random.below(120)),
            66..73 => (Self::CutAnswer, 5 + random.below(100)),
            73..80 => (Self::Duplicate, 5 + random.below(100)),
            80..94 => (Self::Raw, 5 + random.below(60)),
            94..98 => (Self::Cancelled, 50 + random.below(200)),
            _ => (Self::Oversized, 1),
        }
    }
}

/// One submit: consecutive tasks through one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// Its number.
    pub submit: u64,
    /// The way in.
    pub entry: Entry,
    /// Number of its first task.
    pub first: u64,
    /// How many tasks it has.
    pub tasks: u64,
}

/// All submits of a campaign, with at least `tasks` tasks together.
pub fn submits(seed: u64, tasks: u64) -> Vec<Submit> {
    let mut random = Random::new(seed, 0);
    let mut submits = Vec::new();
    let mut first = 0;
    while first < tasks {
        let (entry, count) = match submits.len() {
            // Each at least once, however short the campaign.
            early if early < Entry::ALL.len() => (Entry::ALL[early], 1 + early as u64 * 4),
            _ => Entry::draw(&mut random),
        };
        let count = if entry == Entry::Oversized { 1 } else { count };
        submits.push(Submit {
            submit: submits.len() as u64,
            entry,
            first,
            tasks: count,
        });
        first += count;
    }
    submits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_its_tasks() {
        assert_eq!(submits(7, 5_000), submits(7, 5_000));
        assert_ne!(submits(7, 5_000), submits(8, 5_000));
        assert_eq!(body(7, 11), body(7, 11));
        assert_eq!(number_of(&tag(11)), Some(11));
    }

    #[test]
    fn submits_follow_on_each_other_and_use_every_entry() {
        let submits = submits(1, 20_000);
        let mut next = 0;
        for submit in &submits {
            assert_eq!(submit.first, next);
            next += submit.tasks;
        }
        assert!(next >= 20_000);
        for entry in Entry::ALL {
            assert!(submits.iter().any(|submit| submit.entry == entry));
        }
    }

    #[test]
    fn every_fate_is_met_and_most_tasks_succeed() {
        let fates: Vec<_> = (0..100_000).map(|number| Fate::of(3, number)).collect();
        let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count();
        for fate in [Fate::KillsOnce, Fate::FailsForGood, Fate::Panics] {
            assert!(count(fate) > 0, "{fate:?}");
        }
        assert!(count(Fate::Succeeds) > 95_000);
    }
}
