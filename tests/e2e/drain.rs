//! A replica told to stop finishes what it can and hands back the rest at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use farm_core::http::{Accepted, JobState, NDJSON, Problem};
use farm_tests::{FarmOnNats, Function, NatsServer, Replica, eventually, streamed, within};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

/// Far below the default ack wait of 30 s, after which lost tasks would come back anyway.
const AT_ONCE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_nothing_and_delays_nothing() {
    const TASKS: usize = 400;
    let nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats);
    let face = settings.clone().roles("emitter,collector").start().await;
    let worker = settings.clone().roles("worker").set("FARM_SLOTS", 4);
    let mut leaving = worker.clone().start().await;
    let _staying = worker.start().await;
    // Short tasks, so that replicas keep some ready beyond those they compute.
    let job = face
        .http
        .submit_lines(std::iter::repeat_n(json!({"seconds": 0.002}), TASKS))
        .await
        .job;
    let long = face
        .http
        .submit_lines(std::iter::repeat_n(json!({"seconds": 0.3}), 40))
        .await
        .job;
    let on_nats = FarmOnNats::connect(&nats, &settings).await;
    eventually("work is under way", AT_ONCE, async || {
        (on_nats.counts().await.results > 50).then_some(())
    })
    .await;

    let told = Instant::now();
    leaving.terminate();
    let exit = leaving.exit(AT_ONCE).await;
    assert_eq!(exit.code(), Some(0), "{}", leaving.process.output());
    for (job, count) in [(&job, TASKS), (&long, 40)] {
        let status = face.http.ended(job, AT_ONCE).await;
        assert_eq!((status.done, status.failed), (count as u64, 0));
    }
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());

    let outcomes = face.http.results(&job).await;
    let distinct: HashSet<_> = outcomes.iter().map(|o| o.task.as_str()).collect();
    assert_eq!(distinct.len(), TASKS);
    assert_eq!(on_nats.counts().await.results, TASKS as u64 + 40);
    assert!(
        leaving.process.output().contains("in_grace=true"),
        "{}",
        leaving.process.output()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_longer_than_the_grace_period_are_finished_elsewhere() {
    let nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats);
    let face = settings.clone().roles("emitter,collector").start().await;
    let worker = settings
        .roles("worker")
        .set("FARM_SLOTS", 2)
        .set("FARM_GRACE_PERIOD", "500ms");
    let mut leaving = worker.clone().start().await;
    let job = face
        .http
        .submit_lines(std::iter::repeat_n(json!({"seconds": 4}), 2))
        .await
        .job;
    eventually("both tasks are taken up", AT_ONCE, async || {
        (face.http.farm().await.in_flight_tasks == 2).then_some(())
    })
    .await;
    let heir = worker.start().await;

    let told = Instant::now();
    leaving.terminate();
    let exit = leaving.exit(Duration::from_secs(4)).await;
    assert_eq!(exit.code(), Some(0), "{}", leaving.process.output());
    let status = face.http.ended(&job, AT_ONCE).await;
    assert_eq!((status.done, status.failed), (2, 0));
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
    for outcome in face.http.results(&job).await {
        assert_eq!((outcome.worker.as_str(), outcome.attempt), (heir.name(), 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_a_drain_cuts_short_are_not_taken_for_all_of_them() {
    let nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats).set("FARM_GRACE_PERIOD", "1s");
    let mut face = settings.clone().roles("emitter,collector").start().await;
    let _worker = settings.roles("worker").start().await;
    let tasks = [json!({}), json!({"seconds": 60})];
    let job = face.http.submit(&tasks).await.job;
    face.http.done(&job, 1, AT_ONCE).await;
    let path = format!("/jobs/{job}/results");
    let mut results = face.http.request(Method::GET, &path).send().await.unwrap();
    let first = results.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"{\"task\":\"0\""), "{first:?}");

    face.terminate();

    let end = within("the stream ends", AT_ONCE, async {
        loop {
            match results.chunk().await {
                Ok(Some(_)) => {}
                end => return end,
            }
        }
    });
    assert!(
        end.await.is_err(),
        "a client would take that for all results"
    );
}

fn submit(replica: &Replica) -> RequestBuilder {
    let request = replica.http.request(Method::POST, "/");
    request.header("content-type", NDJSON)
}

/// Stops `leaving` in the middle of the body of `request`, after `tasks` of it were stored.
async fn stopped_in_mid_body(
    leaving: &mut Replica,
    request: RequestBuilder,
    tasks: usize,
) -> Problem {
    let (body, pieces) = streamed();
    let submitting = tokio::spawn(request.body(pieces).send());
    let lines = Bytes::from("{}\n".repeat(tasks));
    body.send(Ok(lines)).await.unwrap();
    eventually("its first tasks are stored", AT_ONCE, async || {
        (leaving.http.farm().await.backlog_tasks == tasks as u64).then_some(())
    })
    .await;
    leaving.terminate();
    let answer = within("an answer", AT_ONCE, submitting).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_a_drain_cuts_short_is_taken_back() {
    const TASKS: usize = 10;
    let nats = NatsServer::start().await;
    let front = Function::sleeper(&nats).roles("emitter,collector");
    let (mut leaving, staying) = (front.start().await, front.start().await);
    let request = submit(&leaving);
    let problem = stopped_in_mid_body(&mut leaving, request, TASKS).await;
    assert!(problem.error.contains("shutting down"), "{problem:?}");
    assert_eq!(problem.accepted, Some(TASKS as u64));
    let status = staying.http.job(&problem.job.unwrap()).await;
    assert_eq!(status.state, JobState::Cancelled);
    assert!(status.note.unwrap().contains("shutting down"));
    assert_eq!(staying.http.farm().await.backlog_tasks, 0);
    assert_eq!(leaving.exit(AT_ONCE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_a_drain_cuts_short_is_completed_by_its_repeat_elsewhere() {
    const TASKS: usize = 10;
    let nats = NatsServer::start().await;
    let front = Function::sleeper(&nats).roles("emitter,collector");
    let (mut leaving, staying) = (front.start().await, front.start().await);
    let keyed = |replica: &Replica| submit(replica).header("Idempotency-Key", "half");
    let request = keyed(&leaving);
    let problem = stopped_in_mid_body(&mut leaving, request, TASKS).await;
    let job = problem.job.unwrap();
    assert_eq!(staying.http.job(&job).await.state, JobState::Open);

    let whole = keyed(&staying).body("{}\n".repeat(2 * TASKS));
    let accepted = staying.http.submitted(whole).await;
    assert_eq!((accepted.job, accepted.repeated), (job, false));
    assert_eq!(accepted.accepted, 2 * TASKS as u64);
    assert_eq!(staying.http.farm().await.backlog_tasks, 2 * TASKS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_whose_body_has_come_is_taken_in_while_its_replica_drains() {
    const ROOM: u64 = 5;
    let nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats).set("FARM_QUEUE_MAX_TASKS", ROOM);
    let mut leaving = settings.clone().roles("emitter").start().await;
    let whole = submit(&leaving).body("{}\n".repeat(2 * ROOM as usize));
    let submitting = tokio::spawn(whole.send());
    eventually("it waits for room in the queue", AT_ONCE, async || {
        (leaving.http.farm().await.backlog_tasks == ROOM).then_some(())
    })
    .await;
    leaving.terminate();
    let _worker = settings.roles("worker,collector").start().await;
    let answer = within("an answer", AT_ONCE, submitting).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted: Accepted = answer.json().await.unwrap();
    assert_eq!(accepted.accepted, 2 * ROOM);
    assert_eq!(leaving.exit(AT_ONCE).await.code(), Some(0));
}
