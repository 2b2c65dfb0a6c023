//! Results that nobody fetches go by themselves, with all that belongs to them.

use std::time::Duration;

use farm_tests::{FarmOnNats, Function, NatsServer, eventually};
use reqwest::StatusCode;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

async fn messages(farm: &FarmOnNats, stream: &str) -> u64 {
    let stream = farm.jetstream.get_stream(stream).await;
    stream.expect("the stream").cached_info().state.messages
}

/// Messages in the results, the jobs, the attempts and the summaries.
async fn kept(farm: &FarmOnNats) -> [u64; 4] {
    let topology = &farm.topology;
    [
        messages(farm, &topology.results_stream()).await,
        messages(farm, &format!("KV_{}", topology.jobs_bucket())).await,
        messages(farm, &format!("KV_{}", topology.attempts_bucket())).await,
        messages(farm, &format!("OBJ_{}", topology.summaries_store())).await,
    ]
}

/// Waits until nothing is kept of `job`, nor of any other.
async fn expired(farm: &FarmOnNats, front: &farm_tests::Replica, job: &farm_core::JobId) {
    eventually("everything has expired", SOON, async || {
        (kept(farm).await == [0; 4]).then_some(())
    })
    .await;
    let status = front.http.status_of(&format!("/jobs/{job}")).await;
    assert_eq!(status, Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn a_summary_expires_with_its_job_and_its_results() {
    let nats = NatsServer::start().await;
    // Long enough for the job and for seeing that it was there.
    let mandelbrot = Function::mandelbrot(&nats).set("FARM_RESULT_TTL", "5s");
    let front = mandelbrot.start().await;
    let farm = FarmOnNats::connect(&nats, &mandelbrot).await;
    let picture = json!({
        "centre": {"re": -0.5, "im": 0.0}, "width": 3.0,
        "width_pixels": 32, "height_pixels": 32, "tile_pixels": 16,
        "max_iterations": 50, "samples_per_side": 1,
    });
    let job = front.http.submit(&picture).await.job;
    eventually("there is a summary", SOON, async || {
        let [results, jobs, _, summaries] = kept(&farm).await;
        (results > 0 && jobs > 0 && summaries > 0).then_some(())
    })
    .await;

    expired(&farm, &front, &job).await;
}

#[tokio::test]
async fn attempts_expire_with_their_job_and_dead_letters_stay() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_RESULT_TTL", "5s")
        .set("FARM_BACKOFF", "10ms");
    let front = sleeper.start().await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;
    let tasks = [
        json!({"fail": "transient", "fail_attempts": 2}),
        json!({"fail": "permanent"}),
    ];
    let job = front.http.submit(&tasks).await.job;
    eventually("both have ended", SOON, async || {
        let counts = farm.counts().await;
        (counts.tasks == 0 && counts.dead == 1).then_some(())
    })
    .await;

    expired(&farm, &front, &job).await;
    assert_eq!(farm.counts().await.dead, 1);
}
