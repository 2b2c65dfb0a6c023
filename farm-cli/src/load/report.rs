//! The account of a load.

use std::process::ExitCode;

use serde::Serialize;

use super::collect::Collected;
use super::sender::Sent;
use crate::failure::{Failure, INCOMPLETE};
use crate::output::{Fields, percent, print_json, seconds};
use crate::tally::SojournSeconds;

/// What was offered and what became of it; every count is one of tasks.
#[derive(Debug, Serialize)]
pub struct LoadReport {
    seed: u64,
    offered: u64,
    accepted: u64,
    refused: u64,
    unanswered: u64,
    late: u64,
    max_delay_seconds: f64,
    #[serde(flatten)]
    outcomes: Option<Outcomes>,
}

#[derive(Debug, Serialize)]
struct Outcomes {
    done: u64,
    failed: u64,
    cancelled: u64,
    unfinished: u64,
    lost: u64,
    duplicates: u64,
    qos_ratio: Option<f64>,
    sojourn_seconds: Option<SojournSeconds>,
    elapsed_seconds: f64,
    throughput_per_second: f64,
}

impl LoadReport {
    /// Puts together what was sent and, if anybody waited for it, what came back.
    pub fn new(seed: u64, sent: &Sent, collected: Option<&Collected>) -> Self {
        let accepted = sent.accepted();
        Self {
            seed,
            offered: sent.offered,
            accepted,
            refused: sent.refused,
            unanswered: sent.unanswered,
            late: sent.late,
            max_delay_seconds: sent.max_delay.as_secs_f64(),
            outcomes: collected.map(|collected| Outcomes::new(accepted, collected)),
        }
    }

    /// Prints it as a table or as JSON.
    ///
    /// # Errors
    /// Standard output is closed or cannot be written.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return print_json(self);
        }
        let late = format!(
            "{} (latest by {})",
            self.late,
            seconds(self.max_delay_seconds)
        );
        let fields = Fields::default()
            .with("offered", self.offered)
            .with("accepted", self.accepted)
            .with("refused (429)", self.refused)
            .with_some(
                "unanswered",
                (self.unanswered > 0).then_some(self.unanswered),
            )
            .with("sent late", late);
        match &self.outcomes {
            Some(outcomes) => outcomes.fields(fields).print(),
            None => fields.print(),
        }
    }

    /// Whether every task that was offered and not refused has its result.
    pub fn exit_code(&self) -> ExitCode {
        let missing = self
            .outcomes
            .as_ref()
            .map_or(0, |o| o.failed + o.cancelled + o.unfinished + o.lost);
        match missing + self.unanswered {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(INCOMPLETE),
        }
    }
}

impl Outcomes {
    fn new(accepted: u64, collected: &Collected) -> Self {
        let tally = &collected.tally;
        let ended = tally.done + tally.failed;
        let elapsed_seconds = collected.last_outcome_at.as_secs_f64();
        Self {
            done: tally.done,
            failed: tally.failed,
            cancelled: collected.cancelled,
            unfinished: collected.unfinished,
            lost: accepted.saturating_sub(ended + collected.cancelled + collected.unfinished),
            duplicates: tally.duplicates,
            qos_ratio: tally.qos_ratio(),
            sojourn_seconds: tally.sojourn(),
            elapsed_seconds,
            throughput_per_second: ended as f64 / elapsed_seconds.max(1e-6),
        }
    }

    fn fields(&self, fields: Fields) -> Fields {
        let sojourn =
            |of: fn(&SojournSeconds) -> f64| self.sojourn_seconds.as_ref().map(|s| seconds(of(s)));
        fields
            .with("done", self.done)
            .with("failed", self.failed)
            .with_some("cancelled", (self.cancelled > 0).then_some(self.cancelled))
            .with_some(
                "unfinished",
                (self.unfinished > 0).then_some(self.unfinished),
            )
            .with("lost", self.lost)
            .with("duplicates", self.duplicates)
            .with_some("inside deadline", self.qos_ratio.map(percent))
            .with_some("sojourn p50", sojourn(|s| s.p50))
            .with_some("sojourn p95", sojourn(|s| s.p95))
            .with_some("sojourn p99", sojourn(|s| s.p99))
            .with_some("sojourn max", sojourn(|s| s.max))
            .with("time", seconds(self.elapsed_seconds))
            .with(
                "throughput",
                format!("{:.1} tasks/s", self.throughput_per_second),
            )
    }
}
