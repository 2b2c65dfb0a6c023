//! `farm status`.

use crate::program::finish;
use crate::server::{PASSWORD, Server};

#[tokio::test]
async fn only_the_farms_among_the_functions_are_listed() {
    let server = Server::start().await;
    let password = server.write("password", PASSWORD);
    let run = server
        .run(&["status", "--password-file", &password])
        .await
        .expect(0);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{run}");
    assert!(lines[0].starts_with("FUNCTION"), "{run}");
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "sleeper",
            "sleeper",
            "emitter,worker,collector",
            "2",
            "3",
            "2",
            "1",
            "0"
        ]
    );
    let run = server
        .run(&["status", "--json", "--password-file", &password])
        .await
        .expect(0);
    assert_eq!(
        (&run.json()["replicas"], &run.json()["backlog_tasks"]),
        (&2.into(), &3.into())
    );
}

#[tokio::test]
async fn the_password_of_farm_up_is_used_for_its_gateway_alone() {
    let server = Server::start().await;
    server
        .run(&["status"])
        .await
        .expect(1)
        .tells(&["--password-file"]);
    server.write(
        ".farm/up.json",
        &serde_json::json!({ "gateway_url": server.url() }).to_string(),
    );
    server.write(".farm/gateway-password", PASSWORD);
    finish(&mut crate::program::farm(server.folder(), &["status"]))
        .await
        .expect(0);
    server.write(".farm/up.json", r#"{"gateway_url":"http://127.0.0.1:9"}"#);
    server
        .run(&["status"])
        .await
        .expect(1)
        .tells(&["--password-file"]);
}

#[tokio::test]
async fn a_farm_and_a_job_are_shown() {
    let server = Server::start().await;
    let run = server.run(&["status", "sleeper"]).await.expect(0);
    assert!(run.stdout.contains("3 of at most 1000000 tasks"), "{run}");
    server
        .run(&["submit", "sleeper", "--value", "[1,2]"])
        .await
        .expect(0);
    let run = server
        .run(&["status", "sleeper", "job-1", "--json"])
        .await
        .expect(0);
    assert_eq!(
        (&run.json()["state"], &run.json()["done"]),
        (&"done".into(), &2.into())
    );
    let run = server.run(&["status", "sleeper", "job-1"]).await.expect(0);
    assert!(run.stdout.contains("ago"), "{run}");
    server
        .run(&["status", "sleeper", "job-9"])
        .await
        .expect(1)
        .tells(&["no job job-9"]);
}

#[tokio::test]
async fn watching_a_job_ends_with_it() {
    let server = Server::start().await;
    server.farm_state().hold = true;
    server
        .run(&["submit", "sleeper", "--value", "[1]"])
        .await
        .expect(0);
    let words = [
        "status",
        "sleeper",
        "job-1",
        "--watch",
        "--interval",
        "20ms",
        "--json",
    ];
    let child = server.farm(&words).spawn().unwrap();
    server.end_jobs();
    let run = crate::program::end_of(child).await.expect(0);
    assert!(
        run.stdout.lines().last().unwrap().contains("\"done\""),
        "{run}"
    );
}
