//! The gateway API: the answers OpenFaaS CE gives.

use std::time::Duration;

use bytes::Bytes;
use farm_core::gateway::SystemInfo;
use futures_util::StreamExt;
use reqwest::{Body, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Fixture, function, stack_of, until};

fn one_function(keys: &str) -> Fixture {
    Fixture::new(&stack_of(&function("work", keys)))
}

#[tokio::test]
async fn the_system_api_wants_the_password_and_nothing_else_does() {
    let mut running = one_function("")
        .start_with(|options| options.password = Some("pw".into()))
        .await;
    let gateway = running.platform.gateway_url();
    let client = running.client.clone();
    let status = |request: reqwest::RequestBuilder| async {
        request.send().await.unwrap().status().as_u16()
    };
    let list = || client.get(format!("{gateway}/system/functions"));
    assert_eq!(status(list().basic_auth("admin", Some("pw"))).await, 200);
    assert_eq!(status(list().basic_auth("admin", Some("px"))).await, 401);
    // faas-cli sends this when it is not logged in.
    assert_eq!(status(list().header("authorization", "Bearer ")).await, 401);
    assert_eq!(status(client.get(format!("{gateway}/healthz"))).await, 200);
    assert_eq!(
        status(client.get(format!("{gateway}/function/work"))).await,
        200
    );
    for (method, path) in [
        (Method::POST, "/system/functions"),
        (Method::POST, "/system/scale-function/work"),
        (Method::GET, "/system/info"),
        (Method::GET, "/system/logs?name=work"),
        (Method::GET, "/system/secrets"),
        (Method::GET, "/system/namespaces"),
    ] {
        let refused = client
            .request(method, format!("{gateway}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(
            refused.headers()["www-authenticate"],
            r#"Basic realm="Restricted""#
        );
        assert_eq!(refused.text().await.unwrap(), "invalid credentials");
    }
    running.client = client;
    running.stop().await;
}

#[tokio::test]
async fn it_says_what_it_is_and_what_it_runs() {
    let keys = ", labels: {a: b}, annotations: {farm.name: f}, limits: {memory: 64Mi}";
    let running = one_function(keys).start().await;
    assert_eq!(
        running.get("/system/namespaces").await,
        r#"["openfaas-fn"]"#
    );
    let info: SystemInfo = serde_json::from_str(&running.get("/system/info").await).unwrap();
    assert_eq!(info.provider.unwrap().name, "farm-local");
    running.get("/function/work").await;
    let status = running.status("work").await;
    assert_eq!(
        (status.label("a"), status.annotation("farm.name")),
        (Some("b"), Some("f"))
    );
    assert_eq!(status.limits.unwrap().memory, "64Mi");
    assert_eq!(
        (status.image.as_str(), status.namespace.as_str()),
        ("fixture:1", "openfaas-fn")
    );
    assert_eq!(status.invocation_count, 1.0);
    assert!(status.created_at.unwrap().ends_with('Z'));
    let unknown = running
        .request(Method::GET, "/system/function/none")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            unknown.status().as_u16(),
            unknown.text().await.unwrap().as_str()
        ),
        (404, "")
    );
    assert_eq!(running.scale("none", 1).await, 500);
    let elsewhere = "/system/functions?namespace=dev";
    let elsewhere = running
        .request(Method::GET, elsewhere)
        .send()
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 400);
    assert_eq!(
        elsewhere.text().await.unwrap(),
        "namespace must be: openfaas-fn"
    );
    running.get("/system/functions?namespace=openfaas-fn").await;
    running.stop().await;
}

#[tokio::test]
async fn a_request_reaches_the_function_as_it_was_sent() {
    let running = one_function("").start().await;
    let response = running
        .request(
            Method::PUT,
            "/function/work.openfaas-fn/head/a%2Fb%20c?q=1%202&r",
        )
        .header("x-call-id", "mine")
        .header("traceparent", "00-1-2-01")
        .header("te", "trailers")
        .send()
        .await
        .unwrap();
    let headers = response.headers().clone();
    assert!(
        !headers.contains_key("x-call-id"),
        "an id that the caller gave is not told back"
    );
    assert!(headers.contains_key("x-start-time") && headers.contains_key("x-served-by"));
    assert_eq!(headers["x-fixture"], "yes");
    let head = response.text().await.unwrap().to_lowercase();
    for expected in [
        "put /head/a%2fb%20c?q=1%202&r http/1.1",
        "x-call-id: mine",
        "traceparent: 00-1-2-01",
        "x-forwarded-for: 127.0.0.1:",
        "x-forwarded-host: 127.0.0.1:",
        "x-start-time: 1",
    ] {
        assert!(head.contains(expected), "{expected:?} is not in {head}");
    }
    assert!(!head.contains("\nte:"), "{head}");

    let generated = running
        .request(Method::GET, "/function/work/")
        .send()
        .await
        .unwrap();
    assert_eq!(generated.headers()["x-call-id"].len(), 36);
    let passed = running
        .request(Method::POST, "/function/work/teapot")
        .body("tea")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            passed.status().as_u16(),
            passed.text().await.unwrap().as_str()
        ),
        (418, "tea")
    );
    let unknown = running
        .request(Method::GET, "/function/none")
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.headers()["x-openfaas-internal"], "proxy");
    running.stop().await;
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let running = one_function("").start().await;
    let (send, mut chunks) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = futures_util::stream::poll_fn(move |context| chunks.poll_recv(context));
    let body = Body::wrap_stream(body.map(Ok::<_, std::io::Error>));
    let request = running
        .request(Method::POST, "/function/work/stream")
        .body(body);
    let mut answer = request.send().await.unwrap().bytes_stream();
    // Each chunk comes back before the next is sent: neither side is held until its end.
    for chunk in ["first", "second"] {
        send.send(Bytes::from(chunk)).await.unwrap();
        let echoed = tokio::time::timeout(Duration::from_secs(5), answer.next()).await;
        assert_eq!(echoed.unwrap().unwrap().unwrap(), chunk);
    }
    drop(send);
    assert!(answer.next().await.is_none());
    running.stop().await;
}

#[tokio::test]
async fn an_asynchronous_call_is_answered_at_once_and_called_back() {
    let running = one_function("").start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let callback = format!("http://{}/done", listener.local_addr().unwrap());
    for (path, status, body, answer_header) in [
        ("work/teapot", "418", "tea", "x-fixture: yes"),
        ("none", "404", "", "x-openfaas-internal: proxy"),
    ] {
        let accepted = running
            .request(Method::POST, &format!("/async-function/{path}"))
            .header("x-callback-url", &callback)
            .body("tea")
            .send()
            .await
            .unwrap();
        assert_eq!(accepted.status(), 202);
        let call_id = accepted.headers()["x-call-id"].to_str().unwrap().to_owned();
        let posted = receive_post(&listener).await.to_lowercase();
        assert!(posted.starts_with("post /done "), "{posted}");
        for header in [
            format!("x-call-id: {call_id}"),
            format!("x-function-status: {status}"),
            format!("x-function-name: {}", path.split('/').next().unwrap()),
            "x-duration-seconds: 0.".to_owned(),
            answer_header.to_owned(),
        ] {
            assert!(posted.contains(&header), "{header:?} is not in {posted}");
        }
        assert!(posted.ends_with(body), "{posted}");
    }
    let large = running
        .request(Method::POST, "/async-function/work")
        .body(vec![0; 256_001]);
    assert_eq!(large.send().await.unwrap().status(), 413);
    let get = running
        .request(Method::GET, "/async-function/work")
        .send()
        .await
        .unwrap();
    assert_eq!(get.status(), 405);
    running.stop().await;
}

/// One request to `listener`, head and body.
async fn receive_post(listener: &TcpListener) -> String {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| {
                rest.split("\r\n").next().unwrap().parse().unwrap()
            });
        if body.len() >= length {
            break;
        }
    }
    connection
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    text
}

#[tokio::test]
async fn logs_are_chosen_and_followed() {
    let running = one_function("").start().await;
    let instance = running.get("/function/work/env/HOSTNAME").await;
    for text in ["one", "two"] {
        running
            .request(Method::POST, "/function/work/say")
            .body(text)
            .send()
            .await
            .unwrap();
    }
    until("the log", async || {
        running.logs("name=work&tail=2").await == ["one", "two"]
    })
    .await;
    assert_eq!(running.logs("name=work&tail=1").await, ["two"]);
    assert_eq!(
        running
            .logs(&format!("name=work.openfaas-fn&tail=1&instance={instance}"))
            .await,
        ["two"]
    );
    assert!(running.logs("name=work&instance=other").await.is_empty());
    assert!(
        running
            .logs("name=work&since=2999-01-01T00:00:00%2B01:00")
            .await
            .is_empty()
    );

    let follow = running
        .request(Method::GET, "/system/logs?name=work&follow=true&tail=1")
        .send()
        .await
        .unwrap();
    assert_eq!(follow.headers()["content-type"], "application/x-ndjson");
    let mut lines = follow.bytes_stream();
    assert!(text_of(lines.next().await).contains(r#""text":"two""#));
    running
        .request(Method::POST, "/function/work/say")
        .body("three")
        .send()
        .await
        .unwrap();
    let followed = tokio::time::timeout(Duration::from_secs(5), lines.next())
        .await
        .unwrap();
    assert!(text_of(followed).contains(r#""text":"three""#));
    // The stream ends with the platform, and does not hold it up.
    running.stop().await;
    while let Some(Ok(_)) = lines.next().await {}
}

fn text_of(chunk: Option<reqwest::Result<Bytes>>) -> String {
    String::from_utf8(chunk.unwrap().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let fixture = one_function(", secrets: [db]");
    fixture.write(".secrets/db", "from file");
    let running = fixture.start().await;
    assert_eq!(running.get("/function/work/secret/db").await, "from file");
    let folder = running.get("/function/work/env/FARM_SECRETS_DIR").await;
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);

    let path = "/system/secrets";
    let status = async |method, body| running.send(method, path, body).await.status().as_u16();
    let other = json!({"name": "other", "value": "v"});
    assert_eq!(status(Method::PUT, other.clone()).await, 404);
    assert_eq!(status(Method::POST, other.clone()).await, 202);
    assert_eq!(status(Method::POST, other.clone()).await, 409);
    assert_eq!(
        status(Method::PUT, json!({"name": "other", "rawValue": "AP8="})).await,
        202
    );
    assert_eq!(
        status(Method::POST, json!({"name": "../up", "value": "v"})).await,
        400
    );
    let changed = json!({"name": "db", "value": "changed"});
    assert_eq!(status(Method::PUT, changed).await, 202);
    assert_eq!(running.get("/function/work/secret/db").await, "changed");
    let listed = running.get(path).await;
    assert_eq!(
        listed,
        r#"[{"name":"db","namespace":"openfaas-fn"},{"name":"other","namespace":"openfaas-fn"}]"#
    );
    assert_eq!(status(Method::DELETE, json!({"name": "other"})).await, 202);
    assert_eq!(status(Method::DELETE, json!({"name": "other"})).await, 404);
    running.stop().await;
}
