//! The answers of the gateway API, one by one: what OpenFaaS CE gives, to the byte where clients
//! look at it. Elsewhere in these tests: credentials, deployments, secrets, logs, and CE's limits.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Fixture, Running, function, stack_of};

/// What the body of an answer has to be.
enum Body {
    /// These bytes.
    Is(&'static str),
    /// Some text for people, with this in it.
    Says(&'static str),
    /// JSON.
    Json(Value),
    /// A JSON object with these keys and perhaps others.
    Keys(&'static [&'static str]),
    /// Anything.
    Any,
}

use Body::{Any, Is, Json, Keys, Says};

struct Case {
    request: (&'static str, &'static str),
    body: Value,
    status: u16,
    answer: Body,
    /// Headers that have to be there, with a value, or with any if that is empty.
    headers: &'static [(&'static str, &'static str)],
}

fn case(request: (&'static str, &'static str), status: u16, answer: Body) -> Case {
    Case {
        request,
        body: Value::Null,
        status,
        answer,
        headers: &[],
    }
}

impl Case {
    fn sends(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// What is wrong with the answer.
    async fn play(self, running: &Running) -> Vec<String> {
        let (method, path) = self.request;
        let name = format!("{method} {path}");
        let method: Method = method.parse().unwrap();
        let answer = match self.body.is_null() {
            true => running.request(method, path).send().await.unwrap(),
            false => running.send(method, path, self.body).await,
        };
        let mut wrong = Vec::new();
        if answer.status().as_u16() != self.status {
            wrong.push(format!("{name}: {}, not {}", answer.status(), self.status));
        }
        for (header, value) in self.headers {
            match answer.headers().get(*header) {
                Some(given) if value.is_empty() || given == value => {}
                given => wrong.push(format!("{name}: {header}: {given:?}")),
            }
        }
        let text = answer.text().await.unwrap();
        if !self.answer.fits(&text) {
            wrong.push(format!("{name}: body {text:?}"));
        }
        wrong
    }
}

impl Body {
    fn fits(&self, text: &str) -> bool {
        let read = || serde_json::from_str::<Value>(text).ok();
        match self {
            Is(body) => text == *body,
            Says(word) => text.contains(word),
            Json(value) => read().as_ref() == Some(value),
            Keys(keys) => {
                read().is_some_and(|value| keys.iter().all(|key| value.get(key).is_some()))
            }
            Any => true,
        }
    }
}

const STATUS: &[&str] = &[
    "name",
    "image",
    "namespace",
    "replicas",
    "availableReplicas",
    "createdAt",
];

#[tokio::test]
async fn every_answer_is_the_one_of_openfaas() {
    let stack = stack_of(&function("work", ", labels: {a: b}"));
    let running = Fixture::new(&stack).start().await;
    running.get("/function/work").await;
    let work = || json!({"service": "work", "image": "fixture:1"});
    let scaled = |name: &str, namespace: &str| json!({"serviceName": name, "replicas": 1, "namespace": namespace});
    let cases = [
        // No credentials here, no body there.
        case(("GET", "/healthz"), 200, Is("")),
        // What it is.
        case(
            ("GET", "/system/info"),
            200,
            Keys(&["provider", "version", "arch"]),
        )
        .with(&[("content-type", "application/json")]),
        case(
            ("GET", "/system/namespaces"),
            200,
            Json(json!(["openfaas-fn"])),
        ),
        // What runs.
        case(("GET", "/system/function/work"), 200, Keys(STATUS))
            .with(&[("content-type", "application/json")]),
        case(("GET", "/system/function/work?usage=1"), 200, Keys(STATUS)),
        case(
            ("GET", "/system/function/work?namespace=openfaas-fn"),
            200,
            Keys(STATUS),
        ),
        case(("GET", "/system/function/none"), 404, Is("")),
        case(
            ("GET", "/system/function/work?namespace=dev"),
            400,
            Says("namespace must be"),
        ),
        // Deployments.
        case(("POST", "/system/functions"), 500, Says("work")).sends(work()),
        case(("POST", "/system/functions"), 400, Says("")).sends(json!({"image": "fixture:1"})),
        case(("PUT", "/system/functions"), 202, Is("")).sends(work()),
        case(("PUT", "/system/functions"), 400, Any).sends(json!([])),
        case(("DELETE", "/system/functions"), 400, Any).sends(json!({})),
        case(("DELETE", "/system/functions"), 404, Any).sends(json!({"functionName": "none"})),
        // Scaling: Kubernetes providers read the path, faasd the body; clients send both.
        case(("POST", "/system/scale-function/work"), 202, Is(""))
            .sends(scaled("work", "openfaas-fn")),
        case(
            ("POST", "/system/scale-function/work?namespace=openfaas-fn"),
            202,
            Is(""),
        )
        .sends(scaled("work", "openfaas-fn")),
        case(("POST", "/system/scale-function/none"), 500, Says("none"))
            .sends(scaled("none", "openfaas-fn")),
        case(
            ("POST", "/system/scale-function/work?namespace=dev"),
            400,
            Says("namespace must be"),
        )
        .sends(scaled("work", "dev")),
        case(("POST", "/system/scale-function/work"), 400, Any).sends(json!("three")),
        // Logs, and Alertmanager's webhook.
        case(("GET", "/system/logs?name=work&follow=false"), 200, Any)
            .with(&[("content-type", "application/x-ndjson")]),
        case(("POST", "/system/alert"), 200, Any).sends(json!({"alerts": []})),
        // Secrets.
        case(("GET", "/system/secrets"), 200, Json(json!([]))),
        case(("PUT", "/system/secrets"), 404, Any).sends(json!({"name": "s", "value": "v"})),
        case(("POST", "/system/secrets"), 202, Is("")).sends(json!({"name": "s", "value": "v"})),
        case(("POST", "/system/secrets"), 409, Any).sends(json!({"name": "s", "value": "v"})),
        case(
            ("GET", "/system/secrets"),
            200,
            Json(json!([{"name": "s", "namespace": "openfaas-fn"}])),
        ),
        case(("DELETE", "/system/secrets"), 202, Is("")).sends(json!({"name": "s"})),
        case(("DELETE", "/system/secrets"), 404, Any).sends(json!({"name": "s"})),
        // Calls: the name alone, as faas-cli writes it, with a path and a query.
        case(("POST", "/function/work"), 200, Any).with(&[("x-call-id", ""), ("x-start-time", "")]),
        case(("POST", "/function/work.openfaas-fn"), 200, Any),
        case(
            ("GET", "/function/work.openfaas-fn/head/x?q=1"),
            200,
            Says("/head/x?q=1"),
        ),
        case(("POST", "/function/none"), 404, Any),
        // An asynchronous call is taken in whether or not there is a function.
        case(("POST", "/async-function/work"), 202, Is("")).with(&[("x-call-id", "")]),
        case(("POST", "/async-function/none/path"), 202, Is("")).with(&[("x-call-id", "")]),
        // At last.
        case(("DELETE", "/system/functions"), 202, Is("")).sends(json!({"functionName": "work"})),
        case(("GET", "/system/functions"), 200, Json(json!([]))),
        case(("PUT", "/system/functions"), 404, Any).sends(work()),
        case(("POST", "/system/functions"), 202, Is("")).sends(work()),
    ];
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(case.play(&running).await);
    }
    running.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn replicas_that_are_not_there_are_left_out_as_go_does() {
    let keys = ", labels: {com.openfaas.scale.min: \"0\"}";
    let running = Fixture::new(&stack_of(&function("work", keys)))
        .start()
        .await;
    running.scale("work", 0).await;
    let text = running.get("/system/function/work").await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert!(status.get("replicas").is_none(), "{text}");
    running.stop().await;
}
