use super::*;
use proptest::prelude::*;

fn farm() -> FarmName {
    FarmName::new("f").unwrap()
}

fn table() -> Reports {
    let reports = Reports::default();
    reports.keep(&[farm()]);
    reports
}

fn report(sequence: u64, count: u64) -> WorkerTelemetry {
    let mut report = WorkerTelemetry {
        replica: "a".into(),
        sequence,
        slots: 2,
        busy_slots: 1,
        with_deadline: count,
        in_deadline: count / 2,
        ..WorkerTelemetry::default()
    };
    for _ in 0..count {
        report.service.observe(0.5);
        report.sojourn.observe(1.5);
    }
    report
}

fn tell(reports: &Reports, report: &WorkerTelemetry) -> Result<(), Refused> {
    let payload = serde_json::to_vec(report).unwrap();
    reports.take_in(&farm(), &payload, Instant::now(), 1_000.0)
}

fn census(reports: &Reports) -> Census {
    reports.census(&farm(), "f", Instant::now())
}

#[test]
fn windows_are_differences() {
    let reports = table();
    tell(&reports, &report(7, 100)).unwrap();
    assert_eq!(reports.take_window(&farm()), Window::default());
    tell(&reports, &report(8, 104)).unwrap();
    let window = reports.take_window(&farm());
    assert_eq!(window.service.count, 4);
    assert_eq!(window.service.mean(), Some(0.5));
    assert!(window.service.variance().unwrap() < 1e-9);
    assert_eq!(window.qos_ratio(), Some(0.5));
    assert_eq!(reports.take_window(&farm()).service.mean(), None);
}

#[test]
fn tasks_per_message_are_of_the_last_window_with_any() {
    let reports = table();
    let settled = |sequence, tasks_done, tasks_failed, messages| WorkerTelemetry {
        tasks_done,
        tasks_failed,
        messages,
        ..report(sequence, 0)
    };
    let after = |report: &WorkerTelemetry| {
        tell(&reports, report).unwrap();
        reports.take_window(&farm());
        reports.tasks_per_message(&farm())
    };
    assert_eq!(reports.tasks_per_message(&farm()), 1.0);
    // What came before the first report we heard does not count.
    assert_eq!(after(&settled(5, 1_000, 0, 1_000)), 1.0);
    assert_eq!(after(&settled(6, 1_500, 12, 1_002)), 256.0);
    assert_eq!(after(&settled(7, 1_500, 12, 1_002)), 256.0);
    assert_eq!(after(&settled(8, 1_510, 12, 1_012)), 1.0);
    // A worker that settles nothing, or says what cannot be, moves it within its bounds.
    assert_eq!(after(&settled(9, 1_510, 12, 1_020)), 1.0);
    assert_eq!(after(&settled(10, 9_999_999, 12, 1_021)), 4096.0);
}

#[test]
fn a_replica_that_starts_anew_counts_from_its_start() {
    let reports = table();
    tell(&reports, &report(9, 100)).unwrap();
    tell(&reports, &report(1, 6)).unwrap();
    assert_eq!(reports.take_window(&farm()).service.count, 6);
}

#[test]
fn the_same_report_counts_once() {
    let reports = table();
    tell(&reports, &report(1, 3)).unwrap();
    tell(&reports, &report(1, 3)).unwrap();
    assert_eq!(reports.take_window(&farm()).service.count, 3);
}

#[tokio::test(start_paused = true)]
async fn silence_and_draining_take_a_replica_off() {
    let reports = table();
    tell(&reports, &report(1, 0)).unwrap();
    assert_eq!(census(&reports).slots, 2);
    let draining = WorkerTelemetry {
        draining: true,
        ..report(2, 0)
    };
    tell(&reports, &draining).unwrap();
    let draining = census(&reports);
    assert_eq!(
        (draining.replicas, draining.slots, draining.busy),
        (0, 0, 1)
    );
    tell(&reports, &report(3, 0)).unwrap();
    tokio::time::advance(SHORTEST_SILENCE * 2).await;
    assert_eq!(census(&reports).replicas, 0);
}

#[test]
fn another_function_of_the_farm_works_but_is_not_counted() {
    let reports = table();
    for (replica, function, slots) in [("a", None, 3), ("b", Some("f"), 2), ("c", Some("g"), 1)] {
        let report = WorkerTelemetry {
            replica: replica.to_owned(),
            function: function.map(str::to_owned),
            slots,
            ..report(1, 4)
        };
        tell(&reports, &report).unwrap();
    }
    let census = census(&reports);
    assert_eq!((census.replicas, census.slots, census.busy), (2, 5, 2));
    assert_eq!((census.slots_each, census.alike), (2, false));
    assert_eq!(reports.take_window(&farm()).service.count, 12);
}

#[test]
fn refusals_are_counted_until_a_report_is_taken() {
    let reports = table();
    for _ in 0..3 {
        let future = WorkerTelemetry {
            sent_seconds: 5_000.0,
            ..report(1, 0)
        };
        tell(&reports, &future).unwrap_err();
    }
    assert_eq!(census(&reports).refused, Some((3, Refused::FromTheFuture)));
    tell(&reports, &report(2, 0)).unwrap();
    assert_eq!(census(&reports).refused, None);
}

#[test]
fn nonsense_is_refused() {
    let reports = table();
    let bad = [
        r#"{"replica":"a","service":{"count":1,"sum_seconds":-1}}"#,
        r#"{"replica":"a","service":{"count":1,"sum_seconds":1e300}}"#,
        r#"{"replica":"a","sojourn":{"recent_max_seconds":1e9}}"#,
        r#"{"replica":"a","cold_start_seconds":-1}"#,
        r#"{"replica":"a","slots":4000000000}"#,
        r#"{"replica":"a","with_deadline":1,"in_deadline":2}"#,
        r#"{"replica":""}"#,
    ];
    for payload in bad {
        let refused = reports.take_in(&farm(), payload.as_bytes(), Instant::now(), 0.0);
        assert_eq!(refused, Err(Refused::Nonsense), "{payload}");
    }
    for payload in [
        "",
        "null",
        r#"{"replica":"a","service":{"sum_seconds":NaN}}"#,
    ] {
        let refused = reports.take_in(&farm(), payload.as_bytes(), Instant::now(), 0.0);
        assert_eq!(refused, Err(Refused::Unreadable), "{payload}");
    }
    let future = r#"{"replica":"a","sent_seconds":5000}"#;
    let refused = reports.take_in(&farm(), future.as_bytes(), Instant::now(), 1_000.0);
    assert_eq!(refused, Err(Refused::FromTheFuture));
    assert_eq!(census(&reports).replicas, 0);
}

#[test]
fn replicas_are_bounded() {
    let reports = table();
    let tell = |name: usize| {
        let payload = format!(r#"{{"replica":"{name}","sequence":1}}"#);
        reports.take_in(&farm(), payload.as_bytes(), Instant::now(), 0.0)
    };
    for name in 0..MAX_REPLICAS {
        tell(name).unwrap();
    }
    assert_eq!(tell(MAX_REPLICAS), Err(Refused::TooMany));
}

proptest! {
    #[test]
    fn no_bytes_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = table().take_in(&farm(), &payload, Instant::now(), 0.0);
    }

    /// Whatever is told, what comes out can be computed with.
    #[test]
    fn windows_are_finite(told in proptest::collection::vec(
        (0u64..5, any::<u64>(), any::<f64>(), any::<f64>(), any::<f64>()), 1..20)) {
        let reports = table();
        for (sequence, count, sum_seconds, sum_squared_seconds, recent_max_seconds) in told {
            let service = Moments { count, sum_seconds, sum_squared_seconds, recent_max_seconds };
            let report = WorkerTelemetry { service, sequence, ..report(0, 0) };
            let payload = serde_json::to_vec(&report).unwrap();
            let _ = reports.take_in(&farm(), &payload, Instant::now(), 0.0);
        }
        let service = reports.take_window(&farm()).service;
        for value in [service.mean(), service.variance(), service.max()].into_iter().flatten() {
            prop_assert!(value.is_finite() && value >= 0.0);
        }
    }
}
