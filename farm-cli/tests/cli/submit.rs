//! `farm submit`.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::program::{end_of, farm, finish, until};
use crate::server::Server;

#[tokio::test]
async fn a_file_is_sent_and_every_result_comes_back() {
    let server = Server::start().await;
    let tasks: String = (0..100).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let file = server.write("tasks.ndjson", &tasks);
    let words = [
        "submit",
        "sleeper",
        &file,
        "--wait",
        "--out",
        "out.ndjson",
        "--json",
        "--deadline",
        "2s",
    ];
    let report = server.run(&words).await.expect(0).json();
    for (name, count) in [
        ("accepted", 100),
        ("done", 100),
        ("failed", 0),
        ("lost", 0),
        ("duplicates", 0),
    ] {
        assert_eq!(report[name], count, "{name}");
    }
    assert_eq!(report["elapsed_seconds"], 10.0);
    assert!((report["sojourn_seconds"]["p99"].as_f64().unwrap() - 0.25).abs() < 0.001);
    let out = fs::read_to_string(server.folder().join("out.ndjson")).unwrap();
    assert_eq!(out.lines().count(), 100);
    assert!(
        out.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    let submit = server.farm_state().submits[0].clone();
    assert_eq!(submit.content_type, "application/x-ndjson");
    assert_eq!(submit.deadline.as_deref(), Some("2s"));
    assert_eq!(submit.body, tasks);
    assert!(submit.idempotency_key.is_some());
}

#[tokio::test]
async fn without_waiting_the_job_is_named() {
    let server = Server::start().await;
    let words = [
        "submit",
        "sleeper",
        "--value",
        r#"[{"n":1}, {"n":2}]"#,
        "--callback",
        "http://c/done",
    ];
    let run = server.run(&words).await.expect(0);
    assert!(run.stdout.contains("job-1: 2 tasks accepted"), "{run}");
    assert!(run.stdout.contains("farm results sleeper job-1"), "{run}");
    let submit = server.farm_state().submits[0].clone();
    assert_eq!(submit.content_type, "application/json");
    assert_eq!(submit.callback_url.as_deref(), Some("http://c/done"));
}

#[tokio::test]
async fn standard_input_flows_while_it_is_written() {
    let server = Server::start().await;
    let words = ["submit", "sleeper", "--json"];
    let mut child = server.farm(&words).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"n\":1}\n").await.unwrap();
    until(
        "the first task arrives while standard input is open",
        || {
            server
                .farm_state()
                .submits
                .first()
                .is_some_and(|submit| submit.body.contains("\"n\":1"))
        },
    )
    .await;
    stdin.write_all(b"{\"n\":2}\n").await.unwrap();
    drop(stdin);
    let accepted = end_of(child).await.expect(0).json();
    assert_eq!(accepted["accepted"], 2);
}

#[tokio::test]
async fn a_folder_becomes_one_task_per_file() {
    let server = Server::start().await;
    for (name, content) in [
        ("photos/b/2.jpg", "two"),
        ("photos/a.jpg", "one"),
        ("photos/.hidden", "no"),
    ] {
        server.write(name, content);
    }
    server.run(&["submit", "sleeper", "photos"]).await.expect(0);
    let bodies = server.farm_state().jobs["job-1"].bodies.clone();
    let tasks: Vec<Value> = bodies
        .iter()
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    assert_eq!(
        tasks[0],
        serde_json::json!({ "name": "a.jpg", "bytes_base64": "b25l" })
    );
    assert_eq!(tasks[1]["name"], "b/2.jpg");
    assert_eq!(tasks.len(), 2);
}

#[tokio::test]
async fn failed_lost_and_double_tasks_are_told_and_exit_with_3() {
    let server = Server::start().await;
    let input = "{}\n{\"becomes\":\"failed\"}\n{\"becomes\":\"lost\"}\n{\"becomes\":\"twice\"}\n";
    let words = ["submit", "sleeper", "-", "--wait", "--json"];
    let report = server.run_with_input(&words, input).await.expect(3).json();
    for (name, count) in [
        ("accepted", 4),
        ("done", 2),
        ("failed", 1),
        ("lost", 1),
        ("duplicates", 1),
    ] {
        assert_eq!(report[name], count, "{name}");
    }
    let qos = report["qos_ratio"].as_f64().unwrap();
    assert!((qos - 2.0 / 3.0).abs() < 1e-9, "{qos}");
}

#[tokio::test]
async fn the_account_is_a_table_for_people() {
    let server = Server::start().await;
    let run = server
        .run(&["submit", "sleeper", "--value", "{}", "--wait"])
        .await
        .expect(0);
    for words in [
        ["accepted", "1"],
        ["lost", "0"],
        ["inside deadline", "100.00 %"],
    ] {
        let found = run
            .stdout
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "{words:?}: {run}");
    }
}

#[tokio::test]
async fn a_farm_that_folds_writes_its_summary() {
    let server = Server::start().await;
    server.farm_state().folds = true;
    let words = [
        "submit",
        "sleeper",
        "--value",
        "[1,2,3]",
        "--wait",
        "--out",
        "summary.json",
    ];
    server.run(&words).await.expect(0);
    let summary = fs::read_to_string(server.folder().join("summary.json")).unwrap();
    assert_eq!(summary, r#"{"folded":3}"#);
}

#[tokio::test]
async fn a_job_that_does_not_end_in_time_is_left_running() {
    let server = Server::start().await;
    server.farm_state().hold = true;
    let run = server
        .run(&["submit", "sleeper", "--value", "{}", "--wait=300ms"])
        .await
        .expect(1);
    run.tells(&["job-1", "farm results sleeper job-1"]);
}

#[tokio::test]
async fn a_full_farm_is_asked_again() {
    let server = Server::start().await;
    server.farm_state().full_for = 2;
    let run = server
        .run_with_input(&["submit", "sleeper", "--json"], "1\n2\n3\n")
        .await
        .expect(0);
    assert_eq!(run.json()["accepted"], 3);
    let farm = server.farm_state();
    assert_eq!((farm.submits.len(), farm.jobs.len()), (3, 1));
    assert!(farm.submits.iter().all(|submit| submit.body == "1\n2\n3\n"));
}

#[tokio::test]
async fn a_farm_that_stays_full_refuses() {
    let server = Server::start().await;
    server.farm_state().full_for = u32::MAX;
    let words = ["submit", "sleeper", "--value", "{}", "--retry-for", "50ms"];
    server
        .run(&words)
        .await
        .expect(5)
        .tells(&["sleeper is full"]);
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_job() {
    let server = Server::start().await;
    server.farm_state().cut_answers = 1;
    let run = server
        .run(&["submit", "sleeper", "--value", "[1,2]", "--json"])
        .await
        .expect(0);
    assert_eq!(run.json()["repeated"], true);
    let farm = server.farm_state();
    assert_eq!((farm.submits.len(), farm.jobs.len()), (2, 1));
}

#[tokio::test]
async fn a_cut_stream_of_results_is_resumed() {
    let server = Server::start().await;
    server.farm_state().cut_results = 3;
    let words = [
        "submit",
        "sleeper",
        "--value",
        "[1,2,3,4,5]",
        "--wait",
        "--json",
        "--out",
        "out.ndjson",
    ];
    let report = server.run(&words).await.expect(0).json();
    assert_eq!(
        (&report["done"], &report["duplicates"]),
        (&5.into(), &0.into())
    );
    let out = fs::read_to_string(server.folder().join("out.ndjson")).unwrap();
    let tasks: Vec<_> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["task"].clone())
        .collect();
    assert_eq!(tasks, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn waiting_survives_a_restart_of_the_gateway() {
    let mut server = Server::start().await;
    server.farm_state().hold = true;
    let child = server
        .farm(&["submit", "sleeper", "--value", "[1,2]", "--wait", "--json"])
        .spawn()
        .unwrap();
    until("the job is taken in", || {
        server.farm_state().jobs.len() == 1
    })
    .await;
    server.stop().await;
    server.end_jobs();
    server.restart().await;
    let report = end_of(child).await.expect(0).json();
    assert_eq!(
        (&report["done"], &report["ended"]),
        (&2.into(), &true.into())
    );
}

#[tokio::test]
async fn refused_input_is_told_with_its_place() {
    let server = Server::start().await;
    let input = "{}\n{\"refuse\":true}\n";
    let run = server
        .run_with_input(&["submit", "sleeper"], input)
        .await
        .expect(5);
    run.tells(&["line 2", "expected a photo"]);
    assert_eq!(server.farm_state().submits.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_anything_is_sent() {
    let server = Server::start().await;
    server.write("tasks.csv", "1");
    fs::create_dir(server.folder().join("empty")).unwrap();
    server
        .run(&["submit", "sleeper", "missing.json"])
        .await
        .expect(5)
        .tells(&["missing.json"]);
    server
        .run(&["submit", "sleeper", "empty"])
        .await
        .expect(5)
        .tells(&["empty", "no files"]);
    server
        .run(&["submit", "sleeper", "tasks.csv"])
        .await
        .expect(2)
        .tells(&["--format"]);
    server
        .run(&["submit", "sleeper", "--value", "{"])
        .await
        .expect(2);
    server
        .run(&["submit", "sleeper", "--value", "{}", "--deadline", "2"])
        .await
        .expect(2);
    assert!(server.farm_state().submits.is_empty());
}

#[tokio::test]
async fn a_function_without_the_emitter_is_no_place_to_submit() {
    let server = Server::start().await;
    server.farm_state().roles = Some("worker");
    let run = server
        .run(&["submit", "sleeper", "--value", "{}"])
        .await
        .expect(5);
    run.tells(&["worker", "emitter"]);
}

#[tokio::test]
async fn an_unknown_function_is_told_beside_those_that_exist() {
    let server = Server::start().await;
    let password = server.write("password", crate::server::PASSWORD);
    let words = [
        "submit",
        "slepper",
        "--value",
        "{}",
        "--password-file",
        &password,
    ];
    server
        .run(&words)
        .await
        .expect(4)
        .tells(&["no function slepper", "sleeper, hello"]);
    let words = ["submit", "slepper", "--value", "{}"];
    server
        .run(&words)
        .await
        .expect(4)
        .tells(&["no function slepper"]);
    let words = ["submit", "hello", "--value", "{}"];
    server
        .run(&words)
        .await
        .expect(4)
        .tells(&["hello is not a farm"]);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "submit",
        "sleeper",
        "--value",
        "{}",
        "--gateway",
        "http://127.0.0.1:9",
    ];
    finish(&mut farm(folder.path(), &words))
        .await
        .expect(4)
        .tells(&["127.0.0.1:9", "farm up"]);
}

#[tokio::test]
async fn the_gateway_of_farm_up_is_found_from_below_its_folder() {
    let server = Server::start().await;
    server.write(
        ".farm/up.json",
        &serde_json::json!({ "gateway_url": server.url() }).to_string(),
    );
    let below = server.folder().join("below");
    fs::create_dir(&below).unwrap();
    finish(&mut farm(&below, &["submit", "sleeper", "--value", "{}"]))
        .await
        .expect(0);
}
