//! Results nobody fetches.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use farm_tests::FarmOnNats;
use serde_json::json;

use crate::report::Report;
use crate::rig::Rig;

const TTL: Duration = Duration::from_secs(10);
const TASKS: usize = 20_000;
const PAYLOAD_BYTES: usize = 4_000;
const JOBS: usize = 200;
const ENDS_WITHIN: Duration = Duration::from_secs(120);
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// A round of jobs, whose results are left to expire.
pub async fn run() -> Report {
    let mut report = Report::new("expiry");
    let ttl = format!("{}s", TTL.as_secs());
    let variables = [
        ("FARM_RESULT_TTL", ttl),
        ("FARM_BACKOFF", "10ms".to_owned()),
    ];
    let rig = Rig::start(&variables, 2, 4).await;
    rig.note_rest(&mut report, "before");
    let task = json!({"payload_bytes": PAYLOAD_BYTES});
    rig.front.http.submit_lines(vec![task; TASKS]).await;
    for _ in 0..JOBS {
        // Fails once, so that attempts are counted.
        let task = json!({"fail": "transient", "fail_attempts": 1});
        rig.front.http.submit(&task).await;
    }
    let drained = rig.drained(ENDS_WITHIN).await;
    report.check(drained, || "the jobs do not end".to_owned());
    let done = Instant::now();
    report.figure("outcomes kept", rig.on_nats.counts().await.results as f64);
    rig.note_rest(&mut report, "with results");
    loop {
        let kept = kept(&rig.on_nats).await;
        let waited = done.elapsed();
        if kept.iter().all(|(_, count)| *count == 0) {
            report.figure("time to live, s", TTL.as_secs_f64());
            report.figure("last outcome to nothing kept, s", waited.as_secs_f64());
            break;
        }
        if waited > TTL + GONE_WITHIN {
            report.breaks(format!("kept after {waited:?}: {kept:?}"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.note_rest(&mut report, "after");
    report
}

/// Messages in everything that is to expire; the collector's own position stays for as long as it
/// has something to tell.
async fn kept(farm: &FarmOnNats) -> Vec<(String, u64)> {
    let topology = &farm.topology;
    let streams = [
        topology.results_stream(),
        format!("KV_{}", topology.jobs_bucket()),
        format!("KV_{}", topology.attempts_bucket()),
        format!("OBJ_{}", topology.summaries_store()),
    ];
    let mut kept = Vec::new();
    for name in streams {
        let messages = messages(&farm.jetstream, &name).await;
        kept.push((name, messages));
    }
    kept
}

async fn messages(jetstream: &jetstream::Context, stream: &str) -> u64 {
    let stream = jetstream.get_stream(stream).await.expect("the stream");
    stream.cached_info().state.messages
}
