//! Submitting a job: every form of it, and what comes back.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use farm_core::http::{Accepted, Ended, JobState, JobStatus, NDJSON};
use farm_tests::{
    FarmOnNats, Function, NatsServer, Receiver, Replica, eventually, streamed, within,
};
use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

fn submit(replica: &Replica) -> reqwest::RequestBuilder {
    replica.http.request(Method::POST, "/")
}

#[tokio::test]
async fn a_value_an_array_and_lines_are_jobs_of_so_many_tasks() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;

    let one = replica.http.submit(&json!({"payload_bytes": 3})).await;
    assert_eq!((one.accepted, one.repeated), (1, false));
    let array = replica.http.submit(&json!([{}, {}, {}])).await;
    assert_eq!(array.accepted, 3);
    let lines = replica.http.submit_lines([json!({}), json!({})]).await;
    assert_eq!(lines.accepted, 2);

    for job in [&one, &array, &lines] {
        let status = replica.http.ended(&job.job, SOON).await;
        assert_eq!((status.state, status.done), (JobState::Done, job.accepted));
        assert_eq!((status.failed, status.in_flight), (0, 0));
        assert_eq!(status.accepted, Some(job.accepted));
        assert!(status.ended_seconds.unwrap() >= status.created_seconds);
    }
    let outcomes = replica.http.results(&one.job).await;
    let output: Value = serde_json::from_str(outcomes[0].output.as_ref().unwrap().get()).unwrap();
    assert_eq!(output["payload"], "xxx");
    let outcomes = replica.http.results(&array.job).await;
    let keys: HashSet<_> = outcomes.iter().map(|outcome| &outcome.task).collect();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn an_empty_array_ends_at_once() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let job = replica.http.submit(&json!([])).await;
    assert_eq!(job.accepted, 0);
    let status = replica.http.ended(&job.job, Duration::from_secs(10)).await;
    assert_eq!((status.state, status.done), (JobState::Done, 0));
    assert!(replica.http.results(&job.job).await.is_empty());
}

#[tokio::test]
async fn wait_answers_the_results_or_how_far_it_is() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let waiting = |limit: &str, body: Value| {
        let path = format!("/?wait={limit}");
        let request = replica.http.request(Method::POST, &path).json(&body);
        async move { request.send().await.unwrap() }
    };
    let answer = waiting("30s", json!([{}, {"fail": "permanent"}])).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let ended: Ended = answer.json().await.unwrap();
    assert_eq!((ended.status.done, ended.status.failed), (1, 1));
    let results = ended.results.unwrap();
    let error = results.iter().find_map(|outcome| outcome.error.as_deref());
    assert_eq!((results.len(), error), (2, Some("told to fail for good")));

    let started = Instant::now();
    let answer = waiting("300ms", json!({"seconds": 20})).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(answer.json::<Accepted>().await.unwrap().accepted, 1);
}

#[tokio::test]
async fn thousands_of_waiting_submits_leave_nothing_at_the_server() {
    // More than the consumers a stream takes at once.
    const SUBMITS: usize = 1_200;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_SLOTS", 8);
    let replica = sleeper.start().await;
    let answers = stream::iter(0..SUBMITS).map(|_| async {
        let request = replica.http.request(Method::POST, "/?wait=30s");
        let answer = request.json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let ended: Ended = answer.json().await.unwrap();
        assert_eq!(ended.results.map(|results| results.len()), Some(1));
    });
    answers.buffer_unordered(16).collect::<Vec<()>>().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    eventually("its readers are gone", SOON, async || {
        (on_nats.consumers().await < 16).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_collector_answers_one_summary_for_all_tasks() {
    let nats = NatsServer::start().await;
    let replica = Function::mandelbrot(&nats).start().await;
    let picture =
        json!({"width_pixels": 64, "height_pixels": 48, "tile_pixels": 16, "max_iterations": 50});
    let job = replica.http.submit(&picture).await;
    assert_eq!(job.accepted, 12);
    let status = replica.http.ended(&job.job, SOON).await;
    assert_eq!((status.done, status.failed), (12, 0));
    let path = format!("/jobs/{}/summary", job.job);
    let summary: Value = replica.http.json(Method::GET, &path).await;
    assert_eq!(summary["tiles"], 12);
    assert_eq!(summary["width_pixels"], 64);
    let png = BASE64_STANDARD.decode(summary["png_base64"].as_str().unwrap());
    assert!(png.unwrap().starts_with(b"\x89PNG"));

    let waited = replica
        .http
        .request(Method::POST, "/?wait=30s")
        .json(&picture);
    let ended: Ended = waited.send().await.unwrap().json().await.unwrap();
    let waited: Value = serde_json::from_str(ended.summary.unwrap().get()).unwrap();
    assert_eq!(waited, summary);
    assert!(ended.results.is_none());
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeat_the_same_job() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let keyed = |key: &str| {
        submit(&replica)
            .header("Idempotency-Key", key)
            .json(&json!([{}, {}]))
    };
    let first = replica.http.submitted(keyed("order 7")).await;
    let again = replica.http.submitted(keyed("order 7")).await;
    let other = replica.http.submitted(keyed("order 8")).await;
    assert_eq!((again.job.clone(), again.accepted), (first.job.clone(), 2));
    assert!(again.repeated && !first.repeated && !other.repeated);
    assert_ne!(other.job, first.job);
    let status = replica.http.ended(&first.job, SOON).await;
    assert_eq!(status.done, 2);
}

#[tokio::test]
async fn a_repeat_is_answered_before_its_body_has_come() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let keyed = || submit(&replica).header("Idempotency-Key", "order 7");
    let first = replica.http.submitted(keyed().json(&json!([{}, {}]))).await;
    let (body, pieces) = streamed();
    body.send(Ok(Bytes::from("[{}"))).await.unwrap();
    let answer = within("an answer", SOON, keyed().body(pieces).send()).await;
    let again: Accepted = answer.unwrap().json().await.unwrap();
    assert!(again.repeated);
    assert_eq!((again.job, again.accepted), (first.job, 2));
}

#[tokio::test]
async fn lines_that_come_slowly_are_worked_on_meanwhile() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let (body, pieces) = streamed();
    let request = submit(&replica).header("content-type", NDJSON);
    let submitting = tokio::spawn(request.body(pieces).send());
    for done in 1..=2 {
        body.send(Ok(Bytes::from("{}\n"))).await.unwrap();
        eventually("its result", SOON, async || {
            (replica.http.farm().await.result_tasks == done).then_some(())
        })
        .await;
    }
    drop(body);
    let answer = submitting.await.unwrap().unwrap();
    let accepted: Accepted = answer.json().await.unwrap();
    assert_eq!(accepted.accepted, 2);
    assert_eq!(replica.http.ended(&accepted.job, SOON).await.done, 2);
}

#[tokio::test]
async fn a_submit_cut_off_half_way_is_completed_by_its_repeat() {
    const FIRST: usize = 2_000;
    const TASKS: usize = 3_000;
    let nats = NatsServer::start().await;
    let front = Function::sleeper(&nats)
        .roles("emitter,collector")
        .start()
        .await;
    let request = || {
        submit(&front)
            .header("content-type", NDJSON)
            .header("Idempotency-Key", "half")
    };
    let (body, pieces) = streamed();
    let cut = tokio::spawn(request().body(pieces).send());
    body.send(Ok(Bytes::from("{}\n".repeat(FIRST))))
        .await
        .unwrap();
    eventually("tasks come in", SOON, async || {
        (front.http.farm().await.backlog_tasks > 500).then_some(())
    })
    .await;
    let broken = std::io::Error::other("the connection is cut");
    body.send(Err(broken)).await.unwrap();
    assert!(cut.await.unwrap().is_err());

    let whole = request().body("{}\n".repeat(TASKS));
    let accepted = front.http.submitted(whole).await;
    assert_eq!(accepted.accepted, TASKS as u64);
    let _worker = Function::sleeper(&nats)
        .roles("worker")
        .set("FARM_SLOTS", 8)
        .start()
        .await;
    let status = front.http.ended(&accepted.job, SOON).await;
    assert_eq!((status.done, status.failed), (TASKS as u64, 0));
    assert_eq!(front.http.results(&accepted.job).await.len(), TASKS);
}

#[tokio::test]
async fn a_callback_brings_the_end_of_the_job_and_is_tried_again() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let receiver = Receiver::answering([StatusCode::INTERNAL_SERVER_ERROR]).await;
    let url = format!("{}/done?token=1", receiver.url());
    let request = submit(&replica).header("X-Callback-Url", url);
    let job = replica.http.submitted(request.json(&json!([{}, {}]))).await;

    let received = receiver.wait_for(2, SOON).await;
    assert_eq!(received[0].body, received[1].body);
    let call = &received[1];
    assert_eq!(call.path, "/done");
    assert_eq!(call.headers["x-call-id"], job.job.as_str());
    assert_eq!(call.headers["x-function-status"], "200");
    assert_eq!(call.headers["x-function-name"], "sleeper");
    let ended: Ended = serde_json::from_slice(&call.body).unwrap();
    assert_eq!((ended.status.job, ended.status.done), (job.job, 2));
    assert_eq!(ended.results.unwrap().len(), 2);
}

#[tokio::test]
async fn a_deadline_is_kept_account_of() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).set("FARM_SLOTS", 2).start().await;
    let request = submit(&replica).header("Farm-Deadline", "700ms");
    let tasks = json!([{}, {"seconds": 1.5}]);
    let job = replica.http.submitted(request.json(&tasks)).await;
    let status = replica.http.ended(&job.job, SOON).await;
    assert_eq!(status.qos_ratio, Some(0.5));
    for outcome in replica.http.results(&job.job).await {
        assert_eq!(outcome.in_deadline, Some(outcome.task == "0"));
    }
    let free = replica.http.submit(&json!({})).await;
    assert_eq!(replica.http.ended(&free.job, SOON).await.qos_ratio, None);
}

#[tokio::test]
async fn results_come_live_and_resume_where_they_were_left() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let tasks = json!([{}, {}, {"seconds": 1}, {}]);
    let job = replica.http.submit(&tasks).await.job;
    let mut live = replica.http.follow(&job, 0).await;
    let first = live.next().await.unwrap();
    let second = live.next().await.unwrap();
    let status = replica.http.job(&job).await;
    assert_eq!(status.state, JobState::Running, "it was not live");
    assert!(second.cursor > first.cursor);
    drop(live);

    let rest = replica.http.follow(&job, second.cursor).await.rest().await;
    let tasks: Vec<_> = [first, second]
        .into_iter()
        .chain(rest)
        .map(|o| o.task)
        .collect();
    let distinct: HashSet<_> = tasks.iter().collect();
    assert_eq!((tasks.len(), distinct.len()), (4, 4), "{tasks:?}");
    assert_eq!(replica.http.job(&job).await.state, JobState::Done);
}

#[tokio::test]
async fn cancelling_takes_away_what_has_not_started() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let tasks = vec![json!({"seconds": 0.5}); 50];
    let job = replica.http.submit(&tasks).await.job;
    replica.http.done(&job, 1, SOON).await;
    let status: JobStatus = replica
        .http
        .json(Method::DELETE, &format!("/jobs/{job}"))
        .await;
    assert_eq!(status.state, JobState::Cancelled);
    assert_eq!(status.note.as_deref(), Some("cancelled on request"));
    eventually("nothing of it is left", SOON, async || {
        let farm = replica.http.farm().await;
        (farm.backlog_tasks + farm.in_flight_tasks == 0).then_some(())
    })
    .await;
    let status = replica.http.job(&job).await;
    assert!(status.done < 10, "{status:?}");
    assert_eq!((status.done + status.cancelled, status.in_flight), (50, 0));
}
