//! Bad input to the words that cross a process: refused, or read so that writing it and reading it
//! again gives the same.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::SlotsOrder;
use crate::decision::DecisionEvent;
use crate::gateway::{FunctionDeployment, FunctionStatus, ScaleRequest, Secret};
use crate::http::{Accepted, DeadLetter, Ended, FarmStatus, JobStatus, Problem, TaskOutcome};
use crate::job::{JobProgress, JobSpec};
use crate::quantity::{parse_bytes, parse_duration, parse_rate};
use crate::telemetry::WorkerTelemetry;
use crate::topology::Topology;
use crate::{FarmName, JobId, Roles, TaskId, TaskKey, envelope};

/// What is read is written and read again: equal texts, for not every type can be compared.
fn survives<T: Serialize + DeserializeOwned>(json: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_vec(&value).unwrap();
        let again: T = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, serde_json::to_vec(&again).unwrap());
    }
}

const GATEWAY: &[&[u8]] = &[
    br#"{"name":"f","image":"i:1","namespace":"openfaas-fn","envProcess":"","invocationCount":1e3,"replicas":1,"availableReplicas":0,"labels":{"a":"b"},"annotations":{"farm.policy":"queue"},"secrets":["s"],"limits":{"memory":"1Gi","cpu":"100m"},"createdAt":"2024-01-01T00:00:00Z"}"#,
    br#"{"service":"f","image":"i:1","envVars":{"FARM_NAME":"f"},"constraints":["a=b"],"secrets":["s"],"labels":null,"annotations":null,"readOnlyRootFilesystem":true}"#,
    br#"{"serviceName":"f","replicas":18446744073709551615}"#,
    br#"{"name":"s","namespace":"openfaas-fn","value":"v","rawValue":"AA=="}"#,
];
const HTTP: &[&[u8]] = &[
    br#"{"job":"j","state":"running","accepted":3,"done":1,"failed":0,"cancelled":0,"in_flight":2,"qos_ratio":0.5,"created_seconds":1.5e9,"ended_seconds":null,"note":"x","results":[{"task":"0","outcome":"done","cursor":1,"attempt":1,"worker":"w","service_seconds":0.1,"sojourn_seconds":0.2,"in_deadline":true,"output":{"a":[1]}}]}"#,
    br#"{"task":"j.0","cause":"c","attempts":1,"worker":"w","died_seconds":1.0,"replays":0,"body":"{}","body_is_hex":true}"#,
    br#"{"error":"e","path":"a[0].b","line":1,"job":"j","accepted":0}"#,
    br#"{"farm":"f","roles":"worker","version":"0.1.0","backlog_tasks":1,"backlog_messages":1,"in_flight_tasks":1,"in_flight_messages":1,"result_tasks":1,"dead_tasks":1,"queue_max_tasks":-1}"#,
];
const STORED: &[&[u8]] = &[
    br#"{"created_seconds":1.0,"accepted":3,"deadline_seconds":2.0,"callback_url":"http://a/"}"#,
    br#"{"done":1,"failed":0,"in_deadline":1,"with_deadline":1,"first_sequence":1,"applied_sequence":1,"first_outcome_seconds":1.0}"#,
    br#"{"slots":8,"by":"me"}"#,
    br#"{"replica":"r","function":null,"sequence":1,"sent_seconds":1.0,"draining":false,"slots":4,"busy_slots":1,"service":{"count":1,"sum_seconds":1.0,"sum_squared_seconds":1.0,"recent_max_seconds":1.0},"sojourn":{}}"#,
    br#"{"farm":"f","function":"f","decided_by":"a","sequence":1,"at_seconds":1.0,"policy":"queue","observed":null,"target_qos_ratio":0.95,"wanted_parallelism":1,"target_parallelism":1,"allocation":{"replicas":1,"slots":1},"outcome":"applied","reasons":["r"],"error":null,"observe_seconds":0.1,"decide_seconds":0.1,"act_seconds":0.1}"#,
];
const WORDS: &[&[u8]] = &[
    b"1m 30s",
    b"250ms",
    b"64MiB",
    b"1 GB",
    b"0.5/s",
    b"worker,emitter",
    b"job.0",
    b"shrink-2",
    b"farm.f.task.job",
    b"farm.f.result.j.0",
    b"1795285118.418",
    b"1e300",
    b"-0.0",
    b"done worker=sleeper-3 submitted=1795285118.418 service=0.25 attempt=2",
    b"chunk done=250 apart=6 worker=w",
];

proptest! {
    #[test]
    fn gateway_bodies(json in farm_fuzz::bytes(GATEWAY)) {
        survives::<FunctionStatus>(&json);
        survives::<Vec<FunctionStatus>>(&json);
        survives::<FunctionDeployment>(&json);
        survives::<ScaleRequest>(&json);
        survives::<Secret>(&json);
    }

    #[test]
    fn bodies_of_the_http_face(json in farm_fuzz::bytes(HTTP)) {
        survives::<Accepted>(&json);
        survives::<JobStatus>(&json);
        survives::<TaskOutcome>(&json);
        survives::<Ended>(&json);
        survives::<DeadLetter>(&json);
        survives::<FarmStatus>(&json);
        survives::<Problem>(&json);
    }

    #[test]
    fn what_is_stored_and_told(json in farm_fuzz::bytes(STORED)) {
        survives::<JobSpec>(&json);
        survives::<JobProgress>(&json);
        survives::<SlotsOrder>(&json);
        survives::<WorkerTelemetry>(&json);
        survives::<DecisionEvent>(&json);
    }

    #[test]
    fn words(text in farm_fuzz::text(WORDS)) {
        let _ = (parse_bytes(&text), parse_rate(&text), text.parse::<Roles>());
        if let Ok(duration) = parse_duration(&text) {
            let written = crate::quantity::format_duration(duration);
            prop_assert_eq!(parse_duration(&written), Ok(duration));
        }
        if let Some(seconds) = envelope::parse_seconds(&text) {
            prop_assert!(seconds.is_finite() && seconds >= 0.0);
            prop_assert!(envelope::parse_seconds(&envelope::format_seconds(seconds)).is_some());
        }
        let _ = envelope::parse_duration_seconds(&text);
        if let Some(line) = envelope::OutcomeLine::parse(&text) {
            prop_assert!(envelope::OutcomeLine::parse(&line.to_string()).is_some());
        }
        if let Ok(task) = text.parse::<TaskId>() {
            prop_assert_eq!(task.to_string(), text.clone());
        }
        let _ = (JobId::new(text.clone()), TaskKey::new(text.clone()));
        let _ = Topology::farm_of_subject(&text);
        let topology = Topology::new(FarmName::new("f").unwrap());
        let _ = (topology.job_of_task_subject(&text), topology.task_of_subject(&text));
    }
}
