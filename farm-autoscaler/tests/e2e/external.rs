//! Farms that are scaled from outside.

use std::time::{Duration, Instant};

use farm_core::decision::Outcome;
use farm_tests::eventually;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::scene::{Autoscaler, SOON, Scene};

const PASSWORD: &str = "a password";

/// Sends an order as the gateway's user; returns the status and the answer.
async fn order(scaler: &Autoscaler, farm: &str, order: &Value) -> (StatusCode, Value) {
    let request = scaler
        .client
        .request(Method::POST, &format!("/farms/{farm}/order"))
        .basic_auth("admin", Some(PASSWORD))
        .json(order);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn shown(scaler: &Autoscaler, query: &str) -> Value {
    let path = format!("/farms/f{query}");
    scaler.client.json(Method::GET, &path).await
}

async fn observed(scaler: &Autoscaler) -> Value {
    eventually("the farm is observed", SOON, async || {
        scaler.client.status_of("/farms/f").await?;
        let request = scaler.client.request(Method::GET, "/farms/f");
        let farm: Value = request.send().await.ok()?.json().await.ok()?;
        farm["observation"].is_object().then_some(farm)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_carried_out_at_once_and_expires() {
    let scene = Scene::open().await;
    scene.gateway.platform().credentials = Some(("admin", PASSWORD));
    // So long that nothing but the order itself can make the change in time.
    let annotations = [("farm.policy", "external"), ("farm.interval", "3s")];
    let farm = scene.farm("f", &annotations).await;
    let mut decisions = scene.decisions(&farm).await;
    let scaler = scene.autoscaler("only");
    scaler.leads().await;
    let first = observed(&scaler).await;
    assert_eq!(first["policy"], "external");
    assert_eq!(first["settings"]["max"], 8);
    let fell_back = decisions
        .until("the fallback decides", |event| {
            event.policy == "reactive-average"
        })
        .await;
    assert!(
        fell_back.reasons[0].contains("no fresh order"),
        "{:?}",
        fell_back.reasons
    );

    // One order on the heels of another, right after a look: both are carried out before the next,
    // the second on what the first did.
    let begun = Instant::now();
    let seen = shown(&scaler, "").await["sequence"].clone();
    let look = shown(&scaler, &format!("?after={seen}")).await["sequence"].clone();
    for parallelism in [5, 3] {
        let (status, answer) = order(&scaler, "f", &json!({"parallelism": parallelism})).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        assert_eq!(answer["sequence"], look);
        assert_eq!(answer["holds_for_seconds"], 9.0);
        let done = decisions.until_outcome(Outcome::Applied).await;
        assert_eq!(done.policy, "external");
        assert_eq!(done.target_parallelism, parallelism);
        assert!(
            done.reasons[0].contains("ordered from outside"),
            "{:?}",
            done.reasons
        );
    }
    let scaled = scene.gateway.platform().scaled.clone();
    assert_eq!(scaled, [("f".to_owned(), 5), ("f".to_owned(), 3)]);

    // The next look shows what both came to, and the order that still holds.
    let next = shown(&scaler, &format!("?after={look}")).await;
    assert_eq!(next["observation"]["parallelism"], 3);
    assert_eq!(next["observation"]["last_change"], 2);
    assert_eq!(next["observation"]["ordered_parallelism"], 3);

    // Nobody renews it.
    decisions
        .until("the fallback decides again", |event| {
            event.policy == "reactive-average"
        })
        .await;
    assert!(begun.elapsed() > Duration::from_secs(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_carried_out_are_refused() {
    let scene = Scene::open().await;
    scene.gateway.platform().credentials = Some(("admin", PASSWORD));
    let _f = scene.farm("f", &[("farm.policy", "external")]).await;
    let _own = scene.farm("own", &[("farm.policy", "queue")]).await;
    let scaler = scene.autoscaler("only");
    scaler.leads().await;
    observed(&scaler).await;

    let bare = scaler.client.request(Method::POST, "/farms/f/order");
    let wrong = (scaler.client.request(Method::POST, "/farms/f/order"))
        .basic_auth("admin", Some("guessed"));
    // Larger than any order: of a stranger it is not even read.
    let large = json!({"parallelism": 2, "filler": "x".repeat(8 << 10)});
    for request in [bare, wrong] {
        let answer = request.json(&large).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(answer.headers().contains_key("www-authenticate"));
        let answer: Value = answer.json().await.unwrap();
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains("user and password"), "{error}");
    }
    let cases = [
        (
            "own",
            json!({"parallelism": 2}),
            409,
            "set its annotation farm.policy to external",
        ),
        (
            "g",
            json!({"parallelism": 2}),
            404,
            "farm g is not scaled here; these are: f, own",
        ),
        (
            "f",
            json!({"parallelism": 9}),
            422,
            "farm.min and farm.max of f: 1 to 8",
        ),
        ("f", json!({"parallelism": -1}), 422, "no order: "),
        ("f", json!({"paralelism": 2}), 422, "paralelism"),
    ];
    for (farm, body, expected, cause) in cases {
        let (status, answer) = order(&scaler, farm, &body).await;
        assert_eq!(status.as_u16(), expected, "{answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(cause), "{error}");
    }
    assert_eq!(scene.gateway.platform().scaled, []);
    assert_eq!(
        scaler.client.status_of("/farms/g").await,
        Some(StatusCode::NOT_FOUND)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_credentials_takes_orders_from_all() {
    let scene = Scene::open().await;
    let farm = scene.farm("f", &[("farm.policy", "external")]).await;
    let mut decisions = scene.decisions(&farm).await;
    let scaler = scene.autoscaler("only");
    scaler.leads().await;
    observed(&scaler).await;
    let request = scaler.client.request(Method::POST, "/farms/f/order");
    let answer = request.json(&json!({"parallelism": 4})).send().await;
    assert_eq!(answer.unwrap().status(), StatusCode::ACCEPTED);
    let done = decisions.until_outcome(Outcome::Applied).await;
    assert_eq!(done.target_parallelism, 4);
}
