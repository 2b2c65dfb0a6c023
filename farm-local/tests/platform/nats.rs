//! The NATS server: a child that comes back, or one that runs already.

use std::process::Command;

use farm_local::{Event, NatsOptions, Options, Platform};

use crate::harness::{Fixture, function, stack_of, until};

fn fixture() -> Fixture {
    Fixture::new(&stack_of(&function("work", "")))
}

#[tokio::test]
async fn a_server_that_dies_comes_back_at_its_address() {
    let mut running = fixture().start().await;
    let url = running.platform.nats_url().to_owned();
    let address = url.trim_start_matches("nats://").to_owned();
    let port = address.rsplit(':').next().unwrap();
    // The one process that was started with the configuration that names this port.
    let pids = Command::new("pgrep")
        .args(["-f", "nats-server --config"])
        .output()
        .unwrap();
    let pids = String::from_utf8(pids.stdout).unwrap();
    let is_ours = |pid: &&str| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let configuration = arguments
            .split(|byte| *byte == 0)
            .nth(2)
            .unwrap_or_default();
        std::fs::read_to_string(std::str::from_utf8(configuration).unwrap())
            .is_ok_and(|text| text.contains(&format!("127.0.0.1:{port}\"")))
    };
    let ours = pids.lines().find(is_ours).expect("our server");
    assert!(
        Command::new("kill")
            .args(["-9", ours])
            .status()
            .unwrap()
            .success()
    );
    let exited = running
        .event(|event| matches!(event, Event::NatsExited { .. }))
        .await;
    assert!(exited.to_string().contains("signal 9"), "{exited}");
    let ready = running
        .event(|event| matches!(event, Event::NatsReady { .. }))
        .await;
    assert!(matches!(ready, Event::NatsReady { url: again, .. } if again == url));
    running.stop().await;
}

#[tokio::test]
async fn a_running_server_is_joined_and_left_running() {
    let first = fixture().start().await;
    let url = first.platform.nats_url().to_owned();
    let joined = NatsOptions {
        url: Some(url.clone()),
        ..NatsOptions::default()
    };
    let second = fixture().start_with(|options| options.nats = joined).await;
    assert_eq!(second.get("/function/work/env/FARM_NATS_URL").await, url);
    second.stop().await;
    let address = url.trim_start_matches("nats://").to_owned();
    until("the first server", async || {
        tokio::net::TcpStream::connect(&address).await.is_ok()
    })
    .await;
    first.stop().await;
}

#[tokio::test]
async fn streams_are_kept_in_the_data_folder_which_one_platform_has_at_a_time() {
    let data = tempfile::tempdir().unwrap();
    let keep = |options: &mut Options| options.nats.data = Some(data.path().to_owned());
    let running = fixture().start_with(keep).await;
    let other = fixture();
    let mut options = other.options();
    keep(&mut options);
    let refused = Platform::start(options).await.err().expect("it is refused");
    assert!(
        refused.to_string().contains("in use by another farm"),
        "{refused}"
    );
    running.stop().await;
    assert!(data.path().join("jetstream").is_dir());
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_refused_in_one_line() {
    for (nats, expected) in [
        (
            NatsOptions {
                url: Some("nats://me:secret@127.0.0.1:1".into()),
                ..Default::default()
            },
            "there is no NATS server at nats://127.0.0.1:1",
        ),
        (
            NatsOptions {
                server: Some("/bin/echo".into()),
                ..Default::default()
            },
            "/bin/echo does not tell its version",
        ),
    ] {
        let fixture = fixture();
        let mut options = fixture.options();
        options.nats = nats;
        let message = Platform::start(options).await.err().unwrap().to_string();
        assert!(
            message.contains(expected) && !message.contains('\n'),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
}
