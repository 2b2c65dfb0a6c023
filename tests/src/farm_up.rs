//! `farm up`: the platform on this machine, as a user starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::build::{binary, repository, without_package};
use crate::client::Client;
use crate::eventually::eventually;
use crate::nats_server;
use crate::port::free_port;
use crate::process::{Process, Signal};

/// The functions are compiled first, on a machine that may be slow, in the release profile.
const BUILDS_WITHIN: Duration = Duration::from_secs(900);
const STOPS_WITHIN: Duration = Duration::from_secs(40);

/// A folder for a stack, with the template beside it as `faas-cli template pull` leaves it, and a
/// home for the commands that are run in it.
pub struct Workplace {
    folder: TempDir,
    gateway_port: u16,
}

impl Workplace {
    /// An empty one.
    pub fn new() -> Self {
        let workplace = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            gateway_port: free_port(),
        };
        for folder in ["stack", "home", "tmp"] {
            fs::create_dir(workplace.folder.path().join(folder)).expect("a folder");
        }
        workplace
    }

    /// Where the stack file goes.
    pub fn stack(&self) -> PathBuf {
        self.folder.path().join("stack")
    }

    /// Where everything run here makes its temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// Copies a folder of the repository to `target` below the stack's folder.
    pub fn copy(&self, source: &str, target: &str) {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(repository().join(source))
            .arg(self.stack().join(target))
            .status();
        assert!(copied.expect("cp can be run").success());
    }

    /// Writes a file below the stack's folder.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.stack().join(file), text).expect("a file can be written");
    }

    /// A command in the stack's folder, away from whatever the user of this machine has set up.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.stack())
            .env("HOME", self.folder.path().join("home"))
            .env("TMPDIR", self.temporary())
            .env("CARGO_HOME", cargo_folder("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", cargo_folder("RUSTUP_HOME", ".rustup"))
            .env(
                "OPENFAAS_URL",
                format!("http://127.0.0.1:{}", self.gateway_port),
            )
            .env("NATS_SERVER", nats_server::executable())
            .stdin(Stdio::null());
        // Cargo's own settings are for the tests, not for what they build.
        for key in ["CARGO", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
            command.env_remove(key);
        }
        without_package(&mut command);
        command
    }

    /// The `farm` command.
    pub fn farm(&self, arguments: &[&str]) -> String {
        run(self.command(binary("farm-cli")).args(arguments))
    }

    /// The real `faas-cli`.
    pub fn faas_cli(&self, arguments: &[&str]) -> String {
        run(self.command(faas_cli()).args(arguments))
    }

    /// Starts `farm up` and returns once every function is.
    pub async fn up(&self, arguments: &[&str]) -> FarmUp {
        let port = self.gateway_port.to_string();
        let mut command = self.command(binary("farm-cli"));
        command
            .args(["up", "--port", &port, "--verbose", "--target-dir"])
            // Shared, so that dependencies are compiled once.
            .arg(repository().join("target"))
            .args(arguments);
        let mut process = Process::spawn("farm up", &mut command);
        eventually("farm up is ready", BUILDS_WITHIN, async || {
            let ended = process.ended();
            assert!(ended.is_none(), "farm up ended at its start: {ended:?}");
            process.output().contains("Ctrl-C drains").then_some(())
        })
        .await;
        let password = fs::read_to_string(self.stack().join(".farm/gateway-password"));
        FarmUp {
            process,
            gateway: Client::new(format!("http://127.0.0.1:{port}")),
            password: password.expect("the gateway's password").trim().to_owned(),
        }
    }
}

impl Default for Workplace {
    fn default() -> Self {
        Self::new()
    }
}

fn cargo_folder(variable: &str, name: &str) -> PathBuf {
    let chosen = std::env::var_os(variable).map(PathBuf::from);
    chosen.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(name))
}

/// What a command prints that is to succeed.
///
/// # Panics
/// If it does not.
pub fn run(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{printed}");
    printed
}

/// The `faas-cli` to run: `FAAS_CLI`, or the one `make tools` built.
fn faas_cli() -> PathBuf {
    let named = std::env::var_os("FAAS_CLI").map(PathBuf::from);
    let file = named.unwrap_or_else(|| repository().join(".tools/bin/faas-cli"));
    assert!(
        file.is_file(),
        "no faas-cli: run `make tools`, or name one with FAAS_CLI"
    );
    file
}

/// A platform that runs.
pub struct FarmUp {
    /// Its process.
    pub process: Process,
    /// Its gateway.
    pub gateway: Client,
    /// The password of the gateway's `admin`.
    pub password: String,
}

impl FarmUp {
    /// A client of one function, through the gateway.
    pub fn function(&self, name: &str) -> Client {
        Client::new(format!("{}/function/{name}", self.gateway.base()))
    }

    /// Sets the replicas of a function, as an autoscaler does.
    pub async fn scale(&self, function: &str, replicas: u64) {
        let path = format!("/system/scale-function/{function}");
        let request = self.gateway.request(Method::POST, &path);
        let body = json!({"serviceName": function, "replicas": replicas});
        let request = request
            .basic_auth("admin", Some(&self.password))
            .json(&body);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }

    /// Replicas of a function that can be called.
    pub async fn available(&self, function: &str) -> u64 {
        let path = format!("/system/function/{function}");
        let request = self.gateway.request(Method::GET, &path);
        let request = request.basic_auth("admin", Some(&self.password));
        let status: Value = request
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        // A count of nothing is left out, as Go leaves it out.
        status["availableReplicas"].as_u64().unwrap_or(0)
    }

    /// Processes it has started, and those they have.
    pub fn descendants(&self) -> Vec<u32> {
        let mut found = vec![self.process.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(children(parent));
            next += 1;
        }
        found.split_off(1)
    }

    /// Presses Ctrl-C and waits for the end.
    pub async fn stop(&mut self) {
        self.process.signal(Signal::INT);
        let exit = self.process.exit(STOPS_WITHIN).await;
        assert!(exit.success(), "{exit}");
    }
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc can be read");
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // "id (name) state parent …"; the name may hold anything, brackets too.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// Whether a process of that id runs.
pub fn runs(id: u32) -> bool {
    Path::new(&format!("/proc/{id}")).exists()
}
