//! `farm results` and `farm cancel`.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::program::{end_of, until};
use crate::server::Server;

async fn with_job(tasks: &str) -> Server {
    let server = Server::start().await;
    server
        .run(&["submit", "sleeper", "--value", tasks])
        .await
        .expect(0);
    server
}

#[tokio::test]
async fn results_are_written_as_they_came() {
    let server = with_job("[1,2,3]").await;
    let run = server.run(&["results", "sleeper", "job-1"]).await.expect(0);
    assert_eq!(run.stdout.lines().count(), 3);
    let run = server
        .run(&["results", "sleeper", "job-1", "--after", "2"])
        .await
        .expect(0);
    assert_eq!(run.stdout.lines().count(), 1);
    assert!(run.stdout.contains("\"task\":\"2\""), "{run}");
}

#[tokio::test]
async fn results_are_live_until_the_job_ends() {
    let server = Server::start().await;
    server.farm_state().hold = true;
    server
        .run(&["submit", "sleeper", "--value", "[1,2]"])
        .await
        .expect(0);
    let mut child = server
        .farm(&["results", "sleeper", "job-1"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert!(lines.next_line().await.unwrap().is_some());
    }
    assert!(child.try_wait().unwrap().is_none(), "the job has not ended");
    server.end_jobs();
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_failed_task_shows_in_the_exit_code() {
    let server = with_job(r#"[{"becomes":"failed"}]"#).await;
    server.run(&["results", "sleeper", "job-1"]).await.expect(3);
}

#[tokio::test]
async fn expired_results_are_told() {
    let server = with_job("[1,2,3]").await;
    server.farm_state().expired = true;
    let words = ["results", "sleeper", "job-1"];
    server
        .run(&words)
        .await
        .expect(3)
        .tells(&["3 of 3 results", "FARM_RESULT_TTL"]);
}

#[tokio::test]
async fn a_summary_is_waited_for() {
    let server = Server::start().await;
    {
        let mut farm = server.farm_state();
        (farm.hold, farm.folds) = (true, true);
    }
    server
        .run(&["submit", "sleeper", "--value", "[1,2]"])
        .await
        .expect(0);
    let words = ["results", "sleeper", "job-1", "--summary"];
    let child = server.farm(&words).spawn().unwrap();
    server.end_jobs();
    assert_eq!(end_of(child).await.expect(0).json()["folded"], 2);
    server.farm_state().folds = false;
    server.run(&words).await.expect(1).tells(&["collector"]);
}

#[tokio::test]
async fn an_unknown_job_is_told_and_no_file_made() {
    let server = Server::start().await;
    let words = ["results", "sleeper", "job-9", "--out", "out"];
    server.run(&words).await.expect(1).tells(&["no job job-9"]);
    assert!(!server.folder().join("out").exists());
}

#[tokio::test]
async fn a_reader_that_has_enough_is_no_failure() {
    let server = Server::start().await;
    server.farm_state().hold = true;
    server
        .run(&["submit", "sleeper", "--value", "[1,2]"])
        .await
        .expect(0);
    let mut command = server.farm(&["results", "sleeper", "job-1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap();
    drop(lines);
    {
        let mut farm = server.farm_state();
        let job = farm.jobs.get_mut("job-1").unwrap();
        let last: serde_json::Value = serde_json::to_value(&job.outcomes[1]).unwrap();
        let mut more: farm_core::http::TaskOutcome = serde_json::from_value(last).unwrap();
        more.cursor = 3;
        job.outcomes.push(more);
    }
    let run = end_of(child).await.expect(0);
    assert_eq!(run.stderr, "");
}

#[tokio::test]
async fn a_cancelled_job_is_told() {
    let server = Server::start().await;
    server.farm_state().hold = true;
    let waiting = server
        .farm(&[
            "submit", "sleeper", "--value", "[1,2,3]", "--wait", "--json",
        ])
        .spawn()
        .unwrap();
    until("the job is taken in", || {
        server.farm_state().jobs.len() == 1
    })
    .await;
    let run = server
        .run(&["cancel", "sleeper", "job-1", "--json"])
        .await
        .expect(0);
    assert_eq!(
        (&run.json()["state"], &run.json()["cancelled"]),
        (&"cancelled".into(), &2.into())
    );
    let report = end_of(waiting).await.expect(3).json();
    assert_eq!(report["ended"], true);
    assert_eq!(report["lost"], 0);
    server
        .run(&["cancel", "sleeper", "job-9"])
        .await
        .expect(1)
        .tells(&["no job job-9"]);
}
