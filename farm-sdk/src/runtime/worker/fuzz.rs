//! Bad input to a worker: messages that are no deliveries, envelopes, orders.

use std::sync::OnceLock;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{HeaderMap, HeaderValue, Message};
use farm_core::topology::Topology;
use farm_core::{FarmName, envelope};
use proptest::prelude::*;

use super::delivery::Delivery;
use super::orders;
use crate::runtime::dead_letter;
use crate::runtime::outcomes::StoredOutcome;
use crate::runtime::reading::Stored;

const REPLIES: &[&[u8]] = &[
    b"$JS.ACK.farm-f-tasks.workers.1.2.3.1700000000000000000.4",
    b"$JS.ACK.domain.hash.farm-f-tasks.workers.1.2.3.1700000000000000000.4.token",
];
const SUBJECTS: &[&[u8]] = &[
    b"farm.f.task.job",
    b"farm.f.result.job.0",
    b"farm.f.result.job.=0-3",
    b"farm.f.dead.job.0",
];
const HEADERS: &[&[u8]] = &[
    b"0",
    b"1700000000.5",
    b"2.5",
    b"done worker=w submitted=1700000000.5 service=0.5",
    b"chunk done=2 apart=0 worker=w",
    b"msgpack",
    b"raw",
    b"failed",
    b"chunk",
    b"0-3",
    b"sleeper-0",
    b"18446744073709551615",
    b"1e300",
    b"0-2",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
];
const ORDERS: &[&[u8]] = &[br#"{"slots":8,"by":"me"}"#, br#"{"slots":10000}"#];

/// A context without a server: only messages are read with it.
fn context() -> &'static jetstream::Context {
    static CONTEXT: OnceLock<(tokio::runtime::Runtime, jetstream::Context)> = OnceLock::new();
    let (_, context) = CONTEXT.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let context = runtime.block_on(async {
            let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
            jetstream::new(options.connect("127.0.0.1:9").await.unwrap())
        });
        (runtime, context)
    });
    context
}

fn message() -> impl Strategy<Value = Message> {
    let names = [
        envelope::TASK,
        envelope::SUBMITTED_SECONDS,
        envelope::DEADLINE_SECONDS,
        envelope::REPLAY,
        envelope::CHUNK,
        envelope::DELAY_SECONDS,
        envelope::FAILED,
        envelope::OUTCOME,
        envelope::ATTEMPT,
        envelope::WORKER,
        envelope::CAUSE,
        envelope::DIED_SECONDS,
        envelope::TRACEPARENT,
        envelope::CODEC,
    ];
    let headers = proptest::collection::btree_map(
        proptest::sample::select(names.to_vec()),
        farm_fuzz::text(HEADERS),
        0..8,
    );
    let subject = farm_fuzz::text(SUBJECTS);
    let reply = proptest::option::weighted(0.9, farm_fuzz::text(REPLIES));
    let body = farm_fuzz::bytes(ORDERS);
    (subject, reply, headers, body).prop_map(|(subject, reply, headers, body)| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let Ok(value) = value.parse::<HeaderValue>() {
                map.insert(name, value);
            }
        }
        Message {
            subject: subject.into(),
            reply: reply.map(Into::into),
            length: body.len(),
            payload: body.into(),
            headers: (!map.is_empty()).then_some(map),
            status: None,
            description: None,
        }
    })
}

proptest! {
    /// A message is refused, or is a task with a name, with a defect or without.
    #[test]
    fn deliveries(message in message()) {
        let topology = Topology::new(FarmName::new("f").unwrap());
        let default = Some(Duration::from_secs(1));
        if let Ok(delivery) = Delivery::read(message, context(), &topology, default) {
            prop_assert!(delivery.terms.submitted_seconds.is_finite());
            prop_assert!(delivery.load.to_string().len() <= 129);
            let _ = (delivery.terms.due(), delivery.traceparent(), delivery.body());
        }
    }

    /// An outcome is passed over, or can be shown.
    #[test]
    fn outcomes(message in message()) {
        let topology = Topology::new(FarmName::new("f").unwrap());
        let Some(stored) = Stored::read(message) else {
            return Ok(());
        };
        if let Some(outcome) = StoredOutcome::read(&stored, &topology) {
            let _ = outcome.results(stored.body());
            for line in outcome.lines(stored.body()) {
                prop_assert!(!serde_json::to_string(&line).unwrap().contains('\n'));
            }
        }
    }

    /// Whatever lies among the dead letters can be shown.
    #[test]
    fn dead_letters(message in message()) {
        let headers = message.headers.unwrap_or_default();
        let letter = dead_letter::read("j.0".parse().unwrap(), &headers, &message.payload);
        prop_assert!(letter.body.len() <= 2 * message.payload.len());
        let _ = dead_letter::headers(&letter);
    }

    #[test]
    fn slot_orders(order in farm_fuzz::bytes(ORDERS)) {
        if let Ok(order) = orders::parse(&order) {
            prop_assert!((1..=farm_core::control::MAX_SLOTS).contains(&order.slots));
        }
    }
}
