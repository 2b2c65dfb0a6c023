//! The limits of OpenFaaS CE, when they are asked for.

use farm_local::Platform;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Fixture, function, stack_of};

#[tokio::test]
async fn replicas_stay_between_one_and_five_and_pro_labels_are_refused() {
    let running = Fixture::new(&stack_of(&function("work", "")))
        .start_with(|options| options.ce = true)
        .await;
    for (asked, given) in [(0, 1), (9, 5)] {
        assert_eq!(running.scale("work", asked).await, 202);
        assert_eq!(running.status("work").await.replicas, given);
    }
    for label in [
        "com.openfaas.scale.type",
        "com.openfaas.scale.target",
        "com.openfaas.scale.zero-duration",
    ] {
        let body = json!({"service": "work", "image": "i", "labels": {label: "1"}});
        let refused = running.send(Method::PUT, "/system/functions", body).await;
        assert_eq!(refused.status(), 400);
        assert!(refused.text().await.unwrap().contains(label));
    }
    let many = json!({"service": "work", "image": "i", "labels": {"com.openfaas.scale.min": "6"}});
    assert_eq!(
        running
            .send(Method::PUT, "/system/functions", many)
            .await
            .status(),
        400
    );
    running.stop().await;
}

#[tokio::test]
async fn a_sixteenth_function_is_refused() {
    let functions: Vec<_> = (0..16)
        .map(|number| function(&format!("work-{number}"), ""))
        .collect();
    let fixture = Fixture::new(&stack_of(&functions.join("\n")));
    let mut options = fixture.options();
    options.ce = true;
    let error = Platform::start(options).await.err().expect("it is refused");
    assert!(error.to_string().contains("15 functions"), "{error}");
}
