//! With the permissions that `farm permissions` prints a farm does all it can do, and a role that
//! is taken over can do no more than its own work.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::{ConnectOptions, HeaderMap};
use farm_core::http::{Purged, Replayed};
use farm_core::permissions::AUTOSCALER_INBOX_PREFIX;
use farm_tests::nats_access::{password, permissions, secrets_of};
use farm_tests::{
    FarmOnNats, Function, NatsOptions, NatsServer, Receiver, Replica, eventually, within,
};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::start_up::{assert_says, complaint};

const SOON: Duration = Duration::from_secs(60);
const DENIED: &str = "does not let these credentials";

/// A server with the users of these farms.
async fn server(farms: &[&str]) -> NatsServer {
    let arguments: Vec<&str> = farms.iter().flat_map(|farm| ["--farm", farm]).collect();
    let options = NatsOptions {
        access: permissions(&arguments),
        ..NatsOptions::default()
    };
    NatsServer::start_with(options).await
}

/// A function with the credentials of one role's user.
struct Part {
    function: Function,
    _secrets: TempDir,
}

impl Part {
    /// Plays `roles` with the credentials of `user`.
    fn new(function: Function, roles: &str, user: &str) -> Self {
        let secrets = secrets_of(user);
        let function = function
            .roles(roles)
            .set("FARM_SECRETS_DIR", secrets.path().display());
        Self {
            function,
            _secrets: secrets,
        }
    }

    fn of(function: &Function, farm: &str, role: &str) -> Self {
        let function = function.clone().set("FARM_NAME", farm);
        Self::new(function, role, &format!("farm-{farm}-{role}"))
    }
}

async fn set_up(function: &Function, farm: &str) {
    let setup = Part::of(function, farm, "setup");
    let mut replica = setup.function.spawn();
    let exit = replica.exit(SOON).await;
    assert!(exit.success(), "{}", replica.process.output());
}

/// Every role in a replica of its own, each with its own user.
struct Farm {
    emitter: Replica,
    worker: Replica,
    collectors: Vec<Replica>,
    on_nats: FarmOnNats,
    _parts: Vec<Part>,
}

impl Farm {
    async fn start(nats: &NatsServer, function: Function, farm: &str) -> Self {
        set_up(&function, farm).await;
        let parts: Vec<_> = ["emitter", "worker", "collector"]
            .map(|role| Part::of(&function, farm, role))
            .into();
        Self {
            emitter: parts[0].function.start().await,
            worker: parts[1].function.start().await,
            collectors: parts[2].function.start_many(2).await,
            on_nats: FarmOnNats::connect(nats, &function.set("FARM_NAME", farm)).await,
            _parts: parts,
        }
    }

    /// Nothing a farm does is denied.
    fn assert_undisturbed(&self) {
        let all = self.collectors.iter().chain([&self.emitter, &self.worker]);
        for replica in all {
            let log = replica.process.output();
            assert!(!log.contains(DENIED), "{}: {log}", replica.name());
        }
    }
}

fn picture() -> Value {
    json!({
        "centre": {"re": -0.5, "im": 0.0}, "width": 3.0,
        "width_pixels": 32, "height_pixels": 32, "tile_pixels": 8,
        "max_iterations": 100, "samples_per_side": 1,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_that_folds_works_with_a_user_for_each_role() {
    let nats = server(&["pictures"]).await;
    let mut farm = Farm::start(&nats, Function::mandelbrot(&nats), "pictures").await;
    let receiver = Receiver::start().await;
    let request = farm.emitter.http.request(Method::POST, "/");
    let request = request.header("x-callback-url", receiver.url());
    let request = request.header("idempotency-key", "once");
    let job = farm
        .emitter
        .http
        .submitted(request.json(&picture()))
        .await
        .job;
    let status = farm.emitter.http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (16, 0));
    assert_eq!(farm.emitter.http.results(&job).await.len(), 16);
    let path = format!("/jobs/{job}/summary");
    let summary: Value = farm.emitter.http.json(Method::GET, &path).await;
    assert!(summary.is_object(), "{summary}");
    receiver.wait_for(1, SOON).await;

    // The other collector takes over.
    let leader = farm.on_nats.leader().await.expect("one leads");
    let position = farm.collectors.iter().position(|c| c.name() == leader);
    farm.collectors[position.unwrap()].kill();
    let job = farm.emitter.http.submit(&picture()).await.job;
    farm.emitter.http.ended(&job, SOON).await;
    farm.assert_undisturbed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_with_failures_orders_and_cancellations_works_so() {
    let nats = server(&["nap"]).await;
    let sleeper = Function::sleeper(&nats)
        .set("FARM_BACKOFF", "20ms")
        .set("FARM_MAX_ATTEMPTS", 2)
        // What fails among others is tried again alone.
        .set("FARM_GRANULARITY", 64)
        .set("FARM_TELEMETRY_INTERVAL", "100ms");
    let farm = Farm::start(&nats, sleeper, "nap").await;
    let telemetry = farm.on_nats.topology.telemetry_subject();
    let mut reports = farm.on_nats.client.subscribe(telemetry).await.unwrap();
    let http = &farm.emitter.http;

    let request = http.request(Method::POST, "/?wait=30s");
    let answer = request.json(&json!([{"seconds": 0.0}])).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    let tasks = json!([
        {"seconds": 0.01}, {"seconds": 0.01, "fail": "permanent"},
        {"seconds": 0.01, "fail": "transient"}, {"seconds": 0.01, "fail": "panic"},
    ]);
    let job = http.submit(&tasks).await.job;
    let status = http.ended(&job, SOON).await;
    assert_eq!((status.done, status.failed), (1, 3));
    let letters = http.dead(&job).await;
    assert_eq!(letters.len(), 3);
    let _: Value = http
        .json(Method::GET, &format!("/dead/{}", letters[0].task))
        .await;
    let path = format!("/dead/{}/replay", letters[0].task);
    assert_eq!(http.json::<Replayed>(Method::POST, &path).await.replayed, 1);
    eventually("it fails again", SOON, async || {
        let letters = http.dead(&job).await;
        let again = letters.iter().any(|letter| letter.replays == 1);
        again.then_some(())
    })
    .await;
    let path = format!("/dead/replay?job={job}");
    assert_eq!(http.json::<Replayed>(Method::POST, &path).await.replayed, 3);
    eventually("all failed again", SOON, async || {
        let letters = http.dead(&job).await;
        let again = letters.len() == 3 && letters.iter().all(|letter| letter.replays >= 1);
        again.then_some(())
    })
    .await;
    let path = format!("/dead/{}", letters[0].task);
    assert_eq!(http.json::<Purged>(Method::DELETE, &path).await.purged, 1);
    let path = format!("/dead?job={job}");
    assert_eq!(http.json::<Purged>(Method::DELETE, &path).await.purged, 2);

    let order = farm.on_nats.topology.control_slots_subject();
    let order = farm
        .on_nats
        .jetstream
        .publish(order, r#"{"slots":3,"by":"test"}"#.into());
    order.await.unwrap().await.unwrap();
    within("a report of three slots", SOON, async {
        while let Some(report) = reports.next().await {
            let report: Value = serde_json::from_slice(&report.payload).unwrap();
            if report["slots"] == 3 {
                return;
            }
        }
    })
    .await;

    let slow = vec![json!({"seconds": 0.5}); 50];
    let job = http.submit(&slow).await.job;
    let path = format!("/jobs/{job}");
    let cancelled: Value = http.json(Method::DELETE, &path).await;
    assert_eq!(cancelled["state"], "cancelled");
    eventually("nothing is queued", SOON, async || {
        (http.farm().await.in_flight_tasks == 0).then_some(())
    })
    .await;
    let measured = farm.worker.metrics().await;
    assert!(measured.names().any(|name| name == "farm_backlog_tasks"));
    farm.assert_undisturbed();
}

/// Somebody who got hold of the credentials of a role.
struct Thief {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    heard: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Thief {
    async fn of(nats: &NatsServer, farm: &str, role: &str) -> Self {
        let user = format!("farm-{farm}-{role}");
        Self::with(nats, &user, &format!("_INBOX_farm.{farm}.{role}")).await
    }

    async fn with(nats: &NatsServer, user: &str, inbox_prefix: &str) -> Self {
        let (told, heard) = tokio::sync::mpsc::unbounded_channel();
        let client = ConnectOptions::with_user_and_password(user.to_owned(), password(user))
            .custom_inbox_prefix(inbox_prefix)
            .event_callback(move |event| {
                let _ = told.send(event.to_string());
                std::future::ready(())
            })
            .connect(nats.url())
            .await
            .unwrap();
        Self {
            jetstream: jetstream::new(client.clone()),
            client,
            heard,
        }
    }

    async fn is_denied(&mut self, what: &str) {
        let denied = within(what, SOON, async {
            while let Some(event) = self.heard.recv().await {
                if event.contains("Permissions Violation") {
                    return event;
                }
            }
            "no violation".to_owned()
        });
        let denied = denied.await;
        assert!(denied.contains(what), "{what}: {denied}");
    }

    async fn may_not_publish(&mut self, subject: &str) {
        self.client
            .publish(subject.to_owned(), "{}".into())
            .await
            .unwrap();
        self.is_denied(subject).await;
    }

    async fn may_not_listen(&mut self, subject: &str) {
        let _subscriber = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.is_denied(subject).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_worker_reaches_no_other_farm_and_no_stream() {
    let nats = server(&["a", "a-b"]).await;
    let sleeper = Function::sleeper(&nats);
    for farm in ["a", "a-b"] {
        set_up(&sleeper, farm).await;
    }
    let mut thief = Thief::of(&nats, "a", "worker").await;
    // What it may: look at its own queue.
    thief.jetstream.get_stream("farm-a-tasks").await.unwrap();

    for request in [
        "CREATE",
        "UPDATE",
        "DELETE",
        "PURGE",
        "MSG.DELETE",
        "MSG.GET",
        "SNAPSHOT",
    ] {
        for stream in ["farm-a-tasks", "farm-a-results", "farm-a-b-results", "mine"] {
            let subject = format!("$JS.API.STREAM.{request}.{stream}");
            thief.may_not_publish(&subject).await;
        }
    }
    for subject in [
        "$JS.API.CONSUMER.CREATE.farm-a-tasks",
        "$JS.API.CONSUMER.CREATE.farm-a-tasks.workers",
        "$JS.API.CONSUMER.CREATE.farm-a-results.x.farm.a.result.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.farm-a-tasks.workers",
        "$JS.API.CONSUMER.DELETE.farm-a-tasks.workers",
        "$JS.API.CONSUMER.MSG.NEXT.farm-a-b-tasks.workers",
        "$JS.API.CONSUMER.INFO.farm-a-b-tasks.workers",
        "$JS.API.STREAM.INFO.farm-a-b-tasks",
        "$JS.API.STREAM.LIST",
        "$JS.API.DIRECT.GET.farm-a-b-results.farm.a-b.result.j.0",
        "$JS.API.DIRECT.GET.KV_farm-a-jobs.$KV.farm-a-jobs.j.spec",
        "$JS.ACK.farm-a-b-tasks.workers.1.1.1.1.1",
        "farm.a.control.slots",
        "farm.a-b.task.j",
        "farm.a-b.result.j.0",
        "farm.a-b.dead.j.0",
        "farm.a-b.telemetry",
        "$KV.farm-a-jobs.j.cancel",
        "$KV.farm-a-lease.collector",
        "$KV.farm-a-b-attempts.j.0.0",
    ] {
        thief.may_not_publish(subject).await;
    }
    for subject in [
        ">",
        "farm.>",
        "farm.*.result.*.*",
        "farm.a.task.*",
        "farm.a-b.result.*.*",
        "farm.a-b.control.slots",
        "_INBOX.>",
        "_INBOX_farm.>",
        "_INBOX_farm.a.emitter.>",
        "_INBOX_farm.a-b.worker.>",
        "$KV.farm-a-jobs.>",
        "$JS.>",
    ] {
        thief.may_not_listen(subject).await;
    }
    // And it did not matter.
    for stream in ["farm-a-tasks", "farm-a-b-tasks", "farm-a-b-results"] {
        let client = nats.client().await;
        let stream = jetstream::new(client).get_stream(stream).await.unwrap();
        assert_eq!(stream.cached_info().state.messages, 0);
    }
}

/// A message that asks to replace others replaces all of a bucket, whatever its subject.
#[tokio::test]
async fn whoever_may_write_a_key_cannot_erase_its_bucket() {
    let nats = server(&["a"]).await;
    set_up(&Function::sleeper(&nats), "a").await;
    let all = jetstream::new(nats.client().await);
    for (role, bucket, key) in [
        ("worker", "farm-a-attempts", "j.0"),
        ("emitter", "farm-a-jobs", "j.cancel"),
        ("collector", "farm-a-jobs", "j.progress"),
        ("collector", "farm-a-lease", "collector"),
        ("autoscaler", "farm-autoscaler-lease", "ns/leader"),
    ] {
        let kept = all.get_key_value(bucket).await.unwrap();
        kept.put("victim", "kept".into()).await.unwrap();
        let thief = match role {
            "autoscaler" => Thief::with(&nats, "farm-autoscaler", AUTOSCALER_INBOX_PREFIX).await,
            role => Thief::of(&nats, "a", role).await,
        };
        let subject = format!("$KV.{bucket}.{key}");
        for what in ["all", "sub"] {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Rollup", what);
            let sent = thief
                .jetstream
                .publish_with_headers(subject.clone(), headers, "".into());
            let refused = sent.await.unwrap().await.unwrap_err().to_string();
            assert!(refused.contains("rollup"), "{role}: {refused}");
        }
        // What the role is there for.
        let own = thief.jetstream.publish(subject, "".into()).await.unwrap();
        own.await.unwrap();
        let victim = kept.get("victim").await.unwrap();
        assert_eq!(victim.as_deref(), Some(&b"kept"[..]), "{role}");
    }
}

#[tokio::test]
async fn the_wrong_role_is_told_which_permissions_it_lacks() {
    let nats = server(&["nap"]).await;
    let sleeper = Function::sleeper(&nats).set("FARM_NAME", "nap");
    set_up(&sleeper, "nap").await;
    for (role, user) in [
        ("worker", "farm-nap-emitter"),
        ("emitter", "farm-nap-worker"),
        ("collector", "farm-nap-worker"),
        ("emitter,worker,collector", "farm-nap-collector"),
        ("worker", "farm-autoscaler"),
        ("setup", "farm-nap-worker"),
    ] {
        let part = Part::new(sleeper.clone(), role, user);
        let started = std::time::Instant::now();
        let said = complaint(&part.function).await;
        let advice = format!("farm permissions --farm nap --role {role}");
        assert_says(
            &said,
            &["farm nap", DENIED, "subscribe to _INBOX_farm.nap.", &advice],
        );
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_farm_that_nobody_set_up_is_waited_for() {
    let nats = server(&["nap"]).await;
    let sleeper = Function::sleeper(&nats);
    let worker = Part::of(&sleeper, "nap", "worker");
    let hasty = worker.function.clone().set("FARM_CONNECT_TIMEOUT", "1s");
    let said = complaint(&hasty).await;
    assert_says(
        &said,
        &[
            "does not exist",
            DENIED,
            "$JS.API.STREAM.CREATE.",
            "FARM_ROLE=setup",
        ],
    );

    let mut patient = worker.function.spawn();
    eventually("it was denied", SOON, async || {
        patient.process.output().contains(DENIED).then_some(())
    })
    .await;
    set_up(&sleeper, "nap").await;
    patient.ready().await;
}

#[tokio::test]
async fn a_function_that_may_not_change_limits_says_so_and_works() {
    let nats = server(&["nap"]).await;
    let sleeper = Function::sleeper(&nats).set("FARM_NAME", "nap");
    set_up(&sleeper, "nap").await;
    let emitter = Part::of(&sleeper, "nap", "emitter");
    let other = emitter.function.clone().set("FARM_QUEUE_MAX_TASKS", 7);
    let replica = other.set("FARM_ACK_WAIT", "7s").start().await;
    let log = replica.process.output();
    assert!(log.contains("keeps its limits"), "{log}");
    set_up(&sleeper.set("FARM_QUEUE_MAX_TASKS", 7), "nap").await;
    assert_eq!(replica.http.farm().await.queue_max_tasks, 7);
}

/// What lists of subjects cannot prevent: the server sends answers wherever a request says. It is
/// why docs/security.md recommends an account per farm; if this ever fails, say so there.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_wherever_its_request_says() {
    let nats = server(&["a", "b"]).await;
    let sleeper = Function::sleeper(&nats);
    for farm in ["a", "b"] {
        set_up(&sleeper, farm).await;
    }
    let thief = Thief::of(&nats, "a", "worker").await;
    let subject = "$JS.API.STREAM.INFO.farm-a-tasks";
    let reply = "farm.b.task.forged";
    let sent = thief.client.publish_with_reply(subject, reply, "".into());
    sent.await.unwrap();
    let jetstream = jetstream::new(nats.client().await);
    let stored = eventually("an answer in the queue of another farm", SOON, async || {
        let stream = jetstream.get_stream("farm-b-tasks").await.ok()?;
        (stream.cached_info().state.messages == 1).then_some(())
    });
    stored.await;
}
