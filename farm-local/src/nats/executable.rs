//! Finding a `nats-server` that is new enough.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::error::NatsError;
use crate::process::{is_executable, on_path};

/// Oldest version whose JetStream has what a farm uses: (major, minor).
pub(super) const OLDEST: (u32, u32) = (2, 10);
/// Where `make tools` puts the server, relative to the checkout.
const TOOLS_SERVER: &str = ".tools/nats/bin/nats-server";

/// The server to run: the one named, by option or in `NATS_SERVER`, else the first that is new
/// enough on `PATH` or among the tools of the checkout that holds the SDK.
pub(super) async fn find(named: Option<&Path>, sdk: Option<&Path>) -> Result<PathBuf, NatsError> {
    let from_environment = || std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let candidates = match named.map(Path::to_owned).or_else(from_environment) {
        Some(named) => vec![named],
        None => {
            let tools = sdk
                .and_then(Path::parent)
                .map(|checkout| checkout.join(TOOLS_SERVER));
            let tools = tools.filter(|server| is_executable(server));
            on_path("nats-server").into_iter().chain(tools).collect()
        }
    };
    let mut refusal = NatsError::Missing;
    for candidate in candidates {
        match check(&candidate).await {
            Ok(()) => return Ok(candidate),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

async fn check(path: &Path) -> Result<(), NatsError> {
    let not_a_server = |reason: String| NatsError::NotAServer {
        path: path.to_owned(),
        reason,
    };
    let mut command = Command::new(path);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(10), command.output())
        .await
        .map_err(|_| not_a_server("it does not end".into()))?
        .map_err(|error| not_a_server(error.to_string()))?;
    judge(path, String::from_utf8_lossy(&output.stdout).trim())
}

/// Judges a server by what `--version` prints: `nats-server: v2.10.4`.
fn judge(path: &Path, output: &str) -> Result<(), NatsError> {
    let path = path.to_owned();
    match output.strip_prefix("nats-server: v") {
        Some(version) if is_new_enough(version) => Ok(()),
        Some(version) if number(version).is_some() => Err(NatsError::TooOld {
            path,
            version: version.to_owned(),
        }),
        _ => Err(NatsError::NotAServer {
            path,
            reason: format!("{output:?}"),
        }),
    }
}

/// Whether a version such as `2.10.4` or `2.11.0-RC.1` is new enough.
pub(super) fn is_new_enough(version: &str) -> bool {
    number(version).is_some_and(|number| number >= OLDEST)
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_with_its_version() {
        let server = Path::new("/usr/bin/nats-server");
        assert!(judge(server, "nats-server: v2.10.0").is_ok());
        assert!(judge(server, "nats-server: v2.11.0-RC.1").is_ok());
        let message = judge(server, "nats-server: v2.9.10")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("2.9.10") && message.contains("make tools"),
            "{message}"
        );
        assert!(matches!(
            judge(server, "v3 of something"),
            Err(NatsError::NotAServer { .. })
        ));
    }

    #[tokio::test]
    async fn what_is_no_server_is_refused() {
        for other in ["/bin/echo", "/nowhere/nats-server"] {
            let refusal = find(Some(Path::new(other)), None).await;
            assert!(
                matches!(refusal, Err(NatsError::NotAServer { .. })),
                "{other}"
            );
        }
    }
}
