//! Runs the built program.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::server::Server;

const TOO_LONG: Duration = Duration::from_secs(60);

/// What a run of the program left.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// The one line of JSON it printed.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// A failure is told in one line, which holds all of `words`.
    #[track_caller]
    pub fn tells(&self, words: &[&str]) {
        let last = self.stderr.lines().last().unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "no {word:?} in the last line: {self}");
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run {
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "exit code {code}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// The program with these words, in an empty environment's stead, in `folder`.
pub fn farm(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    command
        .args(words)
        .current_dir(folder)
        .env_remove("OPENFAAS_URL")
        .env_remove("FARM_SDK")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn finish(command: &mut Command) -> Run {
    end_of(command.spawn().unwrap()).await
}

/// Waits for the end of a running program.
pub async fn end_of(child: Child) -> Run {
    let output = tokio::time::timeout(TOO_LONG, child.wait_with_output()).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output
        .unwrap_or_else(|_| panic!("the program does not end"))
        .unwrap();
    Run {
        code: status.code().unwrap(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

impl Server {
    /// The program with these words, pointed at this server.
    pub fn farm(&self, words: &[&str]) -> Command {
        let mut command = farm(self.folder(), words);
        command.env("OPENFAAS_URL", self.url());
        command
    }

    /// Runs the program against this server.
    pub async fn run(&self, words: &[&str]) -> Run {
        finish(&mut self.farm(words)).await
    }

    /// Runs the program against this server, with this on standard input.
    pub async fn run_with_input(&self, words: &[&str], input: &str) -> Run {
        let mut child = self.farm(words).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        end_of(child).await
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TOO_LONG, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
