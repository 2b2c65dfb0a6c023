//! Images and containers, through the `docker` command.

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::finding::{Fault, Judgement};
use crate::failure::Failure;

const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// An image that Docker has.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name, as Docker takes it.
    pub name: String,
    user: String,
}

/// What `docker image inspect` tells, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    #[serde(default)]
    user: String,
}

impl Image {
    /// Looks an image up.
    ///
    /// # Errors
    /// There is no Docker, it does not answer, or it has no such image.
    pub async fn find(name: &str) -> Result<Self, Failure> {
        let mut command = tokio::process::Command::new("docker");
        command
            .args(["image", "inspect", "--format", "{{json .Config}}", "--"])
            .arg(name)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(ANSWERS_WITHIN, command.output()).await;
        let output = output
            .map_err(|_| unreachable(name, "docker does not answer", "is its daemon well?"))?
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => unreachable(
                    name,
                    "docker is not on the PATH",
                    "install it, or check the crate: farm check ./FOLDER",
                ),
                _ => unreachable(name, &format!("docker cannot be run: {error}"), ""),
            })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim().lines().next_back().unwrap_or_default();
            let next = "build it with faas-cli build, get it with docker pull, or start Docker; \
                        a folder is written ./FOLDER";
            return Err(unreachable(name, said, next));
        }
        let configuration: Configuration = serde_json::from_slice(&output.stdout)
            .map_err(|error| unreachable(name, &format!("docker's answer: {error}"), ""))?;
        Ok(Self {
            name: name.to_owned(),
            user: configuration.user,
        })
    }

    /// Whether its processes run as somebody who is certainly not root.
    pub fn is_non_root(&self) -> Judgement {
        let user = self.user.split(':').next().unwrap_or_default();
        let fault = |why: String| Err(Fault::new(why, "end the Dockerfile with USER 10001:10001"));
        match user.parse::<u32>() {
            Ok(0) => fault("it runs as user 0, root".to_owned()),
            Ok(id) => Ok(format!("it runs as user {id}")),
            Err(_) if user.is_empty() => fault("it names no user, so it runs as root".to_owned()),
            Err(_) => fault(format!(
                "its user {user:?} is no number, so Kubernetes cannot tell that it is not root"
            )),
        }
    }
}

fn unreachable(image: &str, why: &str, next: &str) -> Failure {
    Failure::Unreachable(format!("image {image}: {why}: {next}"))
}

/// A container that is removed, running or not, when this is dropped.
#[derive(Debug)]
pub struct Container(pub String);

impl Drop for Container {
    fn drop(&mut self) {
        let removing = std::process::Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.0])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut removing) = removing else { return };
        let started = Instant::now();
        while started.elapsed() < ANSWERS_WITHIN {
            if !matches!(removing.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = removing.kill();
        let _ = removing.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_other_than_0_is_certainly_not_root() {
        let is_non_root = |user: &str| {
            let image = Image {
                name: "i".to_owned(),
                user: user.to_owned(),
            };
            image.is_non_root().is_ok()
        };
        assert!(is_non_root("10001") && is_non_root("10001:0"));
        for root in ["", "0", "0:10001", "root", "app"] {
            assert!(!is_non_root(root), "{root:?}");
        }
    }
}
