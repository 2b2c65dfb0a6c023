//! What was written to the jobs bucket, read off its stream.

use farm_core::JobId;
use farm_core::job::{JobCancel, JobProgress, JobSpec};

use crate::runtime::reading::Stored;

/// One record of one job.
pub(crate) struct Change {
    pub job: JobId,
    pub record: Record,
}

pub(crate) enum Record {
    Spec(JobSpec),
    Cancel(JobCancel),
    Progress {
        progress: JobProgress,
        /// The revision to write over.
        revision: u64,
    },
}

impl Change {
    /// `None` for what is no record of a job, and for one that was deleted: that has no body.
    pub fn read(stored: &Stored, prefix: &str) -> Option<Self> {
        let key = stored.subject().strip_prefix(prefix)?;
        let (job, kind) = key.split_once('.')?;
        let json = stored.body();
        let record = match kind {
            "spec" => Record::Spec(serde_json::from_slice(json).ok()?),
            "cancel" => Record::Cancel(serde_json::from_slice(json).ok()?),
            "progress" => Record::Progress {
                progress: serde_json::from_slice(json).ok()?,
                revision: stored.sequence,
            },
            _ => return None,
        };
        Some(Self {
            job: JobId::new(job).ok()?,
            record,
        })
    }
}
