//! Ten thousand jobs of one task, and a collector that is lost on the way and at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farm_core::http::{Accepted, JobState};
use farm_tests::{eventually, peak_resident_bytes};
use futures_util::{StreamExt, stream};

use crate::report::{Report, quantile};
use crate::rig::Rig;

const AT_ONCE: usize = 40;
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(60);

/// Submits `count` jobs.
pub async fn run(count: usize) -> Report {
    let mut report = Report::new("many-jobs");
    let mut rig = Rig::start(&[], 2, 4).await;
    rig.note_rest(&mut report, "before");

    let (first, second) = (count / 2, count - count / 2);
    let started = Instant::now();
    let mut jobs = submit(&rig, first, &mut report).await;
    // The collector is lost with half the jobs submitted, and not all of those ended.
    rig.collector.kill();
    let killed = Instant::now();
    let collector = rig.function.clone().roles("collector");
    rig.collector = collector.spawn();
    jobs.extend(submit(&rig, second, &mut report).await);
    let submitted_seconds = started.elapsed().as_secs_f64();
    report.figure("jobs", jobs.len() as f64);
    report.figure("submitted, jobs/s", jobs.len() as f64 / submitted_seconds);
    led(&rig, killed, "half way", &mut report).await;
    check(&rig, &jobs, &mut report).await;
    report.figure(
        "submitted, done and accounts read, s",
        started.elapsed().as_secs_f64(),
    );
    let counts = rig.on_nats.counts().await;
    report.check(counts.results == jobs.len() as u64, || {
        format!("{counts:?}")
    });
    rig.note_peaks(&mut report);

    // One that starts with all of them stored.
    rig.collector.kill();
    let killed = Instant::now();
    rig.collector = collector.spawn();
    led(&rig, killed, "at the end", &mut report).await;
    let job = submit(&rig, 1, &mut report).await.remove(0);
    check(&rig, &[job], &mut report).await;
    report.figure(
        "kill of the collector to the end of the next job, s",
        killed.elapsed().as_secs_f64(),
    );
    let peak = peak_resident_bytes(rig.collector.process.id());
    report.megabytes("peak memory of the collector that took over", peak);
    rig.note_rest(&mut report, "after");
    report
}

async fn submit(rig: &Rig, count: usize, report: &mut Report) -> Vec<String> {
    let requests = (0..count).map(|_| async {
        let sent = Instant::now();
        let request = rig.http.post(rig.url("/")).body("{}");
        let answer = request.send().await.ok()?;
        let accepted: Accepted = answer.json().await.ok()?;
        Some((accepted.job.to_string(), sent.elapsed().as_secs_f64()))
    });
    let answers: Vec<_> = stream::iter(requests)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let refused = answers.iter().filter(|answer| answer.is_none()).count();
    report.check(refused == 0, || format!("{refused} jobs were not accepted"));
    let (jobs, mut seconds): (Vec<_>, Vec<_>) = answers.into_iter().flatten().unzip();
    if count > 1 {
        report.figure("answer to a submit, p99, s", quantile(&mut seconds, 0.99));
    }
    jobs
}

/// Waits until the collector that was started again leads.
async fn led(rig: &Rig, killed: Instant, when: &str, report: &mut Report) {
    let name = Arc::new(rig.collector.name().to_owned());
    eventually("the new collector leads", TAKEN_OVER_WITHIN, async || {
        let leader = rig.on_nats.leader().await;
        (leader.as_deref() == Some(name.as_str())).then_some(())
    })
    .await;
    let seconds = killed.elapsed().as_secs_f64();
    report.figure(format!("lease taken over {when}, s"), seconds);
}

/// Waits for the end of all `jobs`, and reads their accounts.
async fn check(rig: &Rig, jobs: &[String], report: &mut Report) {
    let end = Instant::now() + ENDS_WITHIN;
    let accounts = jobs.iter().map(|job| async move {
        let left = end.saturating_duration_since(Instant::now());
        rig.ended(job, left.max(Duration::from_secs(1))).await
    });
    let accounts: Vec<_> = stream::iter(accounts)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let missing = accounts.iter().filter(|status| status.is_none()).count();
    report.check(missing == 0, || format!("{missing} jobs did not end"));
    let wrong: Vec<_> = accounts
        .iter()
        .flatten()
        .filter(|status| {
            let counts = (status.accepted, status.done, status.failed);
            status.state != JobState::Done || counts != (Some(1), 1, 0)
        })
        .collect();
    report.check(wrong.is_empty(), || {
        format!("{} accounts are wrong: {:?}", wrong.len(), wrong.first())
    });
}
