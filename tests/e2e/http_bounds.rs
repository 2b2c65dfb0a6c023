//! What clients may hold of a replica is bounded, and probes are answered all the same.

use std::time::Duration;

use farm_core::http::{NDJSON, Problem};
use farm_tests::{Function, NatsServer, Replica, eventually, within};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// A connection on which a test says what it likes.
async fn connect(replica: &Replica, first: &str) -> TcpStream {
    let address = replica.http.base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the replica closes the connection.
async fn answered(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    within("the connection is closed", SOON, async {
        // What was sent and not read may reset it.
        let _ = stream.read_to_end(&mut answer).await;
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(replica: &Replica, path: &str) -> Response {
    let request = replica.http.request(Method::GET, path);
    request.send().await.unwrap()
}

async fn refused(answer: Response, named: &str) {
    assert_eq!(answer.status(), TOO_MANY);
    let retry_after = answer.headers()["retry-after"].to_str().unwrap();
    assert!(retry_after.parse::<u64>().unwrap() >= 1, "{retry_after}");
    let problem: Problem = answer.json().await.unwrap();
    assert!(problem.error.contains(named), "{problem:?}");
}

async fn probes_are_answered(replica: &Replica) {
    for path in ["/_/health", "/_/ready"] {
        assert_eq!(get(replica, path).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn headers_that_do_not_end_are_not_waited_for() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_HEADER_TIMEOUT", "300ms");
    let replica = sleeper.start().await;
    for begun in [
        "",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nx-a: b\r\nx-c: ",
    ] {
        let stream = connect(&replica, begun).await;
        let answer = answered(stream).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn headers_that_are_too_large_or_too_many_are_431() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_MAX_HEADER", "4KiB");
    let replica = sleeper.start().await;
    let large = format!("GET / HTTP/1.1\r\nx-large: {}\r\n\r\n", "a".repeat(8192));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x-a: b\r\n".repeat(200));
    for request in [large, many] {
        let answer = answered(connect(&replica, &request).await).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let small = "GET /_/health HTTP/1.1\r\nconnection: close\r\nhost: a\r\n\r\n";
    let answer = answered(connect(&replica, small).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_is_slow_to_send_holds_nothing_but_its_connection() {
    const SLOW: usize = 20;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_MAX_REQUESTS", 2)
        .set("FARM_BODY_TIMEOUT", "1h");
    let replica = sleeper.start().await;
    let begun = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\n[";
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(connect(&replica, begun).await);
    }
    for _ in 0..3 {
        let job = replica.http.submit(&json!([{}])).await;
        replica.http.ended(&job.job, SOON).await;
    }
    // They come to their end, too.
    let mut patient = slow.remove(0);
    patient.write_all(b"{}]").await.unwrap();
    let answer = answered(patient).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_stands_still_is_408_and_leaves_no_job_behind() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_BODY_TIMEOUT", "300ms");
    let replica = sleeper.start().await;
    let begun = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\n[{}";
    let answer = answered(connect(&replica, begun).await).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("FARM_BODY_TIMEOUT"), "{answer}");
    assert_eq!(replica.http.farm().await.backlog_tasks, 0);
}

/// The path of a request that works for some seconds: a replay waits for a collector, and there is
/// none.
async fn long_work(replica: &Replica) -> String {
    replica.http.submit(&json!({"fail": "permanent"})).await;
    let letter = eventually("a dead letter", SOON, async || {
        let listed = get(replica, "/dead").await.text().await.ok()?;
        let letter: serde_json::Value = serde_json::from_str(listed.lines().next()?).ok()?;
        letter["task"].as_str().map(str::to_owned)
    })
    .await;
    format!("/dead/{letter}/replay")
}

#[tokio::test]
async fn more_requests_than_a_replica_works_on_are_429() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .roles("emitter,worker")
        .set("FARM_MAX_REQUESTS", 1);
    let replica = sleeper.start().await;
    let path = long_work(&replica).await;
    // On a slow machine it may be over before the other comes.
    let (one_too_many, working) = eventually("a request too many", SOON, async || {
        let request = replica.http.request(Method::POST, &path);
        let working = tokio::spawn(async move { request.send().await.unwrap() });
        while !working.is_finished() {
            let answer = get(&replica, "/").await;
            if answer.status() == TOO_MANY {
                return Some((answer, working));
            }
        }
        None
    })
    .await;
    refused(one_too_many, "FARM_MAX_REQUESTS").await;
    probes_are_answered(&replica).await;
    let answer = working.await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&replica, "/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn more_connections_than_allowed_are_429_but_probes_get_through() {
    const ALLOWED: usize = 3;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_MAX_CONNECTIONS", ALLOWED)
        .set("FARM_HEADER_TIMEOUT", "1h");
    let replica = sleeper.start().await;
    let mut idle = Vec::new();
    let one_too_many = eventually("a connection too many", SOON, async || {
        idle.push(connect(&replica, "").await);
        let answer = get(&replica, "/").await;
        (answer.status() == TOO_MANY).then_some(answer)
    })
    .await;
    assert_eq!(one_too_many.headers()["connection"], "close");
    refused(one_too_many, "FARM_MAX_CONNECTIONS").await;
    // However many more there are.
    for _ in 0..200 {
        idle.push(connect(&replica, "").await);
    }
    for _ in 0..10 {
        probes_are_answered(&replica).await;
    }
    drop(idle);
    eventually("there is room again", SOON, async || {
        (get(&replica, "/").await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rate_can_be_set() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_MAX_REQUEST_RATE", "0.001/s");
    let replica = sleeper.start().await;
    assert_eq!(get(&replica, "/").await.status(), StatusCode::OK);
    let one_too_many = get(&replica, "/").await;
    assert_eq!(one_too_many.headers()["connection"], "close");
    refused(one_too_many, "FARM_MAX_REQUEST_RATE").await;
    probes_are_answered(&replica).await;
}

#[tokio::test]
async fn clients_that_wait_are_few_and_hold_up_nobody() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_MAX_STREAMS", 1)
        .set("FARM_MAX_REQUESTS", 1);
    let replica = sleeper.start().await;
    let job = replica.http.submit(&json!({"seconds": 3600})).await.job;
    let reading = replica.http.follow(&job, 0).await;
    let results = format!("/jobs/{job}/results");
    refused(get(&replica, &results).await, "FARM_MAX_STREAMS").await;
    refused(get(&replica, "/dead").await, "FARM_MAX_STREAMS").await;
    // A job that was accepted is never refused for the waiting.
    let waiting = replica.http.request(Method::POST, "/?wait=1h");
    let waiting = waiting.json(&json!({"seconds": 3600})).send();
    let answer = within("no wait", SOON, waiting).await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(get(&replica, "/").await.status(), StatusCode::OK);
    drop(reading);
    eventually("there is room again", SOON, async || {
        (get(&replica, &results).await.status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_and_no_longer_in_flight() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    let in_flight = async |expected: f64| {
        let metrics = replica.metrics().await;
        let count = metrics.sum("http_requests_in_flight", &[]);
        (count == Some(expected)).then_some(metrics)
    };
    let waiting = replica.http.request(Method::POST, "/?wait=1h");
    let waiting = tokio::spawn(waiting.json(&json!({"seconds": 3600})).send());
    eventually("a request in flight", SOON, async || in_flight(1.0).await).await;
    waiting.abort();
    let metrics = eventually("none is", SOON, async || in_flight(0.0).await).await;
    let labels = [("code", "499"), ("method", "post")];
    assert_eq!(metrics.sum("http_requests_total", &labels), Some(1.0));
}

#[tokio::test]
async fn methods_that_a_client_makes_up_are_one_series() {
    const MADE_UP: usize = 5;
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    for number in 0..MADE_UP {
        let method = Method::from_bytes(format!("BREW{number}").as_bytes()).unwrap();
        let answer = replica.http.request(method, "/").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    let metrics = replica.metrics().await;
    let others = metrics.sum("http_requests_total", &[("method", "other")]);
    assert_eq!(others, Some(MADE_UP as f64));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_results_is_left() {
    const TASKS: usize = 20;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_SLOTS", TASKS)
        .set("FARM_MAX_STREAMS", 1)
        .set("FARM_BODY_TIMEOUT", "500ms");
    let replica = sleeper.start().await;
    let task = json!({"payload_bytes": 900_000});
    let job = replica.http.submit(&vec![task; TASKS]).await.job;
    replica.http.ended(&job, SOON).await;
    let request = format!("GET /jobs/{job}/results HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut lazy = connect(&replica, &request).await;
    lazy.readable().await.unwrap();
    let mut results = eventually("its place is free", SOON, async || {
        let answer = get(&replica, &format!("/jobs/{job}/results")).await;
        (answer.status() == StatusCode::OK).then_some(answer)
    })
    .await;
    let mut bytes = 0;
    while let Some(piece) = results.chunk().await.unwrap() {
        bytes += piece.len();
    }
    assert!(bytes > TASKS * 900_000, "{bytes}");
    // What the lazy client can still read is what lay in the buffers, not the whole.
    let mut rest = Vec::new();
    let _ = lazy.read_to_end(&mut rest).await;
    assert!(rest.len() < TASKS * 900_000, "{}", rest.len());
}

#[tokio::test]
async fn nesting_without_end_is_refused() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    for (kind, deep) in [
        ("application/json", "[".repeat(100_000)),
        ("application/json", "{\"a\":".repeat(100_000)),
        (NDJSON, "[".repeat(100_000) + &"]".repeat(100_000) + "\n"),
    ] {
        let request = replica.http.request(Method::POST, "/");
        let request = request.header("content-type", kind).body(deep);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let problem: Problem = answer.json().await.unwrap();
        assert_eq!(problem.line, Some(1), "{problem:?}");
    }
}

#[tokio::test]
async fn nonsense_is_answered_in_json_and_breaks_nothing() {
    let nats = NatsServer::start().await;
    let mut replica = Function::sleeper(&nats).start().await;
    let job = replica.http.submit(&json!([{}])).await.job;
    replica.http.ended(&job, SOON).await;
    for (path, status) in [
        (format!("/jobs/{job}/results?after=-1"), 400),
        (format!("/jobs/{job}/results?after={}", u64::MAX), 200),
        ("/jobs/%ff".to_owned(), 400),
        ("/jobs/a%20b".to_owned(), 400),
        ("/dead?limit=many".to_owned(), 400),
        ("/dead?job=a.b".to_owned(), 400),
        ("/dead/nokey".to_owned(), 400),
    ] {
        let answer = get(&replica, &path).await;
        assert_eq!(answer.status(), status, "{path}");
        if status != 200 {
            let problem: Problem = answer.json().await.expect("a problem as JSON");
            assert!(!problem.error.is_empty());
        }
    }
    let answer = replica.http.request(Method::PATCH, "/").send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.headers().contains_key("allow"));
    let _: Problem = answer.json().await.expect("a problem as JSON");
    for noise in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = answered(connect(&replica, noise).await).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(),
            "{answer}"
        );
    }
    probes_are_answered(&replica).await;
    assert!(replica.process.ended().is_none());
    assert!(!replica.process.output().contains("panicked"));
}
