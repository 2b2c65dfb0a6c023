//! Ten times as many tasks as the workers can take, for a minute.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farm_core::http::{Accepted, Ended, NDJSON};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::report::{Report, quantile};
use crate::rig::Rig;
use crate::tally;

const WORKERS: usize = 2;
const SLOTS: u32 = 2;
const SERVICE_SECONDS: f64 = 0.04;
/// What the workers can do.
const CAPACITY_PER_SECOND: f64 = WORKERS as f64 * SLOTS as f64 / SERVICE_SECONDS;
const OVERLOAD: f64 = 10.0;
/// Clients that submit one task after the other, and clients that submit jobs.
const SINGLE_CLIENTS: usize = 5;
const JOB_CLIENTS: usize = 2;
const JOB_TASKS: usize = 100;
/// Requests a client has under way at most; those beyond are not sent.
const IN_FLIGHT: usize = 64;
const QUEUE_TASKS: u32 = 1000;
/// Room for about half as many.
const QUEUE_BYTES: &str = "64KiB";
const CALM: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_millis(250);
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// What the clients heard.
#[derive(Default)]
struct Heard {
    accepted: HashMap<String, u64>,
    statuses: BTreeMap<u16, u64>,
    without_retry_after: u64,
    unanswered: u64,
    not_sent: u64,
    answer_seconds: Vec<f64>,
}

/// Once with a queue bounded in tasks, once in bytes.
pub async fn run(seconds: u64) -> Vec<Report> {
    let tasks = ("FARM_QUEUE_MAX_TASKS", QUEUE_TASKS.to_string());
    let bytes = ("FARM_QUEUE_MAX_BYTES", QUEUE_BYTES.to_owned());
    vec![
        overload("overload, queue bounded in tasks", tasks, seconds).await,
        overload("overload, queue bounded in bytes", bytes, seconds).await,
    ]
}

async fn overload(name: &'static str, bound: (&str, String), seconds: u64) -> Report {
    let mut report = Report::new(name);
    let rig = Arc::new(Rig::start(&[bound], WORKERS, SLOTS).await);
    let calm_seconds = calm(&rig).await;
    report.figure("capacity, tasks/s", CAPACITY_PER_SECOND);
    report.figure("sojourn of a task before, s", calm_seconds);
    rig.note_rest(&mut report, "before");

    let heard = Arc::new(Mutex::new(Heard::default()));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    let half_per_second = CAPACITY_PER_SECOND * OVERLOAD / 2.0;
    for _ in 0..SINGLE_CLIENTS {
        let per_second = half_per_second / SINGLE_CLIENTS as f64;
        clients.spawn(client(
            Arc::clone(&rig),
            Arc::clone(&heard),
            1,
            per_second,
            end,
        ));
    }
    for _ in 0..JOB_CLIENTS {
        let per_second = half_per_second / (JOB_CLIENTS * JOB_TASKS) as f64;
        clients.spawn(client(
            Arc::clone(&rig),
            Arc::clone(&heard),
            JOB_TASKS,
            per_second,
            end,
        ));
    }
    tokio::time::sleep_until(end.into()).await;
    let overload_ended = Instant::now();
    // Submits that had begun are heard out while the probes go.
    let recovery = recover(&rig, calm_seconds, overload_ended);
    let (recovered_seconds, _) = tokio::join!(recovery, clients.join_all());
    match recovered_seconds {
        Some(seconds) => report.figure("until a new task is as quick as before, s", seconds),
        None => report.breaks(format!("not recovered within {RECOVERS_WITHIN:?}")),
    }
    let drained = rig.drained(RECOVERS_WITHIN).await;
    report.check(drained, || "the queue does not run empty".to_owned());
    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    note(&mut report, heard, &rig, seconds).await;
    rig.note_peaks(&mut report);
    rig.note_rest(&mut report, "after");
    report
}

async fn note(report: &mut Report, mut heard: Heard, rig: &Rig, seconds: u64) {
    let sent: u64 = heard.statuses.values().sum();
    report.figure(
        "submits, per s",
        (sent + heard.unanswered) as f64 / seconds as f64,
    );
    report.figure(
        "submits not sent, for want of answers",
        heard.not_sent as f64,
    );
    for (status, count) in &heard.statuses {
        report.figure(format!("submits answered {status}"), *count as f64);
    }
    let accepted: u64 = heard.accepted.values().sum();
    report.figure("tasks accepted", accepted as f64);
    report.figure(
        "answer to a submit, p50, s",
        quantile(&mut heard.answer_seconds, 0.5),
    );
    report.figure(
        "answer to a submit, p99, s",
        quantile(&mut heard.answer_seconds, 0.99),
    );
    report.check(heard.unanswered == 0, || {
        format!("{} submits got no answer", heard.unanswered)
    });
    let others: Vec<_> = heard
        .statuses
        .keys()
        .filter(|status| ![202, 429].contains(*status))
        .collect();
    report.check(others.is_empty(), || format!("answers {others:?}"));
    report.check(heard.statuses.contains_key(&429), || "no 429".to_owned());
    report.check(heard.without_retry_after == 0, || {
        format!(
            "{} times 429 without Retry-After",
            heard.without_retry_after
        )
    });
    let all = tally::outcomes(&rig.on_nats).await;
    tally::check_each_once(report, &heard.accepted, &all);
    let failed = all.iter().filter(|stored| stored.failed).count();
    report.check(failed == 0, || format!("{failed} tasks failed"));
    let keys = rig.on_nats.job_keys().await.len();
    report.figure("keys in the jobs bucket", keys as f64);
}

/// Submits jobs of `tasks` at a steady pace, whether or not the earlier ones are answered.
async fn client(
    rig: Arc<Rig>,
    heard: Arc<Mutex<Heard>>,
    tasks: usize,
    per_second: f64,
    end: Instant,
) {
    let mut pace = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let turns = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut under_way = JoinSet::new();
    let line = json!({"seconds": SERVICE_SECONDS}).to_string() + "\n";
    let body = line.repeat(tasks);
    while Instant::now() < end {
        pace.tick().await;
        while under_way.try_join_next().is_some() {}
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .not_sent += 1;
            continue;
        };
        let request = rig.http.post(rig.url("/")).body(body.clone());
        let request = request.header("content-type", NDJSON);
        let heard = Arc::clone(&heard);
        under_way.spawn(async move {
            submit(request, &heard).await;
            drop(turn);
        });
    }
    under_way.join_all().await;
}

async fn submit(request: reqwest::RequestBuilder, heard: &Mutex<Heard>) {
    let sent = Instant::now();
    let answer = request.send().await;
    let answer_seconds = sent.elapsed().as_secs_f64();
    let mut seen = None;
    if let Ok(answer) = answer {
        let status = answer.status().as_u16();
        let retry_after = answer.headers().contains_key("retry-after");
        let accepted: Option<Accepted> = answer.json().await.ok();
        seen = Some((status, retry_after, accepted));
    }
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    heard.answer_seconds.push(answer_seconds);
    let Some((status, retry_after, accepted)) = seen else {
        heard.unanswered += 1;
        return;
    };
    *heard.statuses.entry(status).or_default() += 1;
    heard.without_retry_after += u64::from(status == 429 && !retry_after);
    if let (202, Some(accepted)) = (status, accepted) {
        heard
            .accepted
            .insert(accepted.job.to_string(), accepted.accepted);
    }
}

/// The sojourn of one task, or `None` if it was refused or took very long.
async fn probe(http: reqwest::Client, url: String) -> Option<f64> {
    let task = json!({"seconds": SERVICE_SECONDS});
    let answer = http.post(url).json(&task).send().await.ok()?;
    let ended: Ended = answer.json().await.ok()?;
    Some(ended.results?.first()?.sojourn_seconds)
}

/// The median sojourn while nothing else is going on.
async fn calm(rig: &Rig) -> f64 {
    let end = Instant::now() + CALM;
    let mut sojourns = Vec::new();
    while Instant::now() < end {
        sojourns.extend(probe(rig.http.clone(), rig.url("/?wait=30s")).await);
        tokio::time::sleep(PROBE / 5).await;
    }
    quantile(&mut sojourns, 0.5)
}

/// Seconds from the end of the overload to the first task that is as quick as before.
async fn recover(rig: &Rig, calm_seconds: f64, since: Instant) -> Option<f64> {
    let mut probes = JoinSet::new();
    // A probe that waits must not keep the next from being sent.
    while since.elapsed() < RECOVERS_WITHIN {
        let sent_seconds = since.elapsed().as_secs_f64();
        let sojourn = probe(rig.http.clone(), rig.url("/?wait=30s"));
        probes.spawn(async move { (sent_seconds, sojourn.await) });
        tokio::time::sleep(PROBE).await;
        while let Some(probed) = probes.try_join_next() {
            if let Ok((sent_seconds, Some(sojourn_seconds))) = probed
                && sojourn_seconds <= 2.0 * calm_seconds
            {
                return Some(sent_seconds);
            }
        }
    }
    None
}
