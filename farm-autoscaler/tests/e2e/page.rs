//! The HTTP face.

use farm_tests::{eventually, within};
use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::scene::{Autoscaler, SOON, Scene};

/// The lines of a stream, as they come.
struct Events {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Events {
    async fn open(scaler: &Autoscaler) -> Self {
        let answer = scaler.client.request(Method::GET, "/events").send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Self {
            body: Box::pin(answer.bytes_stream()),
            text: String::new(),
        }
    }

    /// The next event; `None` when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let prefix = format!("{name}: ");
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
                };
                let found = field("event").zip(field("data"));
                self.text = rest.to_owned();
                match found {
                    Some((name, data)) => {
                        return Some((name, serde_json::from_str(&data).unwrap()));
                    }
                    None => continue,
                }
            }
            let chunk = within("more of the stream", SOON, self.body.next()).await?;
            self.text += std::str::from_utf8(&chunk.ok()?).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_served_with_what_feeds_it() {
    let mut scene = Scene::open().await;
    let annotations = [("farm.policy", "static"), ("farm.policy.parallelism", "2")];
    let farm = scene.farm("f", &annotations).await;
    let mut scaler = scene.autoscaler("only");
    scaler.leads().await;

    let page = scaler
        .client
        .request(Method::GET, "/")
        .send()
        .await
        .unwrap();
    let headers = page.headers().clone();
    assert!(
        headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    let known = scaler
        .client
        .request(Method::GET, "/")
        .header("if-none-match", headers["etag"].clone());
    assert_eq!(
        known.send().await.unwrap().status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(
        scaler.client.status_of("/nowhere").await,
        Some(StatusCode::NOT_FOUND)
    );

    let mut events = Events::open(&scaler).await;
    let (name, snapshot) = events.next().await.unwrap();
    assert_eq!(name, "snapshot");
    assert_eq!(snapshot["this_replica"], "only");
    assert_eq!(snapshot["leads"], true);
    let shown = &snapshot["farms"][0];
    assert_eq!(shown["farm"], "f");
    assert_eq!(shown["policy"], "static");
    assert_eq!(shown["settings"]["interval_seconds"], 0.1);
    assert!(shown["history"].is_array());
    loop {
        let (name, data) = events.next().await.unwrap();
        if name == "decision" {
            assert_eq!(data["farm"], "f");
            assert!(data["reasons"][0].is_string());
            break;
        }
    }
    scene.gateway.platform().functions.remove("f");
    loop {
        let (name, data) = events.next().await.unwrap();
        if name == "farms" && data["farms"].as_array().unwrap().is_empty() {
            break;
        }
    }
    drop(farm);

    assert!(scaler.client.is_ready().await);
    scene.nats.kill();
    eventually("it is not ready without NATS", SOON, async || {
        (!scaler.client.is_ready().await).then_some(())
    })
    .await;
    assert_eq!(
        scaler.client.status_of("/_/health").await,
        Some(StatusCode::OK)
    );

    scaler.process.signal(farm_tests::Signal::TERM);
    while events.next().await.is_some() {}
    assert!(scaler.process.exit(SOON).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded() {
    let scene = Scene::open().await;
    let scaler = scene.autoscaler("only");
    scaler.leads().await;
    let mut open = Vec::new();
    loop {
        let answer = scaler
            .client
            .request(Method::GET, "/events")
            .send()
            .await
            .unwrap();
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        open.push(answer);
        assert!(open.len() <= 64);
    }
    open.pop();
    eventually("a place is free again", SOON, async || {
        let status = scaler.client.status_of("/events").await?;
        (status == StatusCode::OK).then_some(())
    })
    .await;
}
