//! Bad input to the autoscaler: its environment, annotations, reports and decisions of others.

use std::collections::BTreeMap;
use std::time::Duration;

use farm_core::FarmName;
use farm_core::gateway::FunctionStatus;
use farm_policy::learned::BuiltInModels;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::annotations;
use crate::board::Board;
use crate::config::Config;
use crate::reports::Reports;

const VALUES: &[&[u8]] = &[
    b"queue",
    b"predictive",
    b"sarsa",
    b"dqn",
    b"10s",
    b"250ms",
    b"0.95",
    b"32",
    b"1",
    b"true",
    b"http://a:8080/",
    b"127.0.0.1",
    b"8080",
    b"debug,a=info",
    b"json",
    b"paper",
    b"-1",
    b"1e99",
];
const KEYS: &[&str] = &[
    "farm.name",
    "farm.policy",
    "farm.min",
    "farm.max",
    "farm.deadline",
    "farm.target_qos",
    "farm.slots.max",
    "farm.replicas.max",
    "farm.interval",
    "farm.stabilisation",
    "farm.cooldown",
    "farm.policy.memory",
    "farm.policy.model",
    "farm.policy.step",
    "farm.nonsense",
];
const LISTS: &[&[u8]] = &[
    br#"[{"name":"f","replicas":1,"availableReplicas":1,"annotations":{"farm.policy":"queue","farm.max":"8","farm.deadline":"2s"}}]"#,
];
const REPORTS: &[&[u8]] = &[
    br#"{"replica":"a","function":"f","sequence":1,"sent_seconds":1.0,"slots":4,"busy_slots":1,"tasks_done":3,"service":{"count":3,"sum_seconds":1.0,"sum_squared_seconds":1.0,"recent_max_seconds":0.5},"sojourn":{"count":3,"sum_seconds":2.0,"sum_squared_seconds":2.0,"recent_max_seconds":1.0},"with_deadline":3,"in_deadline":2}"#,
    br#"{"replica":"a","sequence":2,"service":{"count":9,"sum_seconds":3.0}}"#,
];
const DECISIONS: &[&[u8]] = &[
    br#"{"farm":"f","function":"f","decided_by":"b","sequence":1,"at_seconds":1.0,"policy":"queue","observed":null,"target_qos_ratio":0.95,"wanted_parallelism":1,"target_parallelism":1,"allocation":{"replicas":1,"slots":1},"outcome":"applied","reasons":["r"],"error":null,"observe_seconds":0.1,"decide_seconds":0.1,"act_seconds":0.1}"#,
];

fn read_annotations(function: &FunctionStatus) {
    let Some(declared) = annotations::declared(function) else {
        return;
    };
    let second = Duration::from_secs(1);
    let reading = annotations::read(&function.name, &declared, second, &BuiltInModels);
    if let Err(bad) = reading.settings {
        assert!(!bad.is_empty());
    }
}

proptest! {
    #[test]
    fn environments(values in proptest::collection::vec(farm_fuzz::text(VALUES), 11)) {
        let keys = [
            "FARM_GATEWAY_URL", "FARM_NATS_URL", "FARM_SECRETS_DIR", "FARM_MODEL_DIR",
            "FARM_NAMESPACE", "FARM_SCALER_INTERVAL", "FARM_BIND_ADDRESS", "FARM_HTTP_PORT",
            "FARM_METRICS_PORT", "FARM_LOG", "FARM_LOG_FORMAT",
        ];
        let table: BTreeMap<&str, String> = keys.into_iter().zip(values).collect();
        if let Err(error) = Config::read(&|key| table.get(key).cloned()) {
            let named = keys.iter().any(|key| error.to_string().contains(key));
            prop_assert!(named, "{}", error);
        }
    }

    #[test]
    fn annotated_functions(
        values in proptest::collection::btree_map(
            proptest::sample::select(KEYS), farm_fuzz::text(VALUES), 0..10,
        ),
        policy in farm_fuzz::text(VALUES),
    ) {
        let annotations = values
            .into_iter()
            .chain([("farm.policy", policy)])
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        read_annotations(&FunctionStatus {
            name: "f".to_owned(),
            annotations: Some(annotations),
            ..FunctionStatus::default()
        });
    }

    #[test]
    fn lists_of_functions(json in farm_fuzz::bytes(LISTS)) {
        if let Ok(functions) = serde_json::from_slice::<Vec<FunctionStatus>>(&json) {
            functions.iter().for_each(read_annotations);
        }
    }

    /// Whatever is reported, the means stay numbers.
    #[test]
    fn reports(payloads in proptest::collection::vec(farm_fuzz::bytes(REPORTS), 1..6)) {
        let farm = FarmName::new("f").unwrap();
        let reports = Reports::default();
        reports.keep(std::slice::from_ref(&farm));
        for payload in payloads {
            let _ = reports.take_in(&farm, &payload, Instant::now(), 2.0e9);
        }
        let _ = reports.census(&farm, "f", Instant::now());
        let window = reports.take_window(&farm);
        for sums in [&window.service, &window.sojourn] {
            prop_assert!(sums.mean().is_none_or(|mean| mean.is_finite() && mean >= 0.0));
            prop_assert!(sums.variance().is_none_or(|variance| variance.is_finite() && variance >= 0.0));
        }
        prop_assert!(window.qos_ratio().is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
    }

    #[test]
    fn overheard_decisions(payload in farm_fuzz::bytes(DECISIONS)) {
        let board = Board::new("a");
        board.overhear("f", &payload);
        let shown: serde_json::Value = serde_json::from_str(&board.everything()).unwrap();
        prop_assert!(shown.is_object());
    }
}
