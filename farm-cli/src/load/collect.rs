//! What became of the jobs of a load.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::sender::SentJob;
use crate::client::{Error, FarmClient, Follow};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::tally::{SeenKeys, Tally};

/// Jobs followed at the same time, in the order they were sent.
const FOLLOWED_AT_ONCE: usize = 32;

/// The outcomes of all jobs of a load.
pub struct Collected {
    /// Their account.
    pub tally: Tally,
    /// Tasks that somebody cancelled.
    pub cancelled: u64,
    /// Tasks of jobs that had not ended when waiting did.
    pub unfinished: u64,
    /// When the last outcome came, from the start of the load.
    pub last_outcome_at: Duration,
}

/// Waits for the end of every job, or until `limit` is over.
///
/// # Errors
/// The farm was out of reach for longer than `patience`.
pub async fn collect(
    client: &FarmClient,
    jobs: &[SentJob],
    limit: Option<Duration>,
    patience: Duration,
) -> Result<Collected, Failure> {
    let collected = RefCell::new(Collected {
        tally: Tally::new()?,
        cancelled: 0,
        unfinished: jobs.iter().map(|job| job.accepted).sum(),
        last_outcome_at: Duration::ZERO,
    });
    let progress = RefCell::new(Progress::of(jobs.len() as u64, "jobs ended"));
    let following = stream::iter(jobs)
        .map(|sent| async {
            follow(client, sent, patience, &collected).await?;
            let bar = progress.borrow().bar();
            progress
                .borrow_mut()
                .show(bar.position() + 1, String::new());
            Ok::<_, Failure>(())
        })
        .buffered(FOLLOWED_AT_ONCE)
        .try_collect::<()>();
    match limit {
        // What is not there by then is what the report calls unfinished.
        Some(limit) => tokio::time::timeout(limit, following)
            .await
            .unwrap_or(Ok(()))?,
        None => following.await?,
    }
    drop(progress);
    Ok(collected.into_inner())
}

async fn follow(
    client: &FarmClient,
    sent: &SentJob,
    patience: Duration,
    collected: &RefCell<Collected>,
) -> Result<(), Failure> {
    let mut seen = SeenKeys::default();
    let mut received = 0;
    let mut follow = Follow::new(client, &sent.job, 0, patience);
    loop {
        let lines = match follow.next().await {
            Ok(Some(lines)) => lines,
            Ok(None) => break,
            // A job that was accepted and is unknown now: its tasks are lost, and counted so.
            Err(Error::NotFound { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        let mut collected = collected.borrow_mut();
        for line in lines {
            collected.tally.record(&line.outcome, &mut seen, sent.delay);
            let sojourn =
                Duration::try_from_secs_f64(line.outcome.sojourn_seconds).unwrap_or_default();
            collected.last_outcome_at = collected.last_outcome_at.max(sent.sent_at + sojourn);
            let counts = received < sent.accepted;
            received += u64::from(counts);
            collected.unfinished -= u64::from(counts);
        }
    }
    let mut collected = collected.borrow_mut();
    collected.cancelled += follow.ended().map_or(0, |ended| ended.cancelled);
    collected.unfinished -= sent.accepted - received;
    Ok(())
}
