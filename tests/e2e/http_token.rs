//! A farm whose HTTP face is protected by a token.

use std::fs;
use std::time::Duration;

use farm_core::http::{Accepted, Problem};
use farm_tests::{Function, NatsServer, Replica, Workplace, run};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

const TOKEN: &str = "planted-token-5ac1";
const SOON: Duration = Duration::from_secs(30);

fn protect(nats: &NatsServer, token: &str) {
    let file = nats.secrets_folder().join("farm-http-token");
    // As `kubectl create secret --from-file` keeps it.
    fs::write(file, format!("{token}\n")).unwrap();
}

async fn turned_away(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["connection"], "close");
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    let problem: Problem = answer.json().await.expect("a problem as JSON");
    assert!(problem.error.contains("farm-http-token"), "{problem:?}");
}

fn asked(replica: &Replica, method: Method, path: &str) -> RequestBuilder {
    replica.http.request(method, path)
}

#[tokio::test]
async fn only_who_carries_the_token_is_let_in() {
    let nats = NatsServer::start().await;
    protect(&nats, TOKEN);
    let replica = Function::sleeper(&nats).start().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::POST, "/"),
        (Method::GET, "/jobs/a"),
        (Method::DELETE, "/jobs/a"),
        (Method::GET, "/jobs/a/results"),
        (Method::GET, "/jobs/a/summary"),
        (Method::GET, "/dead"),
        (Method::DELETE, "/dead"),
        (Method::POST, "/dead/replay"),
        (Method::GET, "/dead/a.0"),
        (Method::GET, "/nowhere"),
        (Method::PATCH, "/"),
    ] {
        turned_away(asked(&replica, method.clone(), path)).await;
        let wrong = asked(&replica, method.clone(), path).bearer_auth("planted-token-5ac2");
        turned_away(wrong).await;
        turned_away(asked(&replica, method, path).basic_auth("admin", Some(TOKEN))).await;
    }
    for path in ["/_/health", "/_/ready"] {
        assert_eq!(replica.http.status_of(path).await, Some(StatusCode::OK));
    }

    let request = asked(&replica, Method::POST, "/?wait=20s");
    let answer = request.bearer_auth(TOKEN).json(&json!({})).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let request = asked(&replica, Method::POST, "/").bearer_auth(TOKEN);
    let answer = request.json(&json!([{}, {}])).send().await.unwrap();
    let accepted: Accepted = answer.json().await.unwrap();
    assert_eq!(accepted.accepted, 2);

    // The metrics port is for the cluster, and tells no secret either.
    let metrics = replica.metrics().await;
    let refused = metrics.sum("http_requests_total", &[("code", "401")]);
    assert_eq!(refused, Some(36.0));
    assert!(!replica.process.output().contains(TOKEN));
}

#[tokio::test]
async fn an_empty_token_is_no_open_door() {
    let nats = NatsServer::start().await;
    protect(&nats, "");
    let mut replica = Function::sleeper(&nats).spawn();
    let exit = replica.exit(SOON).await;
    assert!(!exit.success());
    let output = replica.process.output();
    assert!(output.contains("farm-http-token: it is empty"), "{output}");
}

#[tokio::test]
async fn the_farm_command_carries_the_token() {
    const STACK: &str = "
version: 1.0
provider: {name: openfaas, gateway: http://127.0.0.1:8080}
functions:
  sleeper:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {FARM_NAME: sleeper}
    secrets: [farm-http-token]
";
    let workplace = Workplace::new();
    workplace.copy("template", "template");
    workplace.copy("examples/sleeper", "sleeper");
    workplace.write("stack.yml", STACK);
    fs::create_dir(workplace.stack().join(".secrets")).unwrap();
    workplace.write(".secrets/farm-http-token", TOKEN);
    let mut up = workplace.up(&[]).await;

    let farm = |arguments: &[&str]| {
        let mut command = workplace.command(farm_tests::binary("farm-cli"));
        command.args(arguments);
        command
    };
    let submit = ["submit", "sleeper", "--wait", "--json", "--value", "{}"];
    let refused = farm(&submit).output().unwrap();
    assert!(!refused.status.success());
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(printed.contains("--token-file"), "{printed}");

    let token_file = ["--token-file", ".secrets/farm-http-token"];
    let done = run(&mut farm(&[&submit[..], &token_file].concat()));
    assert!(done.contains(r#""done":1"#), "{done}");
    let mut status = farm(&["status", "sleeper"]);
    let shown = run(status.env("FARM_HTTP_TOKEN_FILE", ".secrets/farm-http-token"));
    assert!(shown.contains("sleeper"), "{shown}");
    assert!(!up.process.output().contains(TOKEN));
    up.stop().await;
}
