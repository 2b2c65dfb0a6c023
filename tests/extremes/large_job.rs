//! A million tasks in one request.

use std::time::{Duration, Instant};

use bytes::Bytes;
use farm_core::http::{Accepted, NDJSON};
use farm_tests::streamed;

use crate::report::Report;
use crate::rig::Rig;

const TASKS_A_PIECE: usize = 10_000;
const ENDS_WITHIN: Duration = Duration::from_secs(900);

/// One job of `tasks` no-ops.
pub async fn run(tasks: usize) -> Report {
    let mut report = Report::new("large-job");
    let rig = Rig::start(&[], 2, 8).await;
    rig.note_rest(&mut report, "before");
    let started = Instant::now();
    let Some(accepted) = submit(&rig, tasks, &mut report).await else {
        return report;
    };
    let seconds = started.elapsed().as_secs_f64();
    report.figure("accepted, s", seconds);
    report.figure("accepted, tasks/s", tasks as f64 / seconds);
    report.check(accepted.accepted == tasks as u64, || {
        format!("{accepted:?}")
    });

    let job = accepted.job.to_string();
    match rig.ended(&job, ENDS_WITHIN).await {
        None => report.breaks(format!("not ended: {:?}", rig.job(&job).await)),
        Some(status) => report.check((status.done, status.failed) == (tasks as u64, 0), || {
            format!("{status:?}")
        }),
    }
    let seconds = started.elapsed().as_secs_f64();
    report.figure("all done, s", seconds);
    report.figure("done, tasks/s", tasks as f64 / seconds);
    let counts = rig.on_nats.counts().await;
    let subjects = rig.on_nats.tasks_with_outcome().await;
    let all = tasks as u64;
    report.check(
        (counts.tasks, counts.results, counts.dead, subjects) == (0, all, 0, all),
        || format!("{counts:?}, {subjects} tasks with an outcome"),
    );
    rig.note_peaks(&mut report);

    let started = Instant::now();
    let lines = count_lines(&rig, &job).await;
    let seconds = started.elapsed().as_secs_f64();
    report.check(lines == Some(tasks), || {
        format!("{lines:?} lines of results")
    });
    report.figure("results read, lines/s", tasks as f64 / seconds);
    let peak = farm_tests::peak_resident_bytes(rig.front.process.id());
    report.megabytes("peak memory of the emitter, results read", peak);
    rig.note_rest(&mut report, "after");
    report
}

async fn submit(rig: &Rig, tasks: usize, report: &mut Report) -> Option<Accepted> {
    let (pieces, body) = streamed();
    let writing = tokio::spawn(async move {
        let mut left = tasks;
        while left > 0 {
            let count = left.min(TASKS_A_PIECE);
            let piece = Bytes::from("{}\n".repeat(count));
            if pieces.send(Ok(piece)).await.is_err() {
                return;
            }
            left -= count;
        }
    });
    let request = rig.http.post(rig.url("/")).header("content-type", NDJSON);
    let answer = request.body(body).send().await.expect("an answer");
    let _ = writing.await;
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    report.check(status == reqwest::StatusCode::ACCEPTED, || {
        format!("{status}: {text}")
    });
    serde_json::from_str(&text).ok()
}

async fn count_lines(rig: &Rig, job: &str) -> Option<usize> {
    let url = rig.url(&format!("/jobs/{job}/results"));
    let mut answer = rig.http.get(url).send().await.ok()?;
    let mut lines = 0;
    let mut last = b'\n';
    while let Some(piece) = answer.chunk().await.ok()? {
        for byte in &piece {
            // Empty lines only keep the connection alive.
            lines += usize::from(*byte == b'\n' && last != b'\n');
            last = *byte;
        }
    }
    Some(lines)
}
