//! Slots follow orders at once, and replicas tell what they do.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use farm_core::control::{MAX_SLOTS, SlotsOrder};
use farm_core::telemetry::WorkerTelemetry;
use farm_tests::{
    Access, FarmOnNats, Function, NatsServer, Replica, eventually, holds_for, within,
};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// Five orders take effect far sooner; this is for a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(3);
const IGNORED: &str = "ignored an order of slots";

/// What the replicas of a farm say of themselves.
struct Reports {
    subscriber: Subscriber,
}

impl Reports {
    async fn of(on_nats: &FarmOnNats) -> Self {
        let subject = on_nats.topology.telemetry_subject();
        let subscriber = on_nats.client.subscribe(subject).await.unwrap();
        on_nats.client.flush().await.unwrap();
        Self { subscriber }
    }

    async fn next(&mut self) -> WorkerTelemetry {
        let report = within("a report", SOON, self.subscriber.next()).await;
        serde_json::from_slice(&report.unwrap().payload).unwrap()
    }

    async fn until(
        &mut self,
        what: &str,
        holds: impl Fn(&WorkerTelemetry) -> bool,
    ) -> WorkerTelemetry {
        within(what, SOON, async {
            loop {
                let report = self.next().await;
                if holds(&report) {
                    return report;
                }
            }
        })
        .await
    }
}

async fn publish(on_nats: &FarmOnNats, order: impl Into<String>) {
    let subject = on_nats.topology.control_slots_subject();
    let order = order.into().into();
    let stored = on_nats.jetstream.publish(subject, order).await;
    stored.unwrap().await.expect("the order is kept");
}

async fn order(on_nats: &FarmOnNats, slots: u32) {
    let by = "the test".to_owned();
    let order = serde_json::to_string(&SlotsOrder { slots, by }).unwrap();
    publish(on_nats, order).await;
}

/// A replica that takes jobs in, and the function whose replicas compute them.
async fn front_and_worker(nats: &NatsServer) -> (Replica, Function, FarmOnNats) {
    let sleeper = Function::sleeper(nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let on_nats = FarmOnNats::connect(nats, &sleeper).await;
    let worker = sleeper.roles("worker");
    (
        front,
        worker.set("FARM_TELEMETRY_INTERVAL", "50ms"),
        on_nats,
    )
}

fn sleeping(seconds: f64, tasks: usize) -> Vec<Value> {
    vec![json!({ "seconds": seconds }); tasks]
}

#[tokio::test]
async fn an_order_reaches_running_replicas_at_once() {
    let nats = NatsServer::start().await;
    let (front, worker, on_nats) = front_and_worker(&nats).await;
    let replicas = worker.start_many(2).await;
    front.http.submit(&sleeping(60.0, 20)).await;
    let mut reports = Reports::of(&on_nats).await;
    for replica in &replicas {
        let busy = |r: &WorkerTelemetry| r.replica == replica.name() && r.busy_slots == 1;
        reports.until("a slot is busy", busy).await;
    }

    // One after the other, so that what looks around once a second is found out.
    let mut taken = Vec::new();
    for slots in [2, 4, 6, 8, 10] {
        let ordered = Instant::now();
        order(&on_nats, slots).await;
        let obeys = |r: &WorkerTelemetry| r.slots == slots && r.busy_slots == slots;
        let first = reports.until("busy slots of one", obeys).await.replica;
        let other = |r: &WorkerTelemetry| r.replica != first && obeys(r);
        reports.until("busy slots of the other", other).await;
        taken.push(ordered.elapsed());
    }
    eprintln!("from an order to the report of busy slots: {taken:?}");
    assert!(taken.iter().sum::<Duration>() < AT_ONCE, "{taken:?}");
    let metrics = replicas[0].metrics().await;
    assert_eq!(metrics.sum("farm_slots", &[]), Some(10.0));
    assert_eq!(metrics.sum("farm_slots_busy", &[]), Some(10.0));
}

#[tokio::test]
async fn a_new_replica_starts_with_the_slots_that_were_ordered() {
    let nats = NatsServer::start().await;
    let (front, worker, on_nats) = front_and_worker(&nats).await;
    front.http.submit(&sleeping(60.0, 20)).await;
    order(&on_nats, 3).await;
    order(&on_nats, 2).await;
    let mut reports = Reports::of(&on_nats).await;

    let _replica = worker.set("FARM_SLOTS", 8).start().await;

    let first = reports.next().await;
    assert_eq!((first.sequence, first.slots), (1, 2));
    reports.until("both are busy", |r| r.busy_slots == 2).await;
    holds_for("no more is taken", Duration::from_secs(1), async || {
        on_nats.deliveries().await == 2
    })
    .await;
}

#[tokio::test]
async fn fewer_slots_let_running_tasks_finish_and_lose_nothing() {
    const TASKS: u64 = 12;
    let nats = NatsServer::start().await;
    let (front, worker, on_nats) = front_and_worker(&nats).await;
    let _replica = worker.set("FARM_SLOTS", 6).start().await;
    let mut reports = Reports::of(&on_nats).await;
    let job = front.http.submit(&sleeping(0.5, TASKS as usize)).await.job;
    reports.until("six are busy", |r| r.busy_slots == 6).await;

    order(&on_nats, 1).await;
    reports.until("one slot", |r| r.slots == 1).await;
    reports.until("one is busy", |r| r.busy_slots == 1).await;
    let end = reports
        .until("all is done", |r| {
            assert!(r.busy_slots <= 1, "{r:?}");
            r.tasks_done == TASKS
        })
        .await;

    assert_eq!(end.slots, 1);
    assert_eq!(front.http.ended(&job, SOON).await.done, TASKS);
    // What ran when the order came was neither given up nor computed twice.
    assert_eq!(on_nats.deliveries().await, TASKS);
}

#[tokio::test]
async fn an_idle_replica_takes_back_what_it_asked_for_with_more_slots() {
    let nats = NatsServer::start().await;
    let (front, worker, on_nats) = front_and_worker(&nats).await;
    let _replica = worker.set("FARM_SLOTS", 50).start().await;
    let mut reports = Reports::of(&on_nats).await;
    reports.next().await;

    order(&on_nats, 1).await;
    reports.until("one slot", |r| r.slots == 1).await;
    front.http.submit(&sleeping(60.0, 20)).await;

    reports.until("it is busy", |r| r.busy_slots == 1).await;
    holds_for("no more is taken", Duration::from_secs(1), async || {
        on_nats.deliveries().await == 1
    })
    .await;
}

#[tokio::test]
async fn an_order_given_while_replicas_were_cut_off_holds_when_they_are_back() {
    let mut nats = NatsServer::start().await;
    let (_front, worker, on_nats) = front_and_worker(&nats).await;
    let _cut_off = worker.start().await;
    let mut reports = Reports::of(&on_nats).await;
    assert_eq!(reports.next().await.slots, 1);

    // The same server and store, but only the test is let in.
    nats.options_mut().access = Access::Password("test", "secret");
    nats.stop().await;
    nats.start_again().await;
    order(&FarmOnNats::connect(&nats, &worker).await, 7).await;
    nats.options_mut().access = Access::Open;
    nats.stop().await;
    nats.start_again().await;

    let on_nats = FarmOnNats::connect(&nats, &worker).await;
    let mut reports = Reports::of(&on_nats).await;
    reports.until("seven slots", |r| r.slots == 7).await;
    let newcomer = worker.start().await;
    let of_newcomer = |r: &WorkerTelemetry| r.replica == newcomer.name();
    assert_eq!(reports.until("a report", of_newcomer).await.slots, 7);
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_ignored_with_a_warning() {
    let nats = NatsServer::start().await;
    let (_front, worker, on_nats) = front_and_worker(&nats).await;
    let worker = worker.set("FARM_SLOTS", 3);
    let replica = worker.start().await;
    let mut reports = Reports::of(&on_nats).await;
    let too_many = format!(r#"{{"slots":{}}}"#, MAX_SLOTS + 1);
    let nonsense = [r#"{"slots":0}"#, "lots", &too_many];
    for order in nonsense {
        publish(&on_nats, order).await;
    }
    order(&on_nats, 4).await;

    let changed = reports.until("other slots", |r| r.slots != 3).await;
    assert_eq!(changed.slots, 4);
    warned(&replica, nonsense.len()).await;
    drop(replica);

    publish(&on_nats, "lots").await;
    let newcomer = worker.start().await;
    let of_newcomer = |r: &WorkerTelemetry| r.replica == newcomer.name();
    assert_eq!(reports.until("a report", of_newcomer).await.slots, 3);
    warned(&newcomer, 1).await;
}

/// What a process writes is read a moment after it was written.
async fn warned(replica: &Replica, times: usize) {
    eventually("the warnings", SOON, async || {
        let said = replica.process.output();
        (said.matches(IGNORED).count() == times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reports_add_up_to_what_was_done() {
    let nats = NatsServer::start().await;
    let (front, worker, on_nats) = front_and_worker(&nats).await;
    let mut reports = Reports::of(&on_nats).await;
    let replica = worker.set("FARM_SLOTS", 6).start().await;
    let mut tasks = sleeping(0.1, 4);
    tasks.extend([json!({"seconds": 2.5}), json!({"fail": "permanent"})]);
    let request = front.http.request(Method::POST, "/").json(&tasks);
    let job = front
        .http
        .submitted(request.header("farm-deadline", "2s"))
        .await
        .job;

    let mut longest_seconds: f64 = 0.0;
    let mut last = reports.next().await;
    assert_eq!((last.sequence, last.replica.as_str()), (1, replica.name()));
    assert!((0.001..30.0).contains(&last.cold_start_seconds), "{last:?}");
    let all_settled = |r: &WorkerTelemetry| r.tasks_done + r.tasks_failed == 6;
    // Once more after the last outcome: then nothing is recent any more.
    let mut more = 1;
    while more > 0 {
        more -= usize::from(all_settled(&last));
        let report = reports.next().await;
        assert_eq!(report.sequence, last.sequence + 1);
        assert!(report.sent_seconds >= last.sent_seconds);
        assert!(report.busy_slots <= report.slots && !report.draining);
        longest_seconds = longest_seconds.max(report.service.recent_max_seconds);
        last = report;
    }

    assert_eq!((last.tasks_done, last.tasks_failed), (5, 1));
    assert_eq!((last.with_deadline, last.in_deadline), (6, 4));
    assert_eq!((last.service.count, last.sojourn.count), (5, 6));
    assert_eq!(last.service.recent_max_seconds, 0.0);
    assert!((2.5..10.0).contains(&longest_seconds), "{longest_seconds}");
    let results = front.http.results(&job).await;
    let stored = results.iter().filter(|result| result.error.is_none());
    let served_seconds: f64 = stored.clone().map(|result| result.service_seconds).sum();
    let squared: f64 = stored.map(|result| result.service_seconds.powi(2)).sum();
    assert!((last.service.sum_seconds - served_seconds).abs() < 1e-3);
    assert!((last.service.sum_squared_seconds - squared).abs() < 1e-2);
    assert!(last.sojourn.sum_seconds >= last.service.sum_seconds);
}

#[tokio::test]
async fn a_replica_that_drains_says_so_at_once_and_what_it_did_at_last() {
    let nats = NatsServer::start().await;
    let (front, worker, on_nats) = front_and_worker(&nats).await;
    let mut reports = Reports::of(&on_nats).await;
    // Nothing but a change makes it report.
    let mut replica = worker.set("FARM_TELEMETRY_INTERVAL", "1h").start().await;
    assert!(!reports.next().await.draining);
    front.http.submit(&sleeping(1.0, 1)).await;
    eventually("the task runs", SOON, async || {
        (replica.metrics().await.sum("farm_slots_busy", &[]) == Some(1.0)).then_some(())
    })
    .await;

    replica.terminate();
    let told = reports.next().await;
    assert_eq!((told.sequence, told.draining), (2, true));
    assert_eq!((told.busy_slots, told.tasks_done), (1, 0));
    let last = reports.next().await;
    assert_eq!((last.sequence, last.draining), (3, true));
    assert_eq!((last.busy_slots, last.tasks_done), (0, 1));
    assert_eq!(replica.exit(SOON).await.code(), Some(0));
}
