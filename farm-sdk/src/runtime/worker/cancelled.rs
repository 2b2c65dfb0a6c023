//! Whether a job was cancelled, for many who ask at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farm_core::JobId;
use tokio::sync::Mutex;

use crate::runtime::broker::Broker;
use crate::runtime::jobs::Jobs;
use crate::task_error::chain;

/// Before it is read again after it could not be.
const PAUSE: Duration = Duration::from_millis(500);

/// The mark of a job's cancellation. One reading answers all who asked before it began.
pub(super) struct Cancelled<'a> {
    broker: &'a Broker,
    job: &'a JobId,
    asked: AtomicU64,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    /// How many had asked when it began.
    answers: u64,
    cancelled: bool,
}

impl<'a> Cancelled<'a> {
    pub fn new(broker: &'a Broker, job: &'a JobId) -> Self {
        Self {
            broker,
            job,
            asked: AtomicU64::new(0),
            read: Mutex::default(),
        }
    }

    /// Whether the mark was there when this was called, or later. Waits until it can be read: a task
    /// that a cancellation took out of the queue must not come back for want of an answer.
    pub async fn is_set(&self) -> bool {
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut read = self.read.lock().await;
        while !read.cancelled && read.answers < question {
            let answers = self.asked.load(Ordering::SeqCst);
            match Jobs::new(self.broker).seems_cancelled(self.job).await {
                Ok(cancelled) => *read = Read { answers, cancelled },
                Err(error) => {
                    let job = self.job;
                    tracing::debug!(%job, error = chain(&error), "it cannot be read whether a job was cancelled");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        read.cancelled
    }
}
