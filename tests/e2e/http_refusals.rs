//! Requests that are refused: with the right status, a sentence that helps, and no traces.

use std::time::Duration;

use farm_core::http::{Accepted, JobState, NDJSON, Problem};
use farm_tests::{Counts, FarmOnNats, Function, NatsOptions, NatsServer, Replica, eventually};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const NOTHING: Counts = Counts {
    tasks: 0,
    results: 0,
    dead: 0,
};

fn submit(replica: &Replica) -> RequestBuilder {
    replica.http.request(Method::POST, "/")
}

async fn refused(request: RequestBuilder, status: StatusCode) -> Problem {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), status);
    problem(answer).await
}

async fn problem(answer: Response) -> Problem {
    let problem: Problem = answer.json().await.expect("a problem as JSON");
    assert!(problem.error.len() > 10, "{problem:?}");
    problem
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_refused_with_its_place_and_leaves_no_trace() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let bad = StatusCode::BAD_REQUEST;
    let json = |body: &'static str| submit(&replica).body(body);
    let lines = |body: &'static str| json(body).header("content-type", NDJSON);

    let problem = refused(json(r#"{"seconds": 1"#), bad).await;
    assert_eq!(problem.line, Some(1), "{problem:?}");
    let problem = refused(json("[{} {}]"), bad).await;
    assert!(problem.error.contains("comma"), "{problem:?}");
    let problem = refused(json(r#"[{}, {"seconds": "long"}]"#), bad).await;
    assert_eq!(problem.line, Some(2), "{problem:?}");
    assert_eq!(problem.path.as_deref(), Some("seconds"));
    assert!(problem.error.contains("expected f64"), "{problem:?}");
    let problem = refused(lines("{}\n{}\n{\"secnods\": 1}\n"), bad).await;
    assert_eq!(problem.line, Some(3), "{problem:?}");
    assert!(problem.error.contains("line 3"), "{problem:?}");
    assert!(problem.error.contains("secnods"), "{problem:?}");
    let problem = refused(lines("{}\nnonsense\n"), bad).await;
    assert_eq!(problem.line, Some(2), "{problem:?}");

    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    assert_eq!(on_nats.counts().await, NOTHING);
    assert_eq!(on_nats.job_keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_header_or_parameter_that_makes_no_sense_is_refused_by_name() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let replica = sleeper.start().await;
    let headers = [
        ("farm-deadline", "2", "farm-deadline"),
        ("farm-deadline", "soon", "farm-deadline"),
        ("x-callback-url", "over there", "X-Callback-Url"),
        ("x-callback-url", "ftp://a/b", "http"),
        ("idempotency-key", "", "Idempotency-Key"),
    ];
    for (name, value, named) in headers {
        let request = submit(&replica).header(name, value).body("{}");
        let problem = refused(request, StatusCode::BAD_REQUEST).await;
        assert!(problem.error.contains(named), "{name} {value}: {problem:?}");
    }
    let waiting = replica.http.request(Method::POST, "/?wait=long").body("{}");
    let problem = refused(waiting, StatusCode::BAD_REQUEST).await;
    assert!(problem.error.contains("wait"), "{problem:?}");
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    assert_eq!(on_nats.counts().await, NOTHING);
}

#[tokio::test]
async fn what_is_not_there_is_404_and_says_what_is() {
    let nats = NatsServer::start().await;
    let replica = Function::sleeper(&nats).start().await;
    for (method, path) in [
        (Method::GET, "/nowhere"),
        (Method::GET, "/jobs/none"),
        (Method::DELETE, "/jobs/none"),
        (Method::GET, "/jobs/none/results"),
        (Method::GET, "/jobs/none/summary"),
        (Method::GET, "/dead/none.0"),
        (Method::POST, "/dead/none.0/replay"),
        (Method::DELETE, "/dead/none.0"),
    ] {
        let request = replica.http.request(method, path);
        refused(request, StatusCode::NOT_FOUND).await;
    }
}

#[tokio::test]
async fn a_replica_that_is_no_emitter_says_so() {
    let nats = NatsServer::start().await;
    let worker = Function::sleeper(&nats).roles("worker").start().await;
    let request = submit(&worker).body("{}");
    let problem = refused(request, StatusCode::METHOD_NOT_ALLOWED).await;
    assert!(problem.error.contains("emitter"), "{problem:?}");
}

#[tokio::test]
async fn what_is_too_large_is_413_and_names_the_limit() {
    let options = NatsOptions {
        max_payload_bytes: Some(4096),
        ..NatsOptions::default()
    };
    let nats = NatsServer::start_with(options).await;
    let sleeper = Function::sleeper(&nats);
    let limited = sleeper
        .clone()
        .set("FARM_MAX_BODY", "64KiB")
        .set("FARM_MAX_TASK", "1KiB");
    let replica = limited.start().await;
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;

    let many = "{}\n".repeat(30_000);
    let request = submit(&replica).header("content-type", NDJSON).body(many);
    let problem = refused(request, too_large).await;
    assert!(problem.error.contains("FARM_MAX_BODY"), "{problem:?}");
    let wide = format!("[{{}}, {{{}}}]", " ".repeat(2_000));
    let problem = refused(submit(&replica).body(wide), too_large).await;
    assert!(problem.error.contains("FARM_MAX_TASK"), "{problem:?}");
    assert_eq!(problem.line, Some(2));

    // A result that NATS does not take is the task's failure, not the farm's.
    let job = replica.http.submit(&json!({"payload_bytes": 10_000})).await;
    let status = replica.http.ended(&job.job, SOON).await;
    assert_eq!((status.done, status.failed), (0, 1));
    let cause = &replica.http.dead(&job.job).await[0].cause;
    assert!(cause.contains("max_payload"), "{cause}");
}

#[tokio::test]
async fn a_full_queue_is_429_and_loses_nothing_it_took() {
    const ROOM: usize = 100;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats).set("FARM_QUEUE_MAX_TASKS", ROOM);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let tasks = |count| std::iter::repeat_n(json!({}), count);
    let first = front.http.submit_lines(tasks(ROOM)).await;

    let answer = submit(&front).json(&json!([{}])).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..60).contains(&wait));
    let problem = problem(answer).await;
    assert!(
        problem.error.contains("FARM_QUEUE_MAX_TASKS"),
        "{problem:?}"
    );
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let keys = on_nats.job_keys().await;
    let only = [format!("{}.spec", first.job)];
    assert_eq!(keys, only, "a refused job leaves no trace");

    // A submit larger than the room goes on as room comes free.
    let _worker = sleeper.roles("worker").start().await;
    front.http.ended(&first.job, SOON).await;
    let second = eventually("there is room", SOON, async || {
        let lines = submit(&front).header("content-type", NDJSON);
        let answer = lines.body("{}\n".repeat(5 * ROOM)).send().await.unwrap();
        // For a moment the replica still believes that the queue is full.
        (answer.status() != StatusCode::TOO_MANY_REQUESTS).then_some(answer)
    })
    .await;
    let second: Accepted = second.json().await.unwrap();
    for (job, count) in [(first, ROOM), (second, 5 * ROOM)] {
        assert_eq!(job.accepted, count as u64);
        let status = front.http.ended(&job.job, SOON).await;
        assert_eq!((status.done, status.failed), (count as u64, 0));
    }
}

#[tokio::test]
async fn an_error_late_in_a_stream_cancels_the_job_and_tells_how_far_it_came() {
    const GOOD: usize = 3_000;
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let body = "{}\n".repeat(GOOD) + "{\"seconds\": -1}\n";
    let request = submit(&front).header("content-type", NDJSON).body(body);
    let problem = refused(request, StatusCode::BAD_REQUEST).await;
    assert_eq!(problem.line, Some(GOOD as u64 + 1));
    assert_eq!(problem.path.as_deref(), Some("seconds"));
    let accepted = problem.accepted.unwrap();
    assert!((1..=GOOD as u64).contains(&accepted), "{accepted}");

    let status = front.http.job(&problem.job.unwrap()).await;
    assert_eq!(status.state, JobState::Cancelled);
    let note = status.note.unwrap();
    assert!(note.contains("line 3001"), "{note}");
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    eventually("its tasks are taken away", SOON, async || {
        (on_nats.counts().await == NOTHING).then_some(())
    })
    .await;
}
