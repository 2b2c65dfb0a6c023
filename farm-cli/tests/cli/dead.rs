//! `farm dead`.

use farm_core::http::DeadLetter;

use crate::server::Server;

fn letter(task: &str) -> DeadLetter {
    DeadLetter {
        task: task.parse().unwrap(),
        cause: "no such\nphoto".to_owned(),
        attempts: 5,
        worker: "worker-1".to_owned(),
        died_seconds: 1000.0,
        replays: 0,
        deadline_seconds: Some(2.0),
        codec: None,
        body: r#"{"path":"a.jpg"}"#.to_owned(),
        body_is_hex: false,
    }
}

async fn with_letters(tasks: impl IntoIterator<Item = String>) -> Server {
    let server = Server::start().await;
    server.farm_state().dead = tasks.into_iter().map(|task| letter(&task)).collect();
    server
}

async fn with_three() -> Server {
    with_letters(["a.1", "a.2", "b.1"].map(str::to_owned)).await
}

#[tokio::test]
async fn letters_are_listed_one_per_line() {
    let server = with_three().await;
    let run = server.run(&["dead", "list", "sleeper"]).await.expect(0);
    assert_eq!(run.stdout.lines().count(), 4, "{run}");
    assert!(run.stdout.contains("no such photo"), "{run}");
    let run = server
        .run(&["dead", "list", "sleeper", "--job", "a", "--json"])
        .await
        .expect(0);
    assert_eq!(run.stdout.lines().count(), 2, "{run}");
    let run = server
        .run(&["dead", "list", "sleeper", "--limit", "1", "--json"])
        .await
        .expect(0);
    assert_eq!(run.json()["task"], "a.1");
}

#[tokio::test]
async fn one_letter_is_shown_with_its_body() {
    let server = with_three().await;
    let run = server
        .run(&["dead", "show", "sleeper", "a.2"])
        .await
        .expect(0);
    assert!(run.stdout.contains(r#"{"path":"a.jpg"}"#), "{run}");
    assert!(!run.stdout.contains("codec"), "{run}");
    server
        .run(&["dead", "show", "sleeper", "a.9"])
        .await
        .expect(1)
        .tells(&["no dead letter a.9"]);
    server
        .run(&["dead", "show", "sleeper", "a"])
        .await
        .expect(2);
}

#[tokio::test]
async fn a_letter_that_is_no_json_is_shown_with_its_codec() {
    let server = Server::start().await;
    server.farm_state().dead = vec![DeadLetter {
        codec: Some("msgpack".to_owned()),
        body: "81a16e07".to_owned(),
        body_is_hex: true,
        ..letter("a.1")
    }];
    let run = server
        .run(&["dead", "show", "sleeper", "a.1"])
        .await
        .expect(0);
    for told in ["codec", "msgpack", "body (hexadecimal)", "81a16e07"] {
        assert!(run.stdout.contains(told), "{run}");
    }
}

#[tokio::test]
async fn letters_are_replayed_by_task_by_job_or_all() {
    let server = with_three().await;
    let run = server
        .run(&["dead", "replay", "sleeper", "b.1", "--json"])
        .await
        .expect(0);
    assert_eq!(run.json()["replayed"], 1);
    let run = server
        .run(&["dead", "replay", "sleeper", "--job", "a"])
        .await
        .expect(0);
    assert_eq!(run.stdout, "queued again: 2\n");
    let server = with_letters((0..2500).map(|n| format!("a.{n}"))).await;
    let run = server
        .run(&["dead", "replay", "sleeper", "--all", "--json"])
        .await
        .expect(0);
    assert_eq!(run.json()["replayed"], 2500);
}

#[tokio::test]
async fn everything_is_never_meant_by_leaving_something_out() {
    let server = with_three().await;
    for action in ["replay", "purge"] {
        server.run(&["dead", action, "sleeper"]).await.expect(2);
    }
    server
        .run(&["dead", "purge", "sleeper", "a.1", "--all", "--yes"])
        .await
        .expect(2);
    server
        .run(&["dead", "purge", "sleeper", "--all"])
        .await
        .expect(2)
        .tells(&["all dead letters of sleeper", "--yes"]);
    assert_eq!(server.farm_state().dead.len(), 3);
}

#[tokio::test]
async fn letters_are_purged_when_it_is_meant() {
    let server = with_three().await;
    let run = server
        .run(&["dead", "purge", "sleeper", "--job", "a", "--yes", "--json"])
        .await
        .expect(0);
    assert_eq!(run.json()["purged"], 2);
    server
        .run(&["dead", "purge", "sleeper", "b.1", "--yes"])
        .await
        .expect(0);
    let run = server.run(&["dead", "list", "sleeper"]).await.expect(0);
    assert_eq!(run.stdout, "no dead letters\n");
}
