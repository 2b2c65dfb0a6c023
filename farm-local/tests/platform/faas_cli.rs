//! The real `faas-cli` against the platform.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::harness::{Fixture, Running, function, stack_of, tool, until};

const PASSWORD: &str = "correct horse";

/// `faas-cli` with a home of its own.
struct FaasCli {
    executable: PathBuf,
    home: tempfile::TempDir,
    gateway: String,
    folder: PathBuf,
}

impl FaasCli {
    fn new(running: &Running) -> Self {
        Self {
            executable: tool("FAAS_CLI", "bin/faas-cli"),
            home: tempfile::tempdir().unwrap(),
            gateway: running.platform.gateway_url(),
            folder: running.fixture.path(""),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("OPENFAAS_URL", &self.gateway)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn output(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        // What takes no input may have ended before it is written.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .await;
        child.wait_with_output().await.unwrap()
    }

    /// What a command that succeeds prints.
    async fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "").await
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        let text = printed(&output);
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// What a command that fails prints.
    async fn fail(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments, "").await;
        let text = printed(&output);
        assert!(!output.status.success(), "{arguments:?}: {text}");
        text
    }
}

fn printed(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

/// Whether all parts are there, whatever their case: it differs between releases.
fn assert_contains(text: &str, parts: &[&str]) {
    let found = text.to_lowercase();
    for part in parts {
        assert!(
            found.contains(&part.to_lowercase()),
            "{part:?} is not in:\n{text}"
        );
    }
}

async fn platform() -> (Running, FaasCli) {
    let stack = stack_of(&function(
        "work",
        ", secrets: [db], environment: {GREETING: hello}",
    ));
    let fixture = Fixture::new(&stack);
    fixture.write(".secrets/db", "x");
    let running = fixture
        .start_with(|options| options.password = Some(PASSWORD.into()))
        .await;
    let cli = FaasCli::new(&running);
    (running, cli)
}

async fn log_in(cli: &FaasCli) {
    let text = cli.run_with(&["login", "--password-stdin"], PASSWORD).await;
    assert_contains(&text, &["credentials saved for admin"]);
}

#[tokio::test]
async fn it_logs_in_looks_and_calls() {
    let (running, cli) = platform().await;
    assert_contains(
        &cli.fail(&["list"]).await,
        &["unauthorized access", "faas-cli login"],
    );
    assert_contains(
        &cli.fail(&["login", "--password", "wrong"]).await,
        &["username or password is incorrect"],
    );
    log_in(&cli).await;

    assert_contains(
        &cli.run(&["version", "--warn-update=false"]).await,
        &["farm-local", env!("CARGO_PKG_VERSION")],
    );
    assert_contains(&cli.run(&["namespaces"]).await, &["openfaas-fn"]);
    assert_eq!(cli.run_with(&["invoke", "work"], "ping").await, "ping");
    assert_contains(
        &cli.run_with(&["invoke", "work", "--async"], "ping").await,
        &["submitted asynchronously"],
    );
    assert_contains(&cli.run(&["list"]).await, &["work"]);
    let description = cli.run(&["describe", "work"]).await;
    assert_contains(
        &description,
        &[
            "Ready",
            "Replicas:           1",
            "Available Replicas: 1",
            "fixture:1",
            "/function/work",
        ],
    );
    assert_contains(
        &cli.fail(&["describe", "none"]).await,
        &["no such function: none"],
    );
    running.stop().await;
}

#[tokio::test]
async fn it_deploys_and_removes() {
    let (running, cli) = platform().await;
    log_in(&cli).await;
    assert_contains(
        &cli.run(&["remove", "-f", "stack.yml"]).await,
        &["Removing old function"],
    );
    assert_contains(&cli.fail(&["invoke", "work"]).await, &["404"]);
    assert_contains(
        &cli.run(&["deploy", "-f", "stack.yml"]).await,
        &["Deployed. 202", "/function/work"],
    );
    running.wait_available("work", 1).await;
    let deploy = ["deploy", "-f", "stack.yml", "--env", "GREETING=goodbye"];
    assert_contains(&cli.run(&deploy).await, &["Deployed. 202"]);
    until("the new environment", async || {
        let response = running
            .request(reqwest::Method::GET, "/function/work/env/GREETING")
            .send()
            .await
            .unwrap();
        response.text().await.unwrap() == "goodbye"
    })
    .await;
    let image = ["deploy", "--image", "functions/figlet", "--name", "figlet"];
    // Away from the stack file, which it would deploy instead.
    let refused = cli
        .command(&image)
        .current_dir(cli.home.path())
        .output()
        .await;
    assert_contains(&printed(&refused.unwrap()), &["400", "figlet", "Docker"]);
    running.stop().await;
}

#[tokio::test]
async fn it_manages_secrets() {
    let (running, cli) = platform().await;
    log_in(&cli).await;
    let create = ["secret", "create", "api-key", "--from-literal", "one"];
    assert_contains(&cli.run(&create).await, &["Created: 202"]);
    assert_contains(&cli.run(&create).await, &["already exists"]);
    assert_contains(&cli.run(&["secret", "list"]).await, &["api-key", "db"]);
    running.fixture.write("new-value", "two");
    assert_contains(
        &cli.run(&["secret", "update", "api-key", "--from-file", "new-value"])
            .await,
        &["Updated: 202"],
    );
    assert_contains(
        &cli.run(&["secret", "remove", "api-key"]).await,
        &["Removed"],
    );
    assert_contains(
        &cli.fail(&["secret", "remove", "api-key"]).await,
        &["unable to find secret"],
    );
    running.stop().await;
}

#[tokio::test]
async fn it_reads_logs_and_follows_them() {
    let (running, cli) = platform().await;
    log_in(&cli).await;
    let once = cli
        .run(&["logs", "work", "--tail=false", "--instance"])
        .await;
    assert_contains(&once, &["(work-", "listening as work-"]);
    let mut child = cli.command(&["logs", "work"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_contains(
        &lines.next_line().await.unwrap().unwrap(),
        &["listening as work-"],
    );
    running
        .request(reqwest::Method::POST, "/function/work/say")
        .body("live")
        .send()
        .await
        .unwrap();
    assert_contains(&lines.next_line().await.unwrap().unwrap(), &["live"]);
    running.stop().await;
    // It reads to the end of the stream, which is the end of the platform.
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn the_environment_of_a_stack_is_the_one_it_deploys() {
    let keys = ", environment: {A: '${FARM_TEST_UNSET:-default}', B: '$${KEPT}', C: 1.10, D: 0x10, E: yes, F: , G: 'a $H'}";
    let fixture = Fixture::new(&stack_of(&function("work", keys)));
    let stack = farm_local::Stack::load(&fixture.path("stack.yml")).unwrap();
    let generated = Command::new(tool("FAAS_CLI", "bin/faas-cli"))
        .args(["generate", "--api", "openfaas.com/v1", "-f", "stack.yml"])
        .current_dir(fixture.path(""))
        .output()
        .await
        .unwrap();
    let generated = String::from_utf8(generated.stdout).unwrap();
    for (key, value) in &stack.functions["work"].environment {
        let line = generated
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{key}:")));
        let theirs = line
            .unwrap()
            .split_once(':')
            .unwrap()
            .1
            .trim()
            .trim_matches(['"', '\'']);
        assert_eq!(value, theirs, "{key} in\n{generated}");
    }
}
