//! What a check found.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The contract is kept.
    Ok,
    /// It is broken.
    Failed,
    /// It could not be tried here.
    NotChecked,
}

impl Verdict {
    /// For the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Failed => "FAILED",
            Verdict::NotChecked => "not checked",
        }
    }
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub why: String,
    /// What to do, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Time it took.
    pub seconds: f64,
}

/// A broken rule.
#[derive(Debug)]
pub struct Fault {
    why: String,
    next: String,
}

impl Fault {
    pub fn new(why: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            next: next.into(),
        }
    }
}

/// What was seen, or what is broken.
pub type Judgement = Result<String, Fault>;

/// All findings, in the order they were made.
#[derive(Debug, Default)]
pub struct Report(Vec<Finding>);

impl Report {
    /// Notes how a check ended that began at `started`.
    pub fn record(&mut self, check: &'static str, started: Instant, judgement: Judgement) {
        self.note(check, started.elapsed(), judgement);
    }

    /// Notes how a check ended that took so long.
    pub fn note(&mut self, check: &'static str, took: Duration, judgement: Judgement) {
        let (verdict, why, next) = match judgement {
            Ok(why) => (Verdict::Ok, why, None),
            Err(fault) => (Verdict::Failed, fault.why, Some(fault.next)),
        };
        self.0.push(Finding {
            check,
            verdict,
            why,
            next,
            seconds: took.as_secs_f64(),
        });
    }

    /// Notes why a check was not made.
    pub fn skip(&mut self, check: &'static str, why: impl Into<String>) {
        self.0.push(Finding {
            check,
            verdict: Verdict::NotChecked,
            why: why.into(),
            next: None,
            seconds: 0.0,
        });
    }

    /// The findings.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }

    /// The names of the checks that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.0.iter().filter(|f| f.verdict == Verdict::Failed);
        failed.map(|finding| finding.check).collect()
    }
}
