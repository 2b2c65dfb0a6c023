//! How far long work is, on stderr: a bar on a terminal, a plain line every few seconds elsewhere.

use std::time::{Duration, Instant};

use farm_core::JobId;
use farm_core::http::JobStatus;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use crate::client::FarmClient;
use crate::output::{now_epoch_seconds, percent, seconds};

const POLL_INTERVAL: Duration = Duration::from_millis(200);
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A bar, or lines where there is no terminal. It leaves nothing behind when it is dropped.
pub struct Progress {
    bar: ProgressBar,
    unit: &'static str,
    last_line: Instant,
}

impl Progress {
    /// A bar of `total` units of work.
    pub fn of(total: u64, unit: &'static str) -> Self {
        Self::new(
            ProgressBar::new(total),
            unit,
            "{bar:30} {human_pos}/{human_len} {unit} {msg}",
        )
    }

    /// Bytes of which nobody knows how many there will be.
    pub fn of_bytes(label: &'static str) -> Self {
        Self::new(
            ProgressBar::new_spinner(),
            label,
            "{spinner} {unit} {binary_bytes} {msg}",
        )
    }

    fn new(bar: ProgressBar, unit: &'static str, template: &str) -> Self {
        // A template that cannot be read would only cost its looks.
        if let Ok(style) = ProgressStyle::with_template(&template.replace("{unit}", unit)) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            unit,
            last_line: Instant::now(),
        }
    }

    /// A handle to count on from elsewhere.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Shows the position and what else there is to say.
    pub fn show(&mut self, position: u64, message: String) {
        self.bar.set_position(position);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let total = self.bar.length().unwrap_or(position);
            let line = format!("{position}/{total} {} {message}", self.unit);
            eprintln!("farm: {}", line.trim_end());
        }
        self.bar.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows how far a job is until the handle is dropped.
pub fn watch_job(client: FarmClient, job: JobId, accepted: u64) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut progress = Progress::of(accepted, "tasks");
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Whoever waits for the results copes with a function out of reach; the bar only waits.
            if let Ok(status) = client.job(&job).await {
                progress.show(
                    status.done + status.failed + status.cancelled,
                    describe(&status),
                );
            }
        }
    }))
}

fn describe(status: &JobStatus) -> String {
    let now = now_epoch_seconds();
    let ended = status.done + status.failed;
    let rate_per_second = ended as f64 / (now - status.created_seconds).max(0.001);
    let mut words = vec![
        format!("{rate_per_second:.1}/s"),
        format!("{} failed", status.failed),
    ];
    words.extend(
        status
            .qos_ratio
            .map(|ratio| format!("QoS {}", percent(ratio))),
    );
    words.extend(
        status
            .estimated_end_seconds
            .map(|end| format!("{} left", seconds((end - now).max(0.0)))),
    );
    words.join(", ")
}
