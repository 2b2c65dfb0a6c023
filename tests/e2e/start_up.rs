//! A replica that cannot start says why in one line and ends; one that can wait, waits.

use std::net::TcpListener;
use std::time::Duration;

use async_nats::jetstream::stream;
use farm_tests::{Access, FarmOnNats, Function, NatsOptions, NatsServer, eventually, free_port};
use tokio::io::AsyncWriteExt;

const SOON: Duration = Duration::from_secs(20);

/// Starts a replica that cannot; checks how it ends, and gives back what it said.
pub async fn complaint(function: &Function) -> String {
    let mut replica = function.clone().set("FARM_LOG", "error").spawn();
    let exit = replica.exit(SOON).await;
    let said = replica.process.output();
    assert!(exit.code().is_some_and(|code| code > 0), "{exit}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

pub fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
}

#[tokio::test]
async fn no_server() {
    let mut nats = NatsServer::start().await;
    nats.kill();
    let function = Function::sleeper(&nats).set("FARM_CONNECT_TIMEOUT", "1s");
    let said = complaint(&function).await;
    let url = nats.url();
    assert_says(&said, &[&url, "within 1s", "FARM_NATS_URL"]);
}

#[tokio::test]
async fn a_replica_told_to_stop_does_not_wait_for_a_server() {
    let nats = NatsServer::start().await;
    let away = format!("nats://127.0.0.1:{}", free_port());
    let mut replica = Function::sleeper(&nats).set("FARM_NATS_URL", away).spawn();
    eventually("it waits for a server", SOON, async || {
        let output = replica.process.output();
        output.contains("no NATS server yet").then_some(())
    })
    .await;
    replica.terminate();
    assert!(replica.exit(Duration::from_secs(10)).await.success());
}

#[tokio::test]
async fn a_server_that_comes_a_second_later_is_waited_for() {
    let mut nats = NatsServer::start().await;
    nats.kill();
    let mut replica = Function::sleeper(&nats).spawn();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(replica.process.ended().is_none());
    assert!(!replica.http.is_ready().await);
    nats.start_again().await;
    replica.ready().await;
}

/// Speaks just enough of the protocol to announce a version: no such old server is to be had.
async fn old_server(version: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let info = format!(
                "INFO {{\"server_id\":\"old\",\"server_name\":\"old\",\"version\":\"{version}\",\
                 \"go\":\"go1.19\",\"host\":\"127.0.0.1\",\"port\":{port},\"headers\":true,\
                 \"max_payload\":1048576,\"proto\":1,\"client_id\":1,\"jetstream\":true}}\r\nPONG\r\n"
            );
            tokio::spawn(async move {
                let _ = stream.write_all(info.as_bytes()).await;
                tokio::time::sleep(SOON).await;
            });
        }
    });
    format!("nats://127.0.0.1:{port}")
}

#[tokio::test]
async fn a_server_that_is_too_old() {
    let nats = NatsServer::start().await;
    let url = old_server("2.9.10").await;
    let said = complaint(&Function::sleeper(&nats).set("FARM_NATS_URL", url)).await;
    assert_says(&said, &["2.9.10", "2.10", "upgrade"]);
}

#[tokio::test]
async fn a_cluster_that_is_too_old_for_copies() {
    let nats = NatsServer::start().await;
    let url = old_server("2.10.22").await;
    let function = Function::sleeper(&nats).set("FARM_NATS_URL", url);
    let said = complaint(&function.set("FARM_REPLICAS", 3)).await;
    assert_says(&said, &["2.10.22", "2.10.23", "FARM_REPLICAS", "upgrade"]);
}

#[tokio::test]
async fn a_server_without_jetstream() {
    let options = NatsOptions {
        jetstream: false,
        ..NatsOptions::default()
    };
    let nats = NatsServer::start_with(options).await;
    let said = complaint(&Function::sleeper(&nats)).await;
    assert_says(&said, &["no JetStream", "-js"]);
}

#[tokio::test]
async fn a_server_with_less_room_than_a_queue_reserves() {
    let options = NatsOptions {
        max_file_store_bytes: Some(64 << 20),
        ..NatsOptions::default()
    };
    let nats = NatsServer::start_with(options).await;
    let function = Function::sleeper(&nats).set("FARM_QUEUE_MAX_BYTES", "1GiB");
    let said = complaint(&function).await;
    assert_says(
        &said,
        &["FARM_QUEUE_MAX_BYTES", "1073741824", "insufficient"],
    );
}

#[tokio::test]
async fn a_password_that_is_wrong_and_one_that_is_right() {
    let options = NatsOptions {
        access: Access::Password("farm", "right-one"),
        ..NatsOptions::default()
    };
    let nats = NatsServer::start_with(options).await;
    let sleeper = Function::sleeper(&nats);
    sleeper.start().await;

    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("farm-nats-user"), "farm").unwrap();
    std::fs::write(secrets.path().join("farm-nats-password"), "wrong-one").unwrap();
    let wrong = sleeper.set("FARM_SECRETS_DIR", secrets.path().display());
    let said = complaint(&wrong).await;
    assert_says(&said, &["refused the credentials", "farm-nats-"]);
    assert!(!said.contains("wrong-one"), "{said}");
}

#[tokio::test]
async fn all_bad_settings_are_named_at_once() {
    let nats = NatsServer::start().await;
    let bad = [
        ("FARM_ROLE", "boss"),
        ("FARM_SLOTS", "none"),
        ("FARM_ACK_WAIT", "30"),
        ("FARM_MAX_ATTEMPTS", "0"),
        ("FARM_BACKOFF", "soon"),
        ("FARM_DEADLINE", "2"),
        ("FARM_RESULT_TTL", "1ms"),
        ("FARM_QUEUE_MAX_TASKS", "-1"),
        ("FARM_STORAGE", "tape"),
        ("FARM_MAX_BODY", "big"),
        ("FARM_LOG_FORMAT", "xml"),
    ];
    let function = bad
        .iter()
        .fold(Function::sleeper(&nats), |function, (key, value)| {
            function.set(key, value)
        });
    let said = complaint(&function).await;
    let keys: Vec<&str> = bad.iter().map(|(key, _)| *key).collect();
    assert_says(&said, &keys);
    let nameless = Function::sleeper(&nats)
        .unset("FARM_NAME")
        .set("HOSTNAME", "laptop");
    assert_says(&complaint(&nameless).await, &["FARM_NAME", "not set"]);
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let nats = NatsServer::start().await;
    let port = free_port();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for key in ["FARM_HTTP_PORT", "FARM_METRICS_PORT"] {
        let said = complaint(&Function::sleeper(&nats).set(key, port)).await;
        assert_says(&said, &[key, &port.to_string(), "in use"]);
    }
}

#[tokio::test]
async fn a_stream_of_another_kind() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let on_nats = FarmOnNats::connect(&nats, &sleeper).await;
    let name = on_nats.topology.tasks_stream();
    let other = stream::Config {
        name: name.clone(),
        subjects: vec![on_nats.topology.task_wildcard()],
        discard: stream::DiscardPolicy::New,
        ..Default::default()
    };
    on_nats.jetstream.create_stream(other).await.unwrap();
    let said = complaint(&sleeper).await;
    assert_says(&said, &[&name, "retention", "delete it"]);
}

#[tokio::test]
async fn a_stream_kept_elsewhere() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let in_memory = sleeper.clone().set("FARM_STORAGE", "memory");
    let _first = in_memory.start().await;
    let said = complaint(&sleeper).await;
    assert_says(&said, &["storage", "Memory", "File", "same settings"]);
}
