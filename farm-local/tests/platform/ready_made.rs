//! Functions whose image is made elsewhere, and what they need to speak to the gateway.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use farm_local::{Platform, Program, ReadyMade};
use reqwest::Method;

use crate::harness::{Fixture, function, stack_of};

const PASSWORD: &str = "pass-word";

/// A function that builds nothing, with more keys in YAML's flow style.
fn elsewhere(name: &str, keys: &str) -> String {
    format!(
        "  {name}: {{lang: dockerfile, skip_build: true, image: 'registry:5000/me/scaler:1.0'{keys}}}"
    )
}

/// The fixture's function as an executable of its own, which takes the words it is to say.
fn scaler(fixture: &Fixture) -> ReadyMade {
    let executable = fixture.path("scaler");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .arg(&executable)
        .arg(fixture.path("work/src/main.rs"))
        .status();
    assert!(compiled.unwrap().success());
    let program = Program {
        executable,
        arguments: vec!["autoscaler".into()],
    };
    ReadyMade::from([("scaler".to_owned(), program)])
}

#[tokio::test]
async fn a_ready_made_program_stands_in_for_an_image() {
    let keys = ", secrets: [basic-auth], environment: {GREETING: hello, FARM_GATEWAY_URL: 'http://elsewhere:1'}";
    let fixture = Fixture::new(&stack_of(&elsewhere("scaling", keys)));
    let ready_made = scaler(&fixture);
    let running = fixture
        .start_with(|options| {
            options.ready_made = ready_made;
            options.password = Some(PASSWORD.into());
        })
        .await;
    assert!(!running.fixture.path("build").exists(), "nothing is built");
    let gateway_url = running.platform.gateway_url();
    for (path, expected) in [
        ("arguments", "autoscaler"),
        ("env/GREETING", "hello"),
        ("env/FARM_NATS_URL", running.platform.nats_url()),
        ("env/FARM_GATEWAY_URL", &gateway_url),
        ("secret/basic-auth-user", "admin"),
        ("secret/basic-auth-password", PASSWORD),
    ] {
        let told = running.get(&format!("/function/scaling/{path}")).await;
        assert_eq!(told, expected, "{path}");
    }
    let folder = running.get("/function/scaling/env/FARM_SECRETS_DIR").await;
    for file in std::fs::read_dir(folder).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(running.scale("scaling", 2).await, 202);
    running.wait_available("scaling", 2).await;
    running.stop().await;
}

#[tokio::test]
async fn the_gateways_secret_is_for_those_who_list_it() {
    let functions = [
        function("with", ", secrets: [basic-auth]"),
        function("without", ""),
    ];
    let running = Fixture::new(&stack_of(&functions.join("\n"))).start().await;
    let of = async |path: &str| running.get(&format!("/function/{path}")).await;
    assert_eq!(of("with/secret/basic-auth-user").await, "admin");
    assert_ne!(of("with/secret/basic-auth-password").await, "");
    assert_eq!(
        of("with/env/FARM_GATEWAY_URL").await,
        running.platform.gateway_url()
    );
    assert_eq!(of("without/secret/basic-auth-user").await, "");
    assert_eq!(of("without/env/FARM_GATEWAY_URL").await, "unset");
    assert_eq!(
        running.get("/system/secrets").await,
        "[]",
        "it is no secret of the user"
    );
    let deleted = running.send(
        Method::DELETE,
        "/system/secrets",
        serde_json::json!({"name": "basic-auth"}),
    );
    assert_eq!(deleted.await.status(), 404);
    running.stop().await;
}

#[tokio::test]
async fn an_image_without_a_program_is_refused_before_anything_is_built() {
    for (keys, reason) in [
        ("", "there is nothing to run"),
        (", handler: ./work", "lang dockerfile needs Docker"),
    ] {
        let functions = [elsewhere("figlet", keys), function("work", "")];
        let fixture = Fixture::new(&stack_of(&functions.join("\n")));
        let mut options = fixture.options();
        let program = Program::from(fixture.path("other"));
        options.ready_made = ReadyMade::from([("other".to_owned(), program)]);
        let error = Platform::start(options).await.err().expect("it is refused");
        let message = error.to_string();
        assert!(
            message.contains("function figlet") && message.contains(reason),
            "{message}"
        );
        assert!(!fixture.path("build").exists());
    }
}
