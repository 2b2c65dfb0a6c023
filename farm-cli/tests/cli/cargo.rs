//! `farm cargo`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{farm, finish};

#[tokio::test]
async fn a_function_builds_with_the_sdk_of_this_checkout() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .canonicalize()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), "fn main() {}\n").unwrap();
    let manifest = "[package]\nname = \"thumbnails\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nfarm-sdk = \"0.1\"\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    // With the versions this workspace was built with, hardly anything is left to fetch.
    fs::copy(
        checkout.join("Cargo.lock"),
        folder.path().join("Cargo.lock"),
    )
    .unwrap();
    let words = ["cargo", "metadata", "--format-version", "1"];
    let metadata = finish(&mut farm(folder.path(), &words))
        .await
        .expect(0)
        .json();
    let packages = metadata["packages"].as_array().unwrap();
    let sdk = packages
        .iter()
        .find(|package| package["name"] == "farm-sdk")
        .unwrap();
    assert_eq!(
        sdk["manifest_path"],
        Value::from(checkout.join("farm-sdk/Cargo.toml").to_str().unwrap())
    );
}

#[tokio::test]
async fn cargos_exit_code_and_words_are_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    finish(&mut farm(
        folder.path(),
        &["cargo", "test", "--", "--nocapture"],
    ))
    .await
    .expect(101);
    let run = finish(&mut farm(folder.path(), &["cargo", "--", "--version"]))
        .await
        .expect(0);
    assert!(run.stdout.starts_with("cargo "), "{run}");
}

#[tokio::test]
async fn a_folder_without_the_sdk_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = finish(&mut farm(folder.path(), &["cargo", "--sdk", ".", "test"]))
        .await
        .expect(1);
    run.tells(&["no farm-sdk", "checkout"]);
}
