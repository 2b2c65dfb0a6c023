//! Child processes that never outlive the benchmark.
//!
//! They are killed when their handle is dropped, which an error or a Ctrl-C does. Should the benchmark
//! itself be killed, the parts it made of itself see the end of their standard input and end, too.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

use crate::error::Error;
use crate::part::Part;
use crate::usage::Usage;

/// How often to look whether a process has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    id: u32,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it prints goes to a file in `folder`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self, Error> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(Error::io(format!("create {}", log.display())))?;
        // A terminal's Ctrl-C is for the benchmark, which then ends its processes itself.
        let child = command.process_group(0).stderr(file).spawn();
        let child = child.map_err(Error::io(format!("start {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            id: child.id(),
            child: Mutex::new(child),
            log,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it has used so far.
    pub fn usage(&self) -> Result<Usage, Error> {
        Usage::of(self.id)
    }

    /// The error of having ended, if it has.
    pub fn check(&self) -> Result<(), Error> {
        match self.with(Child::try_wait) {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(error) => Err(Error::io(format!("wait for {}", self.name))(error)),
        }
    }

    fn ended(&self, status: ExitStatus) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        Error::Ended {
            name: self.name.clone(),
            status: status.to_string(),
            last_words: last.map_or(String::new(), |line| format!(": {line}")),
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut Child) -> T) -> T {
        action(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills it without waiting for its end.
    pub fn kill(&self) {
        let _ = self.with(Child::kill);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.with(Child::wait);
    }
}

/// Returns the error of the first of `processes` that ends.
pub(crate) async fn first_end<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Error {
    let processes: Vec<&Process> = processes.into_iter().collect();
    loop {
        for process in &processes {
            if let Err(error) = process.check() {
                return error;
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Awaits `work` for as long as all of `processes` run, and for `limit_seconds` at most.
pub(crate) async fn guarded<'a, T>(
    what: &str,
    limit_seconds: u64,
    processes: impl IntoIterator<Item = &'a Process>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let limit = Duration::from_secs(limit_seconds);
    tokio::select! {
        biased;
        done = work => done,
        error = first_end(processes) => Err(error),
        () = tokio::time::sleep(limit) => Err(Error::Late {
            what: what.to_owned(),
            seconds: limit_seconds,
        }),
    }
}

/// A command that starts this program again as `part`.
pub(crate) fn itself(part: &Part) -> Result<Command, Error> {
    let program = std::env::current_exe().map_err(Error::io("find this program's file"))?;
    let mut command = Command::new(program);
    command
        .arg(Part::COMMAND)
        .arg(part.to_json())
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    Ok(command)
}

/// A part that is talked to, line by line.
#[derive(Debug)]
pub(crate) struct Talker {
    pub process: Process,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talker {
    /// Starts this program again as `part`, and waits until it says that it is ready.
    pub async fn start(name: &str, part: &Part, folder: &Path) -> Result<Self, Error> {
        let mut command = itself(part)?;
        let process = Process::start(name, command.stdout(Stdio::piped()), folder)?;
        let pipes = process.with(|child| Some((child.stdin.take()?, child.stdout.take()?)));
        let gone = || std::io::Error::other("it has no pipes");
        let (stdin, stdout) = pipes.ok_or_else(|| Error::io(format!("talk to {name}"))(gone()))?;
        let unusable = || Error::io(format!("talk to {name}"));
        let stdin = ChildStdin::from_std(stdin).map_err(unusable())?;
        let stdout = ChildStdout::from_std(stdout).map_err(unusable())?;
        let mut talker = Self {
            process,
            stdin,
            lines: BufReader::new(stdout).lines(),
        };
        talker.hear().await?;
        Ok(talker)
    }

    /// Tells it to begin.
    pub async fn go(&mut self) -> Result<(), Error> {
        let written = self.stdin.write_all(b"go\n").await;
        written.map_err(Error::io(format!("talk to {}", self.process.name)))
    }

    /// The next line it prints.
    pub async fn hear(&mut self) -> Result<String, Error> {
        let line = self.lines.next_line().await;
        let line = line.map_err(Error::io(format!("hear {}", self.process.name)))?;
        match line {
            Some(line) => Ok(line),
            None => Err(first_end([&self.process]).await),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'no such stream' >&2; exit 3"]);
        let process = Process::start("worker", &mut command, folder.path()).unwrap();
        let forever = std::future::pending::<Result<(), Error>>();
        let error = guarded("a run", 60, [&process], forever).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("worker") && text.contains("no such stream"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_process_that_is_dropped_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let process = Process::start("worker", &mut command, folder.path()).unwrap();
        let id = process.id();
        assert!(Usage::of(id).is_ok());
        drop(process);
        assert!(Usage::of(id).is_err());
    }
}
