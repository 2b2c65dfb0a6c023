//! The fault campaign of `make chaos`, short: faults of every kind, and not a
//! task lost, doubled or mixed up.

use std::time::Duration;

use farm_tests::chaos::{Options, run};

/// One campaign; a seed that fails replays its tasks and faults.
async fn campaign(servers: usize, tasks: u64, seconds: u64) {
    let mut options = Options {
        seed: 20,
        tasks,
        faults: 0,
        span: Duration::from_secs(seconds),
        servers,
        // `make chaos` has it; compiling its functions would take longer than the campaign.
        autoscaler: false,
        keep: None,
    };
    options.faults = options.kinds().len();
    let report = run(&options).await;
    println!("{}", report.tables());
    assert!(report.violations.is_empty(), "{}", report.tables());
    assert!(report.acknowledged() > tasks / 2, "{}", report.tables());
    assert_eq!(report.faults.len(), options.faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_on_one_server() {
    campaign(1, 5_000, 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_on_a_cluster() {
    campaign(3, 4_000, 75).await;
}
