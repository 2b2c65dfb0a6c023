//! No secret is shown: not in logs at their most talkative, not in metrics, answers or errors,
//! not among the arguments of a process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use farm_tests::nats_access::{creds, nkey, tls};
use farm_tests::{
    Access, Client, Function, NatsOptions, NatsServer, Process, Receiver, Replica, Workplace,
    binary, eventually, free_port,
};
use reqwest::{Method, StatusCode};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// As much as there is to log, the NATS client's own lines included.
const EVERYTHING: &str = "trace,async_nats=trace,farm_nats=trace";
const HTTP_TOKEN: &str = "planted-http-token-71c4";
const CALLBACK_TOKEN: &str = "planted-callback-token-93ab";
const NATS_PASSWORD: &str = "planted-nats-password-0d5e";
const GATEWAY_PASSWORD: &str = "planted-gateway-password-44f0";

/// What was seen of a process.
#[derive(Default)]
struct Seen {
    texts: Vec<(String, String)>,
}

impl Seen {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.texts.push((place.into(), text.into()));
    }

    fn process(&mut self, process: &Process) {
        self.add(format!("log of {}", process.name()), process.output());
        self.arguments(process.id());
    }

    fn arguments(&mut self, id: u32) {
        let bytes = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        self.add(
            format!("arguments of {id}"),
            String::from_utf8_lossy(&bytes),
        );
    }

    async fn get(&mut self, client: &Client, path: &str, token: &str) {
        let request = client.request(Method::GET, path).bearer_auth(token);
        let answer = request.send().await.unwrap();
        let headers = format!("{:?}", answer.headers());
        self.add(path, headers + &answer.text().await.unwrap());
    }

    fn shows_none_of(&self, planted: &[String]) {
        assert!(!planted.is_empty() && !self.texts.is_empty());
        for (place, text) in &self.texts {
            for secret in planted {
                let found = text.find(secret.as_str());
                let around = found.map(|at| &text[at.saturating_sub(200)..]);
                let shown = around.map(|text| text.chars().take(300).collect::<String>());
                assert!(shown.is_none(), "{secret} in {place}: {shown:?}");
            }
        }
    }
}

/// What must not be seen of the files of a folder: every line that is no title. Certificates are
/// for everybody.
fn planted(folder: &Path) -> Vec<String> {
    let public = ["farm-nats-ca.pem", "farm-nats-cert.pem", "farm-nats-user"];
    let mut lines = vec![CALLBACK_TOKEN.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if public.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let secret = |line: &&str| line.len() > 7 && !line.contains("---") && !line.contains("***");
        lines.extend(text.lines().filter(secret).map(str::to_owned));
    }
    lines
}

async fn guarded(access: Access) -> NatsServer {
    let options = NatsOptions {
        access,
        ..NatsOptions::default()
    };
    let nats = NatsServer::start_with(options).await;
    std::fs::write(nats.secrets_folder().join("farm-http-token"), HTTP_TOKEN).unwrap();
    nats
}

/// Runs a job with failures and a callback, and looks everywhere.
async fn look_at(replica: &Replica, metrics: &Client) -> Seen {
    let mut seen = Seen::default();
    let receiver = Receiver::answering([StatusCode::INTERNAL_SERVER_ERROR]).await;
    let url = format!("{}/back?token={CALLBACK_TOKEN}", receiver.url());
    let tasks = json!([{}, {"fail": "permanent"}, {"fail": "panic"}]);
    let request = replica.http.request(Method::POST, "/?wait=30s");
    let request = request
        .bearer_auth(HTTP_TOKEN)
        .header("x-callback-url", url);
    let answer = request.json(&tasks).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    let account: serde_json::Value = serde_json::from_str(&text).unwrap();
    let job = account["job"].as_str().unwrap().to_owned();
    seen.add("the answer to a submit", text);
    // The first call failed; the second was taken.
    receiver.wait_for(2, SOON).await;
    for (path, token) in [
        ("/".to_owned(), HTTP_TOKEN),
        (format!("/jobs/{job}"), HTTP_TOKEN),
        (format!("/jobs/{job}/results"), HTTP_TOKEN),
        ("/dead".to_owned(), HTTP_TOKEN),
        ("/jobs/none".to_owned(), HTTP_TOKEN),
        ("/dead".to_owned(), "another"),
    ] {
        seen.get(&replica.http, &path, token).await;
    }
    seen.get(metrics, "/metrics", "").await;
    seen.process(&replica.process);
    seen
}

/// A function that shows all it can, and where its metrics are.
fn talkative(function: Function) -> (Function, Client) {
    let port = free_port();
    let function = function
        .set("FARM_LOG", EVERYTHING)
        .set("FARM_MAX_ATTEMPTS", 1)
        .set("FARM_METRICS_PORT", port);
    (function, Client::new(format!("http://127.0.0.1:{port}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_shows_none_of_its_secrets() {
    for access in [
        Access::Password("farm", NATS_PASSWORD),
        Access::Token("planted-nats-token-66b1"),
        nkey(),
        creds(),
        tls(true),
    ] {
        let nats = guarded(access).await;
        let (function, metrics) = talkative(Function::sleeper(&nats));
        let mut replica = function.start().await;
        let mut seen = look_at(&replica, &metrics).await;
        replica.terminate();
        replica.exit(SOON).await;
        seen.process(&replica.process);
        seen.shows_none_of(&planted(&nats.secrets_folder()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_shows_no_password_of_its_url() {
    let nats = guarded(Access::Password("farm", NATS_PASSWORD)).await;
    std::fs::remove_file(nats.secrets_folder().join("farm-nats-user")).unwrap();
    std::fs::remove_file(nats.secrets_folder().join("farm-nats-password")).unwrap();
    let login = format!("nats://farm:{NATS_PASSWORD}@");
    let url = nats.url().replace("nats://", &login);
    let (function, metrics) = talkative(Function::sleeper(&nats).set("FARM_NATS_URL", &url));
    let replica = function.start().await;
    let mut seen = look_at(&replica, &metrics).await;

    // And not when it goes wrong.
    for wrong in [
        url.replace("nats://", "http://"),
        url.replace("127.0.0.1", "127.0.0.1 x"),
        url.replace(&nats.port().to_string(), "1"),
        format!(
            "nats://farm:wrong-{NATS_PASSWORD}@127.0.0.1:{}",
            nats.port()
        ),
    ] {
        let wrong = function.clone().set("FARM_NATS_URL", wrong);
        let mut replica = wrong.set("FARM_CONNECT_TIMEOUT", "300ms").spawn();
        assert!(!replica.exit(SOON).await.success());
        seen.process(&replica.process);
    }
    seen.shows_none_of(&[NATS_PASSWORD.to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_autoscaler_shows_none_of_its_secrets() {
    let nats = guarded(Access::Password("farm", NATS_PASSWORD)).await;
    let file = nats.secrets_folder().join("basic-auth-password");
    std::fs::write(file, GATEWAY_PASSWORD).unwrap();
    // A gateway that refuses at first, then answers nonsense.
    let gateway = Receiver::answering([StatusCode::UNAUTHORIZED, StatusCode::BAD_GATEWAY]).await;
    let (http, metrics) = (free_port(), free_port());
    let mut command = Command::new(binary("farm-autoscaler"));
    command
        .env_clear()
        .env("FARM_GATEWAY_URL", gateway.url())
        .env("FARM_NATS_URL", nats.url())
        .env("FARM_SECRETS_DIR", nats.secrets_folder())
        .env("FARM_SCALER_INTERVAL", "100ms")
        .env("FARM_BIND_ADDRESS", "127.0.0.1")
        .env("FARM_HTTP_PORT", http.to_string())
        .env("FARM_METRICS_PORT", metrics.to_string())
        .env("FARM_LOG", EVERYTHING);
    let process = Process::spawn("autoscaler", &mut command);
    gateway.wait_for(5, SOON).await;
    let face = Client::new(format!("http://127.0.0.1:{http}"));
    eventually("it is connected", SOON, async || {
        process.output().contains("connected to NATS").then_some(())
    })
    .await;
    let mut seen = Seen::default();
    for path in ["/", "/farms", "/_/ready", "/nowhere"] {
        seen.get(&face, path, "").await;
    }
    let scrape = Client::new(format!("http://127.0.0.1:{metrics}"));
    seen.get(&scrape, "/metrics", "").await;
    seen.process(&process);
    let planted = [NATS_PASSWORD, GATEWAY_PASSWORD, HTTP_TOKEN].map(str::to_owned);
    seen.shows_none_of(&planted);
}

const STACK: &str = "
version: 1.0
provider: {name: openfaas, gateway: http://127.0.0.1:8080}
functions:
  sleeper:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {FARM_NAME: sleeper, FARM_LOG: trace}
    secrets: [farm-nats-user, farm-nats-password, farm-http-token]
";

#[tokio::test(flavor = "multi_thread")]
async fn farm_up_shows_none_of_the_secrets_of_its_functions() {
    let nats = guarded(Access::Password("farm", NATS_PASSWORD)).await;
    let workplace = Workplace::new();
    workplace.copy("template", "template");
    workplace.copy("examples/sleeper", "sleeper");
    workplace.write("stack.yml", STACK);
    std::fs::create_dir(workplace.stack().join(".secrets")).unwrap();
    for name in ["farm-nats-user", "farm-nats-password", "farm-http-token"] {
        let text = std::fs::read_to_string(nats.secrets_folder().join(name)).unwrap();
        workplace.write(&format!(".secrets/{name}"), &text);
    }
    let url = nats.url();
    let up = workplace.up(&["--nats", &url, "--logs"]).await;
    let farm = up.function("sleeper");
    let request = farm
        .request(Method::POST, "/?wait=30s")
        .bearer_auth(HTTP_TOKEN);
    let answer = request.json(&json!([{}])).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut seen = Seen::default();
    for path in ["/system/functions", "/system/secrets", "/system/info"] {
        let request = up.gateway.request(Method::GET, path);
        let answer = request.basic_auth("admin", Some(&up.password)).send().await;
        seen.add(path, answer.unwrap().text().await.unwrap());
    }
    let record = std::fs::read_to_string(workplace.stack().join(".farm/up.json")).unwrap();
    seen.add("the record of farm up", record);
    seen.process(&up.process);
    for id in up.descendants() {
        seen.arguments(id);
    }
    let planted = [NATS_PASSWORD, HTTP_TOKEN, &*up.password].map(str::to_owned);
    seen.shows_none_of(&planted);
}
