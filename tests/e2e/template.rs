//! From `faas-cli template pull` to a farm that answers, as a new user goes.

use std::process::Command;
use std::time::Duration;

use farm_tests::{Workplace, repository, run};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// A git repository that holds the template, as this checkout has it.
fn template_repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
        let mut command = Command::new("git");
        run(command
            .current_dir(folder.path())
            .args(identity)
            .args(arguments))
    };
    let mut copy = Command::new("cp");
    run(copy
        .arg("-r")
        .arg(repository().join("template"))
        .arg(folder.path()));
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "template"]);
    folder
}

#[tokio::test]
async fn a_new_function_is_a_farm_that_tests_builds_and_answers() {
    let template = template_repository();
    let workplace = Workplace::new();
    workplace.faas_cli(&["template", "pull", &template.path().display().to_string()]);
    let new = ["new", "--lang", "rust-farm", "--prefix", "test"];
    workplace.faas_cli(&[&new[..], &["hello"]].concat());
    // Releases differ in what they call the stack file.
    let stack = ["hello.yml", "stack.yaml", "stack.yml"]
        .into_iter()
        .find(|file| workplace.stack().join(file).is_file())
        .expect("a stack file");
    workplace.faas_cli(&[&new[..], &["--append", stack, "fn-2-go"]].concat());

    // What cargo leaves in the user's folder does not reach Docker.
    std::fs::create_dir_all(workplace.stack().join("hello/target/debug")).unwrap();
    workplace.faas_cli(&["build", "--shrinkwrap", "-f", stack]);
    let context = workplace.stack().join("build/hello");
    let ignored = std::fs::read_to_string(context.join(".dockerignore")).unwrap();
    assert!(ignored.lines().any(|rule| rule == "**/target"), "{ignored}");
    assert!(
        ignored.lines().any(|rule| rule == "function/build"),
        "{ignored}"
    );

    // The context stands alone: its test passes, with the SDK of this checkout.
    let up = workplace.up(&["-f", stack]).await;
    for (function, text, words) in [("hello", "to be or not", 4), ("fn-2-go", "a b", 2)] {
        let farm = up.function(function);
        let job = farm.submit(&json!({"text": text})).await.job;
        farm.ended(&job, SOON).await;
        let results = farm.results(&job).await;
        let output = results[0].output.as_ref().unwrap().get().to_owned();
        assert_eq!(output, format!("{{\"words\":{words}}}"));
    }
    let tested = run(workplace
        .command(farm_tests::binary("farm-cli"))
        .current_dir(context.join("function"))
        .args(["cargo", "test", "--release", "--target-dir"])
        .arg(repository().join("target"))
        .env("CARGO_PROFILE_RELEASE_STRIP", "true"));
    assert!(tested.contains("words_are_counted ... ok"), "{tested}");
}
