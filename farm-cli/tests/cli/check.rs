//! `farm check` with real processes: the example function, and stand-ins with one defect each.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::program::{Run, end_of, farm, finish, until};

const CHECKS: [&str; 11] = [
    "read-only root",
    "non-root user",
    "bad value",
    "no NATS URL",
    "health",
    "readiness",
    "farm status",
    "metrics",
    "drain",
    "job",
    "log lines",
];

/// The checks with this verdict.
fn with(run: &Run, verdict: &str) -> Vec<String> {
    let report = run.json();
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["verdict"] == verdict)
        .map(|check| check["check"].as_str().unwrap().to_owned())
        .collect()
}

fn finding(run: &Run, name: &str) -> Value {
    let report = run.json();
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks
        .find(|check| check["check"] == name)
        .cloned()
        .unwrap_or_default()
}

/// The server that `make tools` gets, unless the environment names another.
fn with_nats(mut command: Command) -> Command {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/nats/bin/nats-server");
    if std::env::var_os("NATS_SERVER").is_none() && tools.is_file() {
        command.env("NATS_SERVER", tools);
    }
    command
}

/// A function without dependencies, compiled, and a folder for scripts that start it.
struct StandIn {
    folder: TempDir,
}

impl StandIn {
    async fn compile() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/cli/check/stand_in/main.rs"
        );
        let compiled = Command::new("rustc")
            .args(["--edition", "2024", "-o", "stand-in", source])
            .current_dir(folder.path())
            .status();
        assert!(compiled.await.unwrap().success());
        Self { folder }
    }

    /// A shell as the function's first process, which ends as `on_stop` says.
    fn script(&self, defect: &str, on_stop: &str) -> PathBuf {
        let program = self.folder.path().join("stand-in");
        let text = format!(
            "#!/bin/sh\nexport DEFECT='{defect}'\n\
             '{}' & child=$!\ntrap '{on_stop}' TERM\n\
             wait $child\nexit $?\n",
            program.display()
        );
        let script = self.folder.path().join(defect.replace(' ', "-"));
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }

    async fn check(&self, defect: &str, on_stop: &str) -> Run {
        let script = self.script(defect, on_stop);
        let words = ["check", script.to_str().unwrap(), "--json", "--grace", "1s"];
        finish(&mut with_nats(farm(self.folder.path(), &words))).await
    }
}

/// As a function stops that has nothing to do.
const STOPS: &str = "kill $child; exit 0";

#[tokio::test]
async fn a_function_of_the_sdk_keeps_every_rule_and_loses_no_task() {
    let sleeper = farm_tests::binary("sleeper");
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "check",
        sleeper.to_str().unwrap(),
        "--json",
        "--job",
        r#"{"seconds": 0.2}"#,
    ];
    let run = finish(&mut with_nats(farm(folder.path(), &words))).await;
    let run = run.expect(0);
    assert_eq!(run.json()["ok"], true);
    let names: Vec<_> = run.json()["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["check"].clone())
        .collect();
    assert_eq!(names, CHECKS);
    assert_eq!(with(&run, "failed"), [""; 0]);
    for checked in ["health", "readiness", "metrics", "drain", "job"] {
        assert_eq!(finding(&run, checked)["verdict"], "ok", "{run}");
    }
    let job = finding(&run, "job")["why"].as_str().unwrap().to_owned();
    assert!(job.contains("20 done, 0 failed, each once"), "{job}");
    assert!(job.contains("the stop came after"), "{job}");
}

#[tokio::test]
async fn each_defect_fails_its_check_and_no_other() {
    let stand_in = StandIn::compile().await;
    let run = stand_in.check("none", STOPS).await.expect(0);
    assert_eq!(with(&run, "failed"), [""; 0], "{run}");
    let defects = [
        ("health 500", STOPS, "health", "answers 500"),
        ("sick without NATS", STOPS, "health", "503"),
        ("always ready", STOPS, "readiness", "answers 200"),
        ("status", STOPS, "farm status", "no FarmStatus"),
        ("metrics", STOPS, "metrics", "<html>"),
        ("ignores SIGTERM", "", "drain", "still runs"),
        ("ends badly", "exit 3", "drain", "status 3"),
        ("long line", STOPS, "log lines", "1048577 bytes"),
        ("bad value accepted", STOPS, "bad value", "still runs"),
    ];
    // They wait more than they work.
    let runs = stream::iter(defects)
        .map(|(defect, on_stop, ..)| stand_in.check(defect, on_stop))
        .buffered(3)
        .collect::<Vec<_>>();
    for ((defect, _, check, said), run) in defects.into_iter().zip(runs.await) {
        let run = run.expect(1);
        assert_eq!(with(&run, "failed"), [check], "{defect}: {run}");
        let finding = finding(&run, check);
        let why = finding["why"].as_str().unwrap();
        assert!(why.contains(said), "{defect}: {why}");
        assert!(!finding["next"].as_str().unwrap().is_empty());
        run.tells(&["breaks its contract", check]);
    }
    let run = stand_in.check("names no variable", STOPS).await.expect(1);
    let failed = with(&run, "failed");
    // The second is left out where a server has the default port.
    assert_eq!(failed[0], "bad value", "{run}");
    assert!(failed.len() == 1 || failed[1..] == ["no NATS URL"], "{run}");
}

#[tokio::test]
async fn a_crate_is_built_and_one_that_dies_on_sigterm_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    let manifest = "[package]\nname = \"stand-in\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                    [profile.release]\nopt-level = 0\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    let source = include_str!("check/stand_in/main.rs");
    fs::write(folder.path().join("src/main.rs"), source).unwrap();
    let words = ["check", ".", "--json"];
    let run = finish(&mut with_nats(farm(folder.path(), &words))).await;
    let run = run.expect(1);
    assert_eq!(with(&run, "failed"), ["drain"], "{run}");
    let why = finding(&run, "drain")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("signal 15"), "{why}");
}

#[tokio::test]
async fn a_function_that_does_not_start_is_told_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["check", "/bin/false", "--json"];
    let run = finish(&mut with_nats(farm(folder.path(), &words))).await;
    let run = run.expect(1);
    assert!(with(&run, "failed").contains(&"health".to_owned()), "{run}");
    let why = finding(&run, "health")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("exited with status 1") && why.contains("said nothing"));
    assert_eq!(finding(&run, "metrics")["verdict"], "not_checked");
}

#[tokio::test]
async fn nothing_is_left_when_the_check_is_interrupted() {
    let stand_in = StandIn::compile().await;
    let pids = stand_in.folder.path().join("pids");
    let script = stand_in.folder.path().join("noted");
    // Only the run that lives until NATS has come and gone.
    let text = format!(
        "#!/bin/sh\nif [ -n \"$FARM_NATS_URL\" ] && [ \"$FARM_SLOTS\" != many ]; then\n\
         echo $$ >> '{}'\nfi\nexec '{}'\n",
        pids.display(),
        stand_in.folder.path().join("stand-in").display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let words = ["check", script.to_str().unwrap()];
    let mut command = with_nats(farm(stand_in.folder.path(), &words));
    let child = command.spawn().unwrap();
    let noted = || fs::read_to_string(&pids).unwrap_or_default();
    until("a replica runs", || noted().lines().count() == 1).await;
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(sent.unwrap().success());
    let run = end_of(child).await.expect(130);
    assert_eq!(run.stdout, "");
    for pid in noted().lines() {
        let alive = Command::new("kill")
            .args(["-0", pid])
            .stderr(Stdio::null())
            .status();
        assert!(!alive.await.unwrap().success(), "{pid} still runs");
    }
}

#[tokio::test]
async fn without_docker_an_image_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = farm(folder.path(), &["check", "me/thumbnails:1.0"]);
    let run = finish(command.env("PATH", folder.path())).await.expect(4);
    run.tells(&["me/thumbnails:1.0", "docker is not on the PATH", "crate"]);
}

#[tokio::test]
async fn a_target_that_is_nothing_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for (target, word) in [
        ("./none", "does not exist"),
        (".", "no Cargo.toml"),
        ("http://", "no address"),
    ] {
        let run = finish(&mut farm(folder.path(), &["check", target])).await;
        run.expect(2).tells(&[word]);
    }
    let words = ["check", "/bin/true", "--job", "{"];
    let run = finish(&mut farm(folder.path(), &words)).await;
    run.expect(2).tells(&["--job"]);
}

#[tokio::test]
async fn of_a_running_function_what_http_shows_is_checked() {
    let stand_in = StandIn::compile().await;
    let nats = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let [http, metrics] = [(); 2].map(|()| farm_tests::free_port());
    let mut function = Command::new(stand_in.folder.path().join("stand-in"))
        .env("FARM_HTTP_PORT", http.to_string())
        .env("FARM_METRICS_PORT", metrics.to_string())
        .env("FARM_NATS_URL", nats.local_addr().unwrap().to_string())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok();
    until("the stand-in listens", listens).await;
    let url = format!("http://127.0.0.1:{http}/");
    let metrics_url = format!("http://127.0.0.1:{metrics}/metrics");
    let check = async |words: &[&str]| {
        let words = [&["check", &url, "--json"], words].concat();
        finish(&mut farm(stand_in.folder.path(), &words)).await
    };
    let run = check(&["--metrics-url", &metrics_url]).await.expect(0);
    let seen = ["health", "readiness", "farm status", "metrics"];
    assert_eq!(with(&run, "ok"), seen);
    let unseen = with(&run, "not_checked");
    assert_eq!(unseen.len(), CHECKS.len() - seen.len(), "{run}");
    let run = check(&[]).await.expect(0);
    let why = finding(&run, "metrics")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("--metrics-url"), "{why}");
    function.kill().await.unwrap();
    check(&[]).await.expect(4).tells(&["cannot be reached"]);
}
