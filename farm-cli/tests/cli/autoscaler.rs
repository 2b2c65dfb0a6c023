//! `farm autoscaler`.

use crate::program::{farm, finish};

#[tokio::test]
async fn its_help_says_how_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let run = finish(&mut farm(folder.path(), &["autoscaler", "--help"]))
        .await
        .expect(0);
    for word in ["FARM_GATEWAY_URL", "FARM_NATS_URL", "basic-auth-password"] {
        assert!(run.stdout.contains(word), "no {word}: {run}");
    }
}

#[tokio::test]
async fn a_configuration_it_cannot_use_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = farm(folder.path(), &["autoscaler"]);
    command
        .env("FARM_GATEWAY_URL", "ftp://gateway")
        .env("FARM_HTTP_PORT", "0")
        .env("FARM_SECRETS_DIR", folder.path());
    finish(&mut command)
        .await
        .expect(1)
        .tells(&["FARM_GATEWAY_URL", "FARM_HTTP_PORT"]);
}
