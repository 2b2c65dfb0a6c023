//! The broker may be killed at any time; what it had acknowledged stays true.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use farm_core::JobId;
use farm_core::http::{Accepted, NDJSON};
use farm_tests::{FarmOnNats, Function, NatsServer, Replica, eventually, streamed, within};
use reqwest::{Method, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

async fn assert_each_has_its_result(face: &Replica, job: &JobId, count: usize) {
    let status = face.http.ended(job, SOON).await;
    assert_eq!((status.done, status.failed), (count as u64, 0));
    let outcomes = face.http.results(job).await;
    let distinct: HashSet<_> = outcomes.iter().map(|o| o.task.as_str()).collect();
    assert_eq!((outcomes.len(), distinct.len()), (count, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_nothing_and_a_submit_meanwhile_is_refused() {
    const TASKS: usize = 1_000;
    let mut nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats).set("FARM_ACK_WAIT", "2s");
    let face = settings.clone().roles("emitter,collector").start().await;
    let worker = settings.clone().roles("worker").set("FARM_SLOTS", 4);
    let _workers = (worker.start().await, worker.start().await);
    let job = face
        .http
        .submit_lines(std::iter::repeat_n(json!({"seconds": 0.02}), TASKS))
        .await
        .job;
    let on_nats = FarmOnNats::connect(&nats, &settings).await;
    let before = eventually("work is under way", SOON, async || {
        let count = on_nats.counts().await.results;
        (count > 100).then_some(count)
    })
    .await;
    assert!(before < TASKS as u64, "nothing was left to do");

    nats.kill();
    let submit = face.http.request(Method::POST, "/").json(&json!([{}]));
    let answer = submit.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    nats.start_again().await;

    assert_each_has_its_result(&face, &job, TASKS).await;
    assert_eq!(on_nats.counts().await.results, TASKS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_saw_the_broker_die_says_202_only_for_what_is_stored() {
    const BEFORE: usize = 3_000;
    const AFTER: usize = 500;
    let mut nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_SLOTS", 8)
        .set("FARM_ACK_WAIT", "2s");
    let replica = sleeper.start().await;
    let (body, pieces) = streamed();
    let request = replica
        .http
        .request(Method::POST, "/")
        .header("content-type", NDJSON)
        .body(pieces);
    let answer = tokio::spawn(request.send());
    let lines = |count| Ok(Bytes::from("{}\n".repeat(count)));
    body.send(lines(BEFORE)).await.unwrap();
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    eventually("tasks come in", SOON, async || {
        (on_nats.counts().await.results > 0).then_some(())
    })
    .await;

    nats.kill();
    body.send(lines(AFTER)).await.unwrap();
    nats.start_again().await;
    drop(body);

    // All that was on its way is sent again after one wait for an acknowledgement, not one each.
    let limit = Duration::from_secs(30);
    let answer = within("the submit is answered", limit, answer).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted: Accepted = answer.json().await.unwrap();
    assert_eq!(accepted.accepted, (BEFORE + AFTER) as u64);
    assert_each_has_its_result(&replica, &accepted.job, BEFORE + AFTER).await;
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a server may do that loses power, or a disk of three.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_with_fewer_results_holds_up_no_later_job() {
    const FEW: usize = 5;
    const MANY: usize = 50;
    let mut nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats).set("FARM_SLOTS", 8);
    let replica = settings.start().await;
    let run = async |count: usize| {
        let job = replica.http.submit(&vec![json!({}); count]).await.job;
        replica.http.ended(&job, SOON).await
    };
    run(FEW).await;
    nats.stop().await;
    let streams = nats.store_folder().join("jetstream/$G/streams");
    let results = streams.join(settings.topology().results_stream());
    let backup = nats.store_folder().with_file_name("backup");
    copy_folder(&results, &backup);
    nats.start_again().await;
    eventually("connected again", SOON, async || {
        replica.http.is_ready().await.then_some(())
    })
    .await;
    run(MANY).await;

    nats.stop().await;
    std::fs::remove_dir_all(&results).unwrap();
    copy_folder(&backup, &results);
    nats.start_again().await;
    eventually("connected again", SOON, async || {
        replica.http.is_ready().await.then_some(())
    })
    .await;

    let after = run(FEW).await;
    assert_eq!((after.done, after.failed), (FEW as u64, 0));
    assert!(replica.process.output().contains("has lost outcomes"));
}

fn replace_folder(folder: &Path, by: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
    copy_folder(by, folder);
}

/// What a server may do that is killed: it writes at different times what a stream holds and what a
/// consumer has acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_forgets_what_was_removed_strands_no_task() {
    const TASKS: u64 = 20;
    let mut nats = NatsServer::start().await;
    let settings = Function::sleeper(&nats).set("FARM_ACK_WAIT", "2s");
    let face = settings.clone().roles("emitter,collector").start().await;
    let job = face.http.submit(&vec![json!({}); TASKS as usize]).await.job;
    let topology = settings.topology();
    let streams = nats.store_folder().join("jetstream/$G/streams");
    let tasks = streams.join(topology.tasks_stream()).join("msgs");
    let results = streams.join(topology.results_stream());
    let backup = nats.store_folder().with_file_name("backup");
    nats.stop().await;
    copy_folder(&tasks, &backup.join("tasks"));
    copy_folder(&results, &backup.join("results"));
    nats.start_again().await;
    let _worker = settings
        .clone()
        .roles("worker")
        .set("FARM_SLOTS", 4)
        .start()
        .await;
    face.http.ended(&job, SOON).await;

    // All of them are there again, and have their outcomes.
    nats.stop().await;
    replace_folder(&tasks, &backup.join("tasks"));
    nats.start_again().await;
    let on_nats = FarmOnNats::connect(&nats, &settings).await;
    assert_eq!(on_nats.counts().await.tasks, TASKS);
    eventually("they are removed", SOON, async || {
        (on_nats.counts().await.tasks == 0).then_some(())
    })
    .await;
    assert_eq!(on_nats.counts().await.results, TASKS);

    // All of them are there again, and have none.
    nats.stop().await;
    replace_folder(&tasks, &backup.join("tasks"));
    replace_folder(&results, &backup.join("results"));
    nats.start_again().await;
    let on_nats = FarmOnNats::connect(&nats, &settings).await;
    eventually("they are computed", SOON, async || {
        let counts = on_nats.counts().await;
        (counts.tasks == 0 && counts.results == TASKS).then_some(())
    })
    .await;
}
