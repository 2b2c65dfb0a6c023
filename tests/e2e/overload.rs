//! More than the farm can take: it says so, keeps what it took, and is itself again afterwards.

use std::collections::HashSet;
use std::time::Duration;

use farm_core::http::{Accepted, NDJSON};
use farm_tests::{Counts, FarmOnNats, Function, NatsServer, eventually};
use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_overloaded_farm_answers_429_and_every_task_it_took_has_one_outcome() {
    const ROOM: u64 = 20;
    const SUBMITS: usize = 200;
    const CLIENTS: usize = 16;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_QUEUE_MAX_TASKS", ROOM);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    // The queue is full before there is a worker, so some submits find it so.
    let first = front
        .http
        .submit_lines(vec![json!({}); ROOM as usize])
        .await;
    let worker = sleeper.clone().roles("worker").set("FARM_SLOTS", 2);
    let submits = (0..SUBMITS).map(|number| {
        let tasks = if number % 4 == 0 { 5 } else { 1 };
        let body = "{\"seconds\": 0.02}\n".repeat(tasks);
        let request = front.http.request(Method::POST, "/").body(body);
        request.header("content-type", NDJSON).send()
    });
    let submits = stream::iter(submits).buffer_unordered(CLIENTS);
    let (answers, _workers) = tokio::join!(submits.collect::<Vec<_>>(), worker.start_many(2));

    let mut accepted = vec![first];
    let mut refused = 0;
    for answer in answers {
        let answer = answer.expect("every submit is answered");
        match answer.status() {
            StatusCode::ACCEPTED => accepted.push(answer.json::<Accepted>().await.unwrap()),
            status => {
                assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
                let wait = answer.headers()["retry-after"].to_str().unwrap();
                assert!((1..60).contains(&wait.parse::<u64>().unwrap()));
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "the queue was never full");
    // And now it takes tasks again.
    eventually("a submit is accepted", SOON, async || {
        let request = front.http.request(Method::POST, "/").json(&json!({}));
        let answer = request.send().await.ok()?;
        let taken = answer.status() == StatusCode::ACCEPTED;
        accepted.push(taken.then_some(answer)?.json().await.ok()?);
        Some(())
    })
    .await;
    for Accepted { job, accepted, .. } in &accepted {
        let status = front.http.ended(job, SOON).await;
        assert_eq!((status.done, status.failed), (*accepted, 0));
        let results = front.http.results(job).await;
        let distinct: HashSet<_> = results.iter().map(|result| &result.task).collect();
        let counts = (results.len() as u64, distinct.len() as u64);
        assert_eq!(counts, (*accepted, *accepted));
    }
    // A refused job may have had some of its tasks done, and none of them twice.
    let counts = on_nats.counts().await;
    let outcomes = on_nats.tasks_with_outcome().await;
    assert_eq!((counts.tasks, counts.dead), (0, 0));
    assert_eq!(counts.results, outcomes);
}

#[tokio::test]
async fn a_queue_bounded_in_bytes_is_429_too() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_QUEUE_MAX_BYTES", "16KiB");
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let submit = async || {
        let request = front.http.request(Method::POST, "/").json(&json!({}));
        request.send().await.expect("an answer")
    };
    let mut taken = 0;
    let refused = loop {
        let answer = submit().await;
        if answer.status() != StatusCode::ACCEPTED {
            break answer;
        }
        taken += 1;
        assert!(taken < 1000, "the bound does not hold");
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let problem = refused.text().await.unwrap();
    assert!(problem.contains("FARM_QUEUE_MAX_BYTES"), "{problem}");

    let _worker = sleeper.clone().roles("worker").start().await;
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let all = Counts {
        tasks: 0,
        results: taken,
        dead: 0,
    };
    eventually("all that was taken is done", SOON, async || {
        (on_nats.counts().await == all).then_some(())
    })
    .await;
    // A queue that was full is believed to be for a moment.
    eventually("there is room again", SOON, async || {
        (submit().await.status() == StatusCode::ACCEPTED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_jobs_end_though_their_collector_is_lost_among_them() {
    const JOBS: usize = 300;
    const CLIENTS: usize = 16;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,worker").start().await;
    let collector = sleeper.clone().roles("collector");
    let mut lost = collector.start().await;
    let submit = async |count: usize| -> Vec<_> {
        let submits = (0..count).map(|_| async { front.http.submit(&json!({})).await.job });
        stream::iter(submits)
            .buffer_unordered(CLIENTS)
            .collect()
            .await
    };
    let mut jobs = submit(JOBS / 2).await;
    lost.kill();
    let _heir = collector.start().await;
    jobs.extend(submit(JOBS / 2).await);

    for job in &jobs {
        let status = front.http.ended(job, SOON).await;
        let account = (status.accepted, status.done, status.failed);
        assert_eq!(account, (Some(1), 1, 0));
    }
}
