//! Compiles the crate of a function with Cargo.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::context::BuildContext;
use crate::lines::each_line;
use crate::process::{Spawner, on_path};

/// Most of a failed build's output that is kept, in lines.
const MAX_DIAGNOSTIC_LINES: usize = 400;

/// A crate that could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Cargo is not installed.
    #[error("cargo is not on the PATH: install Rust from https://rustup.rs")]
    NoCargo,
    /// The context holds no crate.
    #[error("function {function}: its handler has no Cargo.toml")]
    NoCrate {
        /// The function.
        function: String,
    },
    /// Cargo failed.
    #[error("function {function}: its crate does not compile (see above)")]
    Compile {
        /// The function.
        function: String,
        /// What the compiler said, if it was not shown while it ran.
        diagnostics: Vec<String>,
    },
    /// The crate is a library.
    #[error("function {function}: its crate builds no executable: give it a src/main.rs")]
    NoExecutable {
        /// The function.
        function: String,
    },
    /// The crate has several executables.
    #[error("function {function}: its crate builds several executables ({}): leave one", names.join(", "))]
    SeveralExecutables {
        /// The function.
        function: String,
        /// Their names.
        names: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("function {function}: {}: {source}", path.display())]
    Io {
        /// The function.
        function: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How the crate of one function is built where it lies, by [`CrateBuild::run`].
#[derive(Debug)]
pub struct CrateBuild<'a> {
    /// The crate.
    pub folder: &'a Path,
    /// The `farm-sdk` crate that takes the place of the published one.
    pub sdk: Option<PathBuf>,
    /// Where Cargo keeps what it compiled, instead of the `target` of the SDK's checkout for a
    /// crate inside it, or of the crate.
    pub target_folder: Option<PathBuf>,
    /// Whether Cargo's progress goes straight to the standard error of this process.
    pub show_progress: bool,
}

impl CrateBuild<'_> {
    /// Builds in release, as a platform does, and copies the executable to `executable`.
    ///
    /// # Errors
    /// There is no crate, it does not compile, or it has not exactly one executable.
    pub async fn run(self, spawner: &Spawner, executable: &Path) -> Result<(), BuildError> {
        let name = self.folder.file_name().unwrap_or(self.folder.as_os_str());
        let name = name.to_string_lossy().into_owned();
        let checkout = self.sdk.as_deref().and_then(Path::parent);
        let target_folder = self.target_folder.unwrap_or_else(|| match checkout {
            Some(checkout) if self.folder.starts_with(checkout) => checkout.join("target"),
            _ => self.folder.join("target"),
        });
        if !self.folder.join("Cargo.toml").is_file() {
            return Err(BuildError::NoCrate { function: name });
        }
        let builder = Builder {
            spawner: spawner.clone(),
            sdk: self.sdk,
            target_folder,
            show_progress: self.show_progress,
        };
        builder.compile_to(&name, self.folder, executable).await
    }
}

/// How crates are built.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) spawner: Spawner,
    /// The `farm-sdk` crate that takes the place of the published one.
    pub(crate) sdk: Option<PathBuf>,
    /// Where Cargo keeps what it compiled.
    pub(crate) target_folder: PathBuf,
    /// Whether Cargo's progress goes straight to the standard error of this process.
    pub(crate) show_progress: bool,
}

/// What one build gave.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) executable: PathBuf,
    pub(crate) took: Duration,
}

impl Builder {
    /// Builds the crate of `context` and copies its executable to `executable`, so that a later
    /// build does not disturb what runs.
    pub(crate) async fn build(
        &self,
        function: &str,
        context: &BuildContext,
        executable: PathBuf,
    ) -> Result<Built, BuildError> {
        let started = Instant::now();
        let io_error = |path: &Path, source| BuildError::Io {
            function: function.to_owned(),
            path: path.to_owned(),
            source,
        };
        if !context.handler.join("Cargo.toml").is_file() {
            return Err(BuildError::NoCrate {
                function: function.to_owned(),
            });
        }
        self.seed_lock_file(context)
            .map_err(|error| io_error(&context.handler, error))?;
        self.compile_to(function, &context.handler, &executable)
            .await?;
        Ok(Built {
            executable,
            took: started.elapsed(),
        })
    }

    async fn compile_to(
        &self,
        function: &str,
        handler: &Path,
        executable: &Path,
    ) -> Result<(), BuildError> {
        let io_error = |path: &Path, source| BuildError::Io {
            function: function.to_owned(),
            path: path.to_owned(),
            source,
        };
        // Two crates of one name share a file in the target folder: no other platform may build
        // between this build and the copy.
        let lock = self
            .lock_target()
            .await
            .map_err(|error| io_error(&self.target_folder, error))?;
        let built = self.compile(function, handler).await?;
        fs::copy(&built, executable).map_err(|error| io_error(&built, error))?;
        drop(lock);
        Ok(())
    }

    /// Starts from the versions the SDK was compiled with, so that they are not compiled again.
    fn seed_lock_file(&self, context: &BuildContext) -> io::Result<()> {
        let own = context.handler.join("Cargo.lock");
        let sdk_lock = self.sdk.as_ref().map(|sdk| sdk.join("../Cargo.lock"));
        match sdk_lock.filter(|lock| lock.is_file() && !own.exists()) {
            Some(lock) => fs::copy(lock, own).map(drop),
            None => Ok(()),
        }
    }

    async fn lock_target(&self) -> io::Result<fs::File> {
        fs::create_dir_all(&self.target_folder)?;
        let lock = fs::File::create(self.target_folder.join(".farm-build.lock"))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(fs::TryLockError::WouldBlock) => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = [
            "build",
            "--release",
            "--message-format=json-render-diagnostics",
            "--target-dir",
        ]
        .map(OsString::from)
        .into();
        arguments.push(self.target_folder.clone().into());
        if let Some(sdk) = &self.sdk {
            // A JSON string is a TOML string.
            let path = serde_json::Value::from(sdk.to_string_lossy());
            arguments.push("--config".into());
            arguments.push(format!("patch.crates-io.farm-sdk.path={path}").into());
        }
        if !self.show_progress {
            arguments.push("--quiet".into());
        }
        arguments
    }

    async fn compile(&self, function: &str, handler: &Path) -> Result<PathBuf, BuildError> {
        let cargo = on_path("cargo")
            .into_iter()
            .next()
            .ok_or(BuildError::NoCargo)?;
        let io_error = |source| BuildError::Io {
            function: function.to_owned(),
            path: cargo.clone(),
            source,
        };
        let mut command = self.spawner.command(&cargo);
        command
            .args(self.arguments())
            .current_dir(handler)
            // As the workspace of the SDK has it: another profile would compile everything again.
            .env("CARGO_PROFILE_RELEASE_STRIP", "true")
            .stdout(Stdio::piped())
            .stderr(if self.show_progress {
                Stdio::inherit()
            } else {
                Stdio::piped()
            });
        let mut process = self.spawner.spawn(command).await.map_err(io_error)?;

        let (stdout, stderr) = process.take_output();
        let mut executables = Vec::new();
        let mut diagnostics = Vec::new();
        let read_stdout = async {
            if let Some(stdout) = stdout {
                each_line(stdout, |line| executables.extend(executable_of(&line))).await;
            }
        };
        let read_stderr = async {
            if let Some(stderr) = stderr {
                each_line(stderr, |line| {
                    if diagnostics.len() < MAX_DIAGNOSTIC_LINES {
                        diagnostics.push(line);
                    }
                })
                .await;
            }
        };
        tokio::join!(read_stdout, read_stderr);
        let status = process.wait().await.map_err(io_error)?;
        if !status.success() {
            return Err(BuildError::Compile {
                function: function.to_owned(),
                diagnostics,
            });
        }
        only(function, executables)
    }
}

fn only(function: &str, mut executables: Vec<PathBuf>) -> Result<PathBuf, BuildError> {
    executables.dedup();
    match executables.len() {
        0 => Err(BuildError::NoExecutable {
            function: function.to_owned(),
        }),
        1 => Ok(executables.remove(0)),
        _ => Err(BuildError::SeveralExecutables {
            function: function.to_owned(),
            names: executables
                .iter()
                .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
                .collect(),
        }),
    }
}

/// One message of Cargo, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
}

/// The executable a line of Cargo's output announces.
fn executable_of(line: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    message
        .executable
        .filter(|_| message.reason == "compiler-artifact")
}
