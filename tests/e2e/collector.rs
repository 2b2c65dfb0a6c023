//! Of several collectors one leads; when it is lost another takes over, and nothing counts twice.

use std::time::{Duration, Instant};

use farm_core::http::{Ended, JobState};
use farm_tests::{FarmOnNats, Function, NatsServer, Receiver, Replica, eventually, holds_for};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// The lease lasts six seconds; a collector looks every second whether it is free.
const TAKE_OVER: Duration = Duration::from_secs(9);

async fn leader_other_than(farm: &FarmOnNats, old: &str, limit: Duration) -> String {
    eventually("another collector leads", limit, async || {
        farm.leader().await.filter(|leader| leader != old)
    })
    .await
}

async fn summary(front: &Replica, picture: &Value) -> Value {
    let job = front.http.submit(picture).await.job;
    front.http.ended(&job, SOON).await;
    let path = format!("/jobs/{job}/summary");
    front.http.json(Method::GET, &path).await
}

/// Inside the set every iteration is spent: 64 tiles that take a while.
fn slow_picture() -> Value {
    json!({
        "centre": {"re": -0.1, "im": 0.0}, "width": 0.1,
        "width_pixels": 64, "height_pixels": 64, "tile_pixels": 8,
        "max_iterations": 40_000, "samples_per_side": 1,
    })
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_one_that_ends_the_job_once_and_right() {
    let nats = NatsServer::start().await;
    let mandelbrot = Function::mandelbrot(&nats);
    let front = mandelbrot.clone().roles("emitter").start().await;
    let _worker = mandelbrot.clone().roles("worker").start().await;
    let mut collectors = mandelbrot.clone().roles("collector").start_many(2).await;
    let farm = FarmOnNats::connect(&nats, &mandelbrot).await;
    let undisturbed = summary(&front, &slow_picture()).await;
    let receiver = Receiver::start().await;

    let request = front.http.request(Method::POST, "/");
    let request = request.header("x-callback-url", receiver.url());
    let job = front.http.submitted(request.json(&slow_picture())).await;
    assert_eq!(job.accepted, 64);
    front.http.done(&job.job, 5, SOON).await;
    let lost = farm.leader().await.expect("one leads");
    let position = collectors.iter().position(|c| c.name() == lost).unwrap();
    collectors.remove(position).kill();
    let killed = Instant::now();
    assert_eq!(front.http.job(&job.job).await.state, JobState::Running);
    let heir = leader_other_than(&farm, &lost, TAKE_OVER).await;
    assert_eq!(heir, collectors[0].name());
    eprintln!("taken over after {:?}", killed.elapsed());

    let status = front.http.ended(&job.job, SOON).await;
    assert_eq!((status.done, status.failed, status.note), (64, 0, None));
    let path = format!("/jobs/{}/summary", job.job);
    let disturbed: Value = front.http.json(Method::GET, &path).await;
    assert_eq!(disturbed, undisturbed);
    receiver.wait_for(1, SOON).await;
    holds_for("one end", Duration::from_secs(1), async || {
        receiver.received().len() == 1
    })
    .await;
    let told: Ended = serde_json::from_slice(&receiver.received()[0].body).unwrap();
    assert_eq!((told.status.done, told.status.failed), (64, 0));
    let metrics = collectors[0].metrics().await;
    let ended = metrics.sum("farm_jobs_total", &[("event", "ended")]);
    assert_eq!(ended, Some(1.0));
}

#[tokio::test]
async fn a_leader_told_to_stop_hands_over_at_once() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_SLOTS", 4);
    let front = sleeper.clone().roles("emitter,worker").start().await;
    let mut collectors = sleeper.clone().roles("collector").start_many(2).await;
    let farm = FarmOnNats::connect(&nats, &sleeper).await;
    let job = front
        .http
        .submit(&vec![json!({"seconds": 0.02}); 500])
        .await
        .job;
    front.http.done(&job, 50, SOON).await;

    let old = farm.leader().await.expect("one leads");
    let position = collectors.iter().position(|c| c.name() == old).unwrap();
    let mut leaving = collectors.remove(position);
    leaving.terminate();
    assert_eq!(leaving.exit(Duration::from_secs(10)).await.code(), Some(0));
    // Well before the lease would have run out.
    leader_other_than(&farm, &old, Duration::from_secs(3)).await;

    let status = front.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (500, 0));
    assert_eq!(farm.counts().await.results, 500);
}
