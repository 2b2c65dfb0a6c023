//! Child processes that never outlive the platform.
//!
//! Every child leads its own process group, so that a terminal's Ctrl-C reaches the platform
//! alone and a kill reaches whatever the child started. Should the platform itself be killed,
//! Linux sends its children SIGTERM, if the `setpriv` tool is there to ask for that.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Starts child processes from one thread that lives as long as the platform: the system ties
/// a child to the thread that started it, not to the process.
#[derive(Debug, Clone)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
    setpriv: Option<PathBuf>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread; to be called inside the runtime that will wait for the children.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("farm-spawner".into())
            .spawn(move || {
                let _inside = runtime.enter();
                for Request { mut command, reply } in inbox {
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self {
            requests,
            setpriv: working_setpriv(),
        })
    }

    /// A command that will run `program` without standard input.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Runs a command that [`Spawner::command`] made.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn spawn(&self, command: Command) -> io::Result<Process> {
        let (reply, spawned) = oneshot::channel();
        let ended = || io::Error::other("the thread that starts processes has ended");
        self.requests
            .send(Request { command, reply })
            .map_err(|_| ended())?;
        let child = spawned.await.map_err(|_| ended())??;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Ok(Process { child, group })
    }
}

/// A running child. Dropping it kills its whole group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Its standard output and standard error, if they are pipes that nobody has taken.
    pub fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits until the child ends, then kills what it left behind in its group.
    ///
    /// # Errors
    /// The system does not tell how it ended.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill();
        self.group = None;
        Ok(status)
    }

    /// Asks the child alone to end, as a container's first process is asked.
    pub fn terminate(&self) {
        if let Some(child) = self.group {
            let _ = kill_process(child, Signal::TERM);
        }
    }

    /// Kills the child and everything in its group.
    pub fn kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// SIGTERM, then SIGKILL after `grace` or as soon as `kill` is cancelled; true if killed.
    pub(crate) async fn stop(&mut self, grace: Duration, kill: &CancellationToken) -> bool {
        self.terminate();
        tokio::select! {
            _ = self.wait() => return false,
            () = tokio::time::sleep(grace) => {}
            () = kill.cancelled() => {}
        }
        self.kill();
        let _ = self.wait().await;
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The executables called `name` in the folders of `PATH`, in order.
pub(crate) fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .filter(|file| is_executable(file))
        .collect()
}

/// Whether `file` is a file that may be executed.
pub(crate) fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// How a process ended, for people: "exited with status 1", "was ended by signal 9".
pub fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// `setpriv`, if it is there and knows the option (busybox has one that does not).
fn working_setpriv() -> Option<PathBuf> {
    let tries = |setpriv: &PathBuf| {
        std::process::Command::new(setpriv)
            .args(["--pdeathsig", "TERM", "--", "true"].map(OsStr::new))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    on_path("setpriv").into_iter().find(tries)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn shell(spawner: &Spawner, script: &str) -> Command {
        let mut command = spawner.command(Path::new("/bin/sh"));
        command.args(["-c", script]).stdout(Stdio::piped());
        command
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed_after_its_grace() {
        let spawner = Spawner::start().unwrap();
        let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        let mut process = spawner.spawn(shell(&spawner, script)).await.unwrap();
        let (stdout, _) = process.take_output();
        stdout.unwrap().read_exact(&mut [0; 3]).await.unwrap();
        assert!(
            process
                .stop(Duration::from_millis(100), &CancellationToken::new())
                .await
        );
    }

    #[tokio::test]
    async fn what_a_child_left_behind_dies_with_it() {
        let spawner = Spawner::start().unwrap();
        let script = "sleep 600 & echo $!";
        let mut process = spawner.spawn(shell(&spawner, script)).await.unwrap();
        let (stdout, _) = process.take_output();
        let mut grandchild = String::new();
        process.wait().await.unwrap();
        // The grandchild holds the pipe: reading to its end waits for its death.
        stdout
            .unwrap()
            .read_to_string(&mut grandchild)
            .await
            .unwrap();
        assert!(grandchild.trim().parse::<u32>().is_ok());
    }

    #[tokio::test]
    async fn a_dropped_process_is_dead() {
        let spawner = Spawner::start().unwrap();
        let mut process = spawner
            .spawn(shell(&spawner, "echo up; sleep 600"))
            .await
            .unwrap();
        let (stdout, _) = process.take_output();
        drop(process);
        let mut output = String::new();
        stdout.unwrap().read_to_string(&mut output).await.unwrap();
    }
}
