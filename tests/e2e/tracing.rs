//! One task is one trace, across the queue and every process it passes.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use farm_tests::{Function, NatsServer, Receiver, Replica};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use reqwest::Method;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// A span as far as tests look at it.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    service: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    job: String,
    failed: bool,
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let attribute = attributes.iter().find(|attribute| attribute.key == key);
    let value = attribute.and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

/// Decodes all that an exporter has sent.
fn spans(receiver: &Receiver) -> Vec<Span> {
    let mut spans = Vec::new();
    for request in receiver.received() {
        assert_eq!(request.path, "/v1/traces");
        let export = ExportTraceServiceRequest::decode(request.body).expect("OTLP");
        for resource in export.resource_spans {
            let attributes = resource.resource.expect("a resource").attributes;
            let service = text(&attributes, "service.name");
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                spans.push(Span {
                    job: text(&span.attributes, "farm.job"),
                    failed: span.status.is_some_and(|s| s.code() == StatusCode::Error),
                    name: span.name,
                    service: service.clone(),
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                });
            }
        }
    }
    spans
}

async fn stop(mut replicas: Vec<Replica>) {
    for replica in &mut replicas {
        replica.terminate();
    }
    for replica in &mut replicas {
        assert_eq!(replica.exit(SOON).await.code(), Some(0));
    }
}

fn named<'a>(spans: &'a [&Span], name: &str) -> Vec<&'a Span> {
    spans
        .iter()
        .copied()
        .filter(|span| span.name == name)
        .collect()
}

#[tokio::test]
async fn submit_attempts_and_collect_are_one_trace_of_the_callers() {
    let nats = NatsServer::start().await;
    let receiver = Receiver::start().await;
    let sleeper = Function::sleeper(&nats)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url())
        .set("FARM_BACKOFF", "10ms");
    let mut replicas = Vec::new();
    for role in ["emitter", "worker", "collector"] {
        replicas.push(sleeper.clone().roles(role).start().await);
    }
    let front = &replicas[0];

    let own = front.http.submit(&vec![json!({}); 3]).await.job;
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = front.http.request(Method::POST, "/");
    let request = request.header("traceparent", caller);
    let body = json!([{"fail": "transient", "fail_attempts": 1}]);
    let called = front.http.submitted(request.json(&body)).await.job;
    for job in [&own, &called] {
        front.http.ended(job, SOON).await;
    }
    // What is not sent yet is sent before a replica ends.
    stop(replicas).await;

    let spans = spans(&receiver);
    assert!(spans.iter().all(|span| span.service == "sleeper"));
    let of_job = |job: &str| {
        spans
            .iter()
            .filter(|span| span.job == job)
            .collect::<Vec<_>>()
    };
    let mut traces: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    for span in of_job(own.as_str()) {
        traces.entry(&span.trace).or_default().push(span);
    }
    assert_eq!(traces.len(), 3, "one trace a task: {traces:#?}");
    for trace in traces.values() {
        let submit = named(trace, "farm.submit");
        let attempt = named(trace, "farm.attempt");
        let collect = named(trace, "farm.collect");
        assert_eq!((submit.len(), attempt.len(), collect.len()), (1, 1, 1));
        assert!(submit[0].parent.is_empty());
        assert_eq!(attempt[0].parent, submit[0].id);
        assert_eq!(collect[0].parent, attempt[0].id);
        assert!(trace.iter().all(|span| !span.failed));
    }

    let trace = of_job(called.as_str());
    let ids: HashSet<_> = trace.iter().map(|span| span.trace.clone()).collect();
    assert_eq!(
        ids.into_iter().collect::<Vec<_>>(),
        [bytes("0af7651916cd43dd8448eb211c80319c")]
    );
    let submit = named(&trace, "farm.submit");
    assert_eq!(submit[0].parent, bytes("b7ad6b7169203331"));
    let mut attempts = named(&trace, "farm.attempt");
    attempts.sort_by_key(|attempt| !attempt.failed);
    assert_eq!((attempts[0].failed, attempts[1].failed), (true, false));
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.parent == submit[0].id)
    );
    let collect = named(&trace, "farm.collect");
    assert_eq!(collect[0].parent, attempts[1].id);
    assert_eq!(trace.len(), 4);
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let pair = |start| u8::from_str_radix(&hexadecimal[start..start + 2], 16).unwrap();
    (0..hexadecimal.len()).step_by(2).map(pair).collect()
}

#[tokio::test]
async fn an_exporter_that_is_away_holds_nobody_up() {
    let nats = NatsServer::start().await;
    let nobody = format!("http://127.0.0.1:{}", farm_tests::free_port());
    let sleeper = Function::sleeper(&nats).set("OTEL_EXPORTER_OTLP_ENDPOINT", nobody);
    let replica = sleeper.start().await;
    let job = replica.http.submit(&vec![json!({}); 20]).await.job;
    assert_eq!(replica.http.ended(&job, SOON).await.done, 20);
    stop(vec![replica]).await;
}
