//! The client against the answers that gateways really give: OpenFaaS CE on Kubernetes, and faasd
//! where it differs. Each case is one connection to a server that plays a fixture.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Gateway, GatewayError};
use crate::config::Config;

/// Status line, headers and body of an answer.
type Fixture = (&'static str, &'static str, &'static str);

const JSON: &str = "content-type: application/json";
const NONE: &str = "x-served-by: openfaas-ce/0.27.13";
/// CE fills in labels of its own, and leaves out what is 0 or empty.
const LISTED: &str = r#"[{"name":"shrink","image":"shrink:1","namespace":"openfaas-fn","labels":{"faas_function":"shrink","uid":"42"},"annotations":{"farm.name":"f","prometheus.io.scrape":"false"},"invocationCount":7,"replicas":3,"availableReplicas":2,"createdAt":"2026-01-02T03:04:05Z","usage":{"cpu":12.5,"totalMemoryBytes":1048576}},{"name":"idle","image":"idle:1","namespace":"openfaas-fn","labels":null,"annotations":null}]"#;
const ONE: &str = r#"{"name":"shrink","image":"shrink:1","namespace":"openfaas-fn","replicas":3,"availableReplicas":2}"#;
const INFO: &str = r#"{"provider":{"provider":"faas-netes-ce","version":{"sha":"s","release":"0.18.17"},"orchestration":"kubernetes"},"version":{"commit_message":"m","sha":"t","release":"0.27.13"},"arch":"x86_64"}"#;

/// A server for one request; gives back the request.
async fn server((status, header, body): Fixture) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let request = whole_request(&mut connection).await;
        connection.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (url, serving)
}

async fn whole_request(connection: &mut tokio::net::TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = connection.read(&mut part).await.unwrap();
        read.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "the request ends early: {text}");
            continue;
        };
        let length = head.split("content-length: ").nth(1);
        let length: usize = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        if body.len() >= length {
            return String::from_utf8_lossy(&read).into_owned();
        }
    }
}

/// The client of that server, with the password `pw`.
fn client(url: &str, folder: &tempfile::TempDir) -> Gateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::fs::write(folder.path().join("basic-auth-user"), "admin").unwrap();
    std::fs::write(folder.path().join("basic-auth-password"), "pw").unwrap();
    let secrets = folder.path().display().to_string();
    let config = Config::read(&|key| match key {
        "FARM_GATEWAY_URL" => Some(url.to_owned()),
        "FARM_SECRETS_DIR" => Some(secrets.clone()),
        _ => None,
    });
    Gateway::new(&config.unwrap()).unwrap()
}

/// Calls a gateway that answers with `fixture`; gives back the request it saw, too.
async fn call<T>(
    fixture: Fixture,
    call: impl AsyncFnOnce(&Gateway) -> Result<T, GatewayError>,
) -> (Result<T, GatewayError>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (url, serving) = server(fixture).await;
    let gateway = client(&url, &folder);
    let answered = call(&gateway).await;
    (answered, serving.await.unwrap())
}

/// What became of a call, in one word.
fn kind<T>(answered: &Result<T, GatewayError>) -> &'static str {
    match answered {
        Ok(_) => "ok",
        Err(GatewayError::Unreachable { .. }) => "unreachable",
        Err(GatewayError::TimedOut { .. }) => "timed out",
        Err(GatewayError::Unauthorised { .. }) => "unauthorised",
        Err(GatewayError::NotFound { .. }) => "not found",
        Err(GatewayError::Refused { .. }) => "refused",
        Err(GatewayError::Garbage { .. }) => "garbage",
    }
}

#[tokio::test]
async fn lists_are_read_as_go_writes_them() {
    let (listed, request) = call(("200 OK", JSON, LISTED), Gateway::functions).await;
    let listed = listed.unwrap();
    assert!(request.starts_with("GET /system/functions?namespace=openfaas-fn HTTP/1.1\r\n"));
    assert!(
        request.contains("authorization: Basic YWRtaW46cHc=\r\n"),
        "{request}"
    );
    let counts: Vec<_> = listed
        .iter()
        .map(|f| (f.name.as_str(), f.replicas, f.available_replicas))
        .collect();
    assert_eq!(counts, [("shrink", 3, 2), ("idle", 0, 0)]);
    assert_eq!(listed[0].annotation("farm.name"), Some("f"));
    for empty in ["[]", "null", "null\n"] {
        let (listed, _) = call(("200 OK", JSON, empty), Gateway::functions).await;
        assert_eq!(listed.unwrap().len(), 0, "{empty}");
    }
    let (info, _) = call(("200 OK", JSON, INFO), Gateway::info).await;
    assert_eq!(info.unwrap().provider.unwrap().name, "faas-netes-ce");
}

#[tokio::test]
async fn each_answer_about_a_function_is_told_from_the_others() {
    const OTHER: &str = r#"{"name":"other","image":"i"}"#;
    let cases = [
        ("200 OK", JSON, ONE, "ok"),
        // An unknown function: no body.
        ("404 Not Found", NONE, "", "not found"),
        (
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"Restricted\"",
            "invalid credentials",
            "unauthorised",
        ),
        (
            "400 Bad Request",
            NONE,
            "namespace must be: openfaas-fn",
            "refused",
        ),
        (
            "500 Internal Server Error",
            NONE,
            "etcdserver: leader changed",
            "refused",
        ),
        ("502 Bad Gateway", NONE, "", "refused"),
        ("503 Service Unavailable", NONE, "", "refused"),
        // Wrong answers under a good status.
        ("200 OK", JSON, OTHER, "garbage"),
        ("200 OK", JSON, "", "garbage"),
        ("200 OK", "content-type: text/html", "<html>", "garbage"),
        // A login page elsewhere.
        (
            "302 Found",
            "location: http://127.0.0.1:1/login",
            "",
            "refused",
        ),
    ];
    for (status, header, body, expected) in cases {
        let (answered, request) = call((status, header, body), async |gateway: &Gateway| {
            gateway.function("shrink").await
        })
        .await;
        assert!(request.starts_with("GET /system/function/shrink?namespace=openfaas-fn "));
        assert_eq!(kind(&answered), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_scale_request_suits_kubernetes_and_faasd_and_its_answers_are_told_apart() {
    let cases = [
        // CE; faasd.
        ("202 Accepted", "", "ok"),
        ("200 OK", "", "ok"),
        // CE below 1 replica, an unknown function, a conflict of updates; faasd's unknown function.
        ("400 Bad Request", "replicas cannot be set to 0", "refused"),
        (
            "500 Internal Server Error",
            "unable to lookup function deployment shrink",
            "refused",
        ),
        (
            "500 Internal Server Error",
            "the object has been modified; please apply your changes to the latest version and try again",
            "refused",
        ),
        ("404 Not Found", "service shrink not found", "not found"),
        ("401 Unauthorized", "invalid credentials", "unauthorised"),
        // More functions than CE's licence bears.
        ("405 Method Not Allowed", "", "refused"),
    ];
    for (status, body, expected) in cases {
        let scale =
            async |gateway: &Gateway| gateway.scale("shrink", 3, Duration::from_secs(5)).await;
        let (answered, request) = call((status, NONE, body), scale).await;
        assert_eq!(kind(&answered), expected, "{status} {body}");
        if let Err(GatewayError::Refused { body: told, .. }) = &answered {
            let expected = if body.is_empty() {
                "no reason given"
            } else {
                body
            };
            assert_eq!(told, expected);
        }
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /system/scale-function/shrink?namespace=openfaas-fn "));
        let sent: serde_json::Value = serde_json::from_str(sent).unwrap();
        assert_eq!(
            sent,
            serde_json::json!({"serviceName": "shrink", "replicas": 3, "namespace": "openfaas-fn"})
        );
    }
}
