//! Whoever NATS may let in gets in with files of the secrets folder, and nobody else does.

use std::path::Path;
use std::time::Duration;

use farm_tests::nats_access::{Authority, creds, creds_file, nkey, tls};
use farm_tests::{Access, Function, NatsOptions, NatsServer, eventually, free_port};
use nkeys::KeyPair;
use serde_json::json;
use tempfile::TempDir;

use crate::start_up::{assert_says, complaint};

async fn guarded(access: Access) -> NatsServer {
    let options = NatsOptions {
        access,
        ..NatsOptions::default()
    };
    NatsServer::start_with(options).await
}

/// Runs a job on a replica with the right secrets.
async fn lets_in(nats: &NatsServer) {
    let replica = Function::sleeper(nats).start().await;
    let request = replica.http.request(reqwest::Method::POST, "/?wait=30s");
    let answer = request.json(&json!([{"seconds": 0.0}])).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What a replica with other secrets says; none of it is in what it says.
async fn keeps_out(nats: &NatsServer, files: &[(&str, &str)]) -> String {
    let folder = folder(files);
    let function = Function::sleeper(nats).set("FARM_SECRETS_DIR", folder.path().display());
    let said = complaint(&function).await;
    for (name, text) in files {
        let lines = text.lines().filter(|line| !line.contains("-----"));
        for line in lines.filter(|line| line.len() > 7) {
            assert!(!said.contains(line), "{name} in {said}");
        }
    }
    said
}

fn read(nats: &NatsServer, name: &str) -> String {
    let file = nats.secrets_folder().join(name);
    std::fs::read_to_string(Path::new(&file)).unwrap()
}

const REFUSED: &[&str] = &["refused the credentials", "farm-nats-"];

#[tokio::test]
async fn a_token() {
    let nats = guarded(Access::Token("right-token")).await;
    lets_in(&nats).await;
    let said = keeps_out(&nats, &[("farm-nats-token", "wrong-token")]).await;
    assert_says(&said, REFUSED);
    assert_says(&keeps_out(&nats, &[]).await, REFUSED);
}

#[tokio::test]
async fn a_password_in_a_file_or_in_the_url() {
    let nats = guarded(Access::Password("farm", "right#one")).await;
    lets_in(&nats).await;
    let said = keeps_out(
        &nats,
        &[
            ("farm-nats-user", "farm"),
            ("farm-nats-password", "wrong-one"),
        ],
    )
    .await;
    assert_says(&said, REFUSED);

    let nobody = folder(&[]);
    let with = |login: &str| {
        let url = nats.url().replace("nats://", &format!("nats://{login}@"));
        Function::sleeper(&nats)
            .set("FARM_SECRETS_DIR", nobody.path().display())
            .set("FARM_NATS_URL", url)
    };
    with("farm:right%23one").start().await;
    let said = complaint(&with("farm:wrong%23one")).await;
    assert_says(&said, REFUSED);
    assert!(!said.contains("wrong"), "{said}");
}

#[tokio::test]
async fn an_nkey() {
    let nats = guarded(nkey()).await;
    lets_in(&nats).await;
    let other = KeyPair::new_user().seed().unwrap();
    assert_says(
        &keeps_out(&nats, &[("farm-nats-nkey", &other)]).await,
        REFUSED,
    );
    let said = keeps_out(&nats, &[("farm-nats-nkey", "SUANOSEEDATALL")]).await;
    assert_says(&said, &["farm-nats-nkey", "no seed"]);
}

#[tokio::test]
async fn a_creds_file() {
    let nats = guarded(creds()).await;
    lets_in(&nats).await;
    let stranger = creds_file(&KeyPair::new_account());
    let said = keeps_out(&nats, &[("farm-nats-creds", &stranger)]).await;
    assert_says(&said, REFUSED);
    let said = keeps_out(&nats, &[("farm-nats-creds", "not-a-creds-file")]).await;
    assert_says(&said, &["farm-nats-creds", "nsc"]);
}

#[tokio::test]
async fn a_certificate_that_is_trusted() {
    let nats = guarded(tls(false)).await;
    lets_in(&nats).await;
    const UNTRUSTED: &[&str] = &["cannot be trusted", "farm-nats-ca.pem"];
    assert_says(&keeps_out(&nats, &[]).await, UNTRUSTED);
    let other = Authority::new().text("ca.pem");
    let said = keeps_out(&nats, &[("farm-nats-ca.pem", &other)]).await;
    assert_says(&said, UNTRUSTED);
}

#[tokio::test]
async fn certificates_of_both() {
    let nats = guarded(tls(true)).await;
    lets_in(&nats).await;
    let ca = read(&nats, "farm-nats-ca.pem");
    assert_says(
        &keeps_out(&nats, &[("farm-nats-ca.pem", &ca)]).await,
        REFUSED,
    );
    let other = Authority::new();
    other.sign("client", "extendedKeyUsage=clientAuth");
    let (certificate, key) = (other.text("client.pem"), other.text("client.key"));
    let files = [
        ("farm-nats-ca.pem", &*ca),
        ("farm-nats-cert.pem", &*certificate),
        ("farm-nats-key.pem", &*key),
    ];
    assert_says(&keeps_out(&nats, &files).await, REFUSED);
    // A key of another certificate is found before anything is sent.
    let own = read(&nats, "farm-nats-cert.pem");
    let files = [
        ("farm-nats-ca.pem", &*ca),
        ("farm-nats-cert.pem", &*own),
        ("farm-nats-key.pem", &*key),
    ];
    let said = keeps_out(&nats, &files).await;
    assert_says(&said, &["farm-nats-cert.pem", "farm-nats-key.pem"]);
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password_from_who_expects_tls() {
    let nats = guarded(Access::Token("right-token")).await;
    let ca = Authority::new().text("ca.pem");
    let secrets = folder(&[
        ("farm-nats-token", "right-token"),
        ("farm-nats-ca.pem", &ca),
    ]);
    let function = Function::sleeper(&nats)
        .set("FARM_CONNECT_TIMEOUT", "1s")
        .set("FARM_SECRETS_DIR", secrets.path().display());
    assert_says(&complaint(&function).await, &["within 1s"]);
}

/// As an address does that a server tells of: the client takes it for one without TLS.
#[tokio::test]
async fn nor_where_only_another_address_asks_for_tls() {
    let nats = guarded(Access::Token("right-token")).await;
    let url = format!("tls://127.0.0.1:{},{}", free_port(), nats.url());
    let function = Function::sleeper(&nats)
        .set("FARM_CONNECT_TIMEOUT", "1s")
        .set("FARM_NATS_URL", url);
    assert_says(&complaint(&function).await, &["within 1s"]);
}

#[tokio::test]
async fn a_folder_of_secrets_that_is_not_there_is_no_open_door() {
    let nats = NatsServer::start().await;
    let missing = nats.secrets_folder().join("misspelt");
    let function = Function::sleeper(&nats).set("FARM_SECRETS_DIR", missing.display());
    assert_says(
        &complaint(&function).await,
        &["FARM_SECRETS_DIR", "misspelt"],
    );
}

#[tokio::test]
async fn it_says_whether_requests_need_the_token() {
    let nats = NatsServer::start().await;
    let said = async |said: &str| {
        let replica = Function::sleeper(&nats).start().await;
        eventually(said, Duration::from_secs(60), async || {
            replica.process.output().contains(said).then_some(())
        })
        .await;
    };
    said("token=false").await;
    std::fs::write(nats.secrets_folder().join("farm-http-token"), "t0ken").unwrap();
    said("token=true").await;
}

#[tokio::test]
async fn secrets_that_contradict_each_other() {
    let nats = NatsServer::start().await;
    let both = [
        ("farm-nats-token", "planted-1"),
        ("farm-nats-user", "planted-2"),
    ];
    let said = keeps_out(&nats, &both).await;
    assert_says(&said, &["farm-nats-token and farm-nats-user", "keep one"]);
    let said = keeps_out(&nats, &[("farm-nats-password", "planted-3")]).await;
    assert_says(&said, &["farm-nats-password needs farm-nats-user"]);
}

#[tokio::test]
async fn a_secret_that_was_rotated_is_used_at_the_next_connection() {
    let mut nats = guarded(Access::Token("first-token")).await;
    let secrets = folder(&[("farm-nats-token", "first-token")]);
    let function = Function::sleeper(&nats).set("FARM_SECRETS_DIR", secrets.path().display());
    let mut replica = function.start().await;
    std::fs::write(secrets.path().join("farm-nats-token"), "second-token").unwrap();
    nats.options_mut().access = Access::Token("second-token");
    nats.stop().await;
    nats.start_again().await;
    replica.ready().await;
}
