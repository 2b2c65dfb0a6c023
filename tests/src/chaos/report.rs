//! What a campaign found, as tables and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::checker::{Broken, Tally, Violation};
use super::plan::Entry;
use super::recovery::{KindRecovery, Recovery, Slow};

/// Violations that are told in full.
const TOLD: usize = 5;

/// The account of one campaign.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The seed that replays it.
    pub seed: u64,
    /// NATS servers.
    pub servers: usize,
    /// From the first submit to the last outcome, in seconds.
    pub elapsed_seconds: f64,
    /// Of that, from the last submit and the last heal on, in seconds.
    pub drain_seconds: f64,
    /// How often processes were started again, by name.
    pub restarts: BTreeMap<String, usize>,
    /// Counts.
    pub tally: Tally,
    /// Recovery by kind of fault.
    pub kinds: Vec<KindRecovery>,
    /// The tasks that took longest.
    pub slowest: Vec<Slow>,
    /// Every fault.
    pub faults: Vec<Recovery>,
    /// Everything that is broken.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Tasks that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.tally.acknowledged.values().sum()
    }

    /// Violations by what is broken.
    pub fn broken(&self) -> BTreeMap<Broken, usize> {
        let mut broken = BTreeMap::new();
        for violation in &self.violations {
            *broken.entry(violation.broken).or_default() += 1;
        }
        broken
    }

    /// The tables, as Markdown.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self {
            seed,
            servers,
            tally,
            ..
        } = self;
        writeln!(
            text,
            "\nseed {seed}, {servers} NATS server(s): {} tasks acknowledged, {} faults, {:.0} s, of which {:.0} s to drain; {} violations\n",
            self.acknowledged(),
            self.faults.len(),
            self.elapsed_seconds,
            self.drain_seconds,
            self.violations.len(),
        )?;
        writeln!(
            text,
            "| entry | tasks acknowledged | tasks not acknowledged |"
        )?;
        writeln!(text, "|---|---|---|")?;
        for entry in Entry::ALL {
            let count = |counts: &BTreeMap<Entry, u64>| counts.get(&entry).copied().unwrap_or(0);
            let name = serde_json::to_value(entry).unwrap_or_default();
            let name = name.as_str().unwrap_or_default().to_owned();
            let (yes, no) = (count(&tally.acknowledged), count(&tally.unacknowledged));
            writeln!(text, "| {name} | {yes} | {no} |")?;
        }
        writeln!(
            text,
            "\nOf the acknowledged tasks {} have a result, {} a dead letter, {} were cancelled; {} were given up at the ceiling; most deliveries of one task: {}; accounts compared: {}; jobs followed: {}.\n",
            tally.done,
            tally.failed,
            tally.cancelled,
            tally.given_up,
            tally.most_attempts,
            tally.accounts,
            tally.followed,
        )?;
        writeln!(
            text,
            "| fault | times | serves new tasks after, p50 s | max s | has settled old tasks after, p50 s | max s |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|")?;
        for kind in &self.kinds {
            writeln!(
                text,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
                kind.kind.name(),
                kind.faults,
                kind.serves_p50_seconds,
                kind.serves_max_seconds,
                kind.settles_p50_seconds,
                kind.settles_max_seconds,
            )?;
        }
        for slow in &self.slowest {
            let Slow {
                task,
                seconds,
                attempt,
                worker,
            } = slow;
            writeln!(
                text,
                "slow: {task} took {seconds:.1} s, {attempt} deliveries, by {worker}"
            )?;
        }
        writeln!(text, "\nrestarts: {:?}", self.restarts)?;
        writeln!(text, "violations: {:?}", self.broken())?;
        for violation in self.violations.iter().take(TOLD) {
            writeln!(text, "\n{:?}: {}", violation.broken, violation.what)?;
            for line in &violation.story {
                writeln!(text, "  {line}")?;
            }
        }
        Ok(())
    }
}
