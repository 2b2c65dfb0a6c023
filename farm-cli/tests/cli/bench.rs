//! `farm bench` with real processes: the figures are the machine's, the accounts are ours.

use std::path::Path;

use serde_json::Value;

use crate::program::{farm, finish};

/// The server that `make nats` fetches, or the one on the `PATH`.
fn nats_server() -> Option<String> {
    let fetched = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../.tools/nats/bin/nats-server"
    );
    Path::new(fetched).exists().then(|| fetched.to_owned())
}

#[tokio::test]
async fn one_small_pair_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "bench",
        "throughput",
        "--pairs",
        "1",
        "--tasks",
        "500",
        "--only",
        "1 workers",
        "--only",
        "granularity 256",
        "--json",
        "bench.json",
        "--plot",
        "plots",
    ];
    let mut command = farm(folder.path(), &words);
    if let Some(server) = nats_server() {
        command.env("NATS_SERVER", server);
    }
    // A run whose tasks are lost, or come twice, fails.
    let run = finish(&mut command).await.expect(0);
    assert!(run.stdout.contains("FARM / RAW"), "{run}");
    let text = std::fs::read(folder.path().join("bench.json")).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let cases = document["scenarios"][0]["runs"].as_array().unwrap();
    assert_eq!(cases.len(), 2, "{document}");
    for case in cases {
        for side in ["raw", "farm"] {
            let run = &case[side][0];
            assert_eq!(run["tasks"], 500, "{case}");
            assert!(run["tasks_per_second"].as_f64().unwrap() > 0.0, "{case}");
            assert!(run["wire_bytes"].as_u64().unwrap() > 500 * 128, "{case}");
        }
    }
    assert!(document["machine"]["cores"].as_u64().unwrap() > 0);
    assert!(folder.path().join("plots/throughput.svg").exists());
}

#[tokio::test]
async fn every_guarantee_has_its_price() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "bench",
        "safety",
        "--pairs",
        "1",
        "--tasks",
        "100",
        "--json",
        "bench.json",
        "--plot",
        "plots",
    ];
    let mut command = farm(folder.path(), &words);
    if let Some(server) = nats_server() {
        command.env("NATS_SERVER", server);
    }
    let run = finish(&mut command).await.expect(0);
    assert!(run.stdout.contains("OF IDS"), "{run}");
    let text = std::fs::read(folder.path().join("bench.json")).unwrap();
    let document: Value = serde_json::from_slice(&text).unwrap();
    let sides = document["scenarios"][0]["runs"].as_array().unwrap();
    let wire_bytes = |side: usize| sides[side]["runs"][0]["wire_bytes"].as_u64().unwrap();
    assert_eq!(sides.len(), 8, "{document}");
    for side in sides {
        assert_eq!(side["runs"][0]["tasks"], 100, "{side}");
    }
    // Ids are headers of tasks and results; three servers send each other every message.
    let (plain, ids, three_servers) = (wire_bytes(0), wire_bytes(1), wire_bytes(6));
    assert!(plain < ids && 2 * ids < three_servers, "{document}");
    assert!(folder.path().join("plots/safety.svg").exists());
}

#[tokio::test]
async fn a_part_without_a_server_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let work = r#"{"tasks":1,"task_bytes":64,"spin_rounds":0,"rate_per_second":null}"#;
    let safety = r#"{"once":"message_ids","gathering":"acknowledged"}"#;
    let part = format!(
        r#"{{"part":"raw_worker","url":"nats://127.0.0.1:1","work":{work},"chunk":1,"cold_tasks":0,"safety":{safety}}}"#
    );
    let run = finish(&mut farm(folder.path(), &["bench-part", &part])).await;
    run.expect(1).tells(&["NATS", "connect"]);
}

#[tokio::test]
async fn what_is_no_nats_server_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["bench", "--quick", "--nats-server", "/bin/echo"];
    let run = finish(&mut farm(folder.path(), &words)).await;
    run.expect(1).tells(&["/bin/echo", "nats-server"]);
}

#[tokio::test]
async fn a_wrong_file_is_told_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    for json in ["missing/bench.json", "."] {
        let words = ["bench", "--nats-server", "/bin/echo", "--json", json];
        let run = finish(&mut farm(folder.path(), &words)).await;
        run.expect(1).tells(&["cannot write", json]);
    }
}

#[tokio::test]
async fn what_was_measured_before_stays_until_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    std::fs::write(&file, "earlier").unwrap();
    let words = [
        "bench",
        "throughput",
        "--only",
        "none",
        "--json",
        "bench.json",
    ];
    let mut command = farm(folder.path(), &words);
    if let Some(server) = nats_server() {
        command.env("NATS_SERVER", server);
    }
    finish(&mut command).await.expect(1).tells(&["none"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "earlier");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
