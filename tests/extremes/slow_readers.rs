//! Readers that hardly read, beside some that do.

use std::time::{Duration, Instant};

use farm_tests::{peak_resident_bytes, resident_bytes};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::report::{Report, quantile};
use crate::rig::Rig;

const FAST: usize = 5;
const RESULTS_BYTES: usize = 200_000_000;
const SOON: Duration = Duration::from_secs(300);
const RESUMING: usize = 3;
/// For the rest of what such a reader reads; the fast ones take seconds.
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);
const TRICKLE_BYTES: usize = 1024;
const TRICKLE: Duration = Duration::from_millis(500);

/// Small results, then large ones; some of the readers go on after a pause, which should be longer
/// than the half minute for which the server keeps a consumer whose reader is silent.
pub async fn run(readers: usize, pause_seconds: u64) -> Vec<Report> {
    let pause = Duration::from_secs(pause_seconds);
    vec![
        slow("slow readers, results of 10 kB", 10_000, readers, pause).await,
        slow("slow readers, results of 200 kB", 200_000, readers, pause).await,
    ]
}

async fn slow(name: &'static str, payload_bytes: usize, readers: usize, pause: Duration) -> Report {
    let mut report = Report::new(name);
    let rig = Rig::start(&[], 2, 4).await;
    let tasks = RESULTS_BYTES / payload_bytes;
    let task = json!({"payload_bytes": payload_bytes});
    let accepted = rig.front.http.submit_lines(vec![task; tasks]).await;
    let job = accepted.job.to_string();
    if rig.ended(&job, SOON).await.is_none() {
        report.breaks("the job does not end".to_owned());
        return report;
    }
    let path = format!("/jobs/{job}/results");
    let emitter = rig.front.process.id();
    report.figure("results", tasks as f64);
    let alone = read_fast(&rig, &path, tasks, &mut report).await;
    report.figure("fast reader, alone, median, s", alone);
    report.megabytes(
        "emitter, peak, fast readers alone",
        peak_resident_bytes(emitter),
    );

    let mut idle = Vec::new();
    let mut trickling = JoinSet::new();
    for reader in 0..readers {
        let connection = ask(&rig, &path).await;
        if reader % 2 == 0 {
            idle.push(connection);
        } else {
            trickling.spawn(trickle(connection));
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let beside = read_fast(&rig, &path, tasks, &mut report).await;
    report.figure(
        format!("fast reader, beside {readers} slow ones, median, s"),
        beside,
    );
    report.megabytes("emitter, with slow readers", resident_bytes(emitter));
    report.megabytes("emitter, peak", peak_resident_bytes(emitter));
    report.megabytes(
        "nats-server, with slow readers",
        resident_bytes(rig.nats.process_id()),
    );

    tokio::time::sleep(pause).await;
    report.megabytes(
        format!("emitter, {} s later", pause.as_secs()),
        resident_bytes(emitter),
    );
    let mut going_on = JoinSet::new();
    for connection in idle.drain(..RESUMING.min(idle.len())) {
        going_on.spawn(tokio::time::timeout(GOES_ON_WITHIN, read_rest(connection)));
    }
    report.figure("readers that paused and went on", going_on.len() as f64);
    let mut complete = 0;
    for lines in going_on.join_all().await {
        complete += usize::from(lines == Ok(Some(tasks)));
        report.check(lines == Ok(Some(tasks)), || {
            format!("a reader that paused {pause:?} got {lines:?} of {tasks} lines")
        });
    }
    report.figure("of these got all", complete as f64);
    trickling.shutdown().await;
    drop(idle);
    tokio::time::sleep(Duration::from_secs(5)).await;
    report.megabytes("emitter, when they have gone", resident_bytes(emitter));
    let consumers = rig.on_nats.consumers().await;
    report.figure("consumers when they have gone", consumers as f64);
    report
}

/// The median time of some readers at once, each of which must get all.
async fn read_fast(rig: &Rig, path: &str, tasks: usize, report: &mut Report) -> f64 {
    let mut reading = JoinSet::new();
    for _ in 0..FAST {
        let connection = ask(rig, path).await;
        reading.spawn(async move {
            let started = Instant::now();
            let lines = tokio::time::timeout(SOON, read_rest(connection)).await;
            (started.elapsed().as_secs_f64(), lines)
        });
    }
    let mut seconds = Vec::new();
    for (took, lines) in reading.join_all().await {
        report.check(lines == Ok(Some(tasks)), || {
            format!("a fast reader got {lines:?} of {tasks} lines")
        });
        seconds.push(took);
    }
    quantile(&mut seconds, 0.5)
}

/// A connection of its own, on which the answer is under way.
async fn ask(rig: &Rig, path: &str) -> TcpStream {
    let address = rig.front.http.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let sent = connection.write_all(request.as_bytes()).await;
    sent.expect("a request can be sent");
    connection
}

async fn trickle(mut connection: TcpStream) {
    let mut piece = [0; TRICKLE_BYTES];
    while connection.read_exact(&mut piece).await.is_ok() {
        tokio::time::sleep(TRICKLE).await;
    }
}

/// Counts the results up to the regular end of the answer; `None` if it is broken off.
async fn read_rest(mut connection: TcpStream) -> Option<usize> {
    const MARK: &[u8] = b"\"task\":";
    let mut piece = vec![0; 256 << 10];
    let mut carried = Vec::new();
    let mut count = 0;
    loop {
        let length = connection.read(&mut piece).await.ok()?;
        if length == 0 {
            // The last chunk of a body that is whole.
            return carried.ends_with(b"0\r\n\r\n").then_some(count);
        }
        carried.extend_from_slice(&piece[..length]);
        count += occurrences(&carried, MARK);
        // A mark may be cut in two; what stays is shorter than one.
        let keep = carried.len().min(MARK.len() - 1);
        carried.drain(..carried.len() - keep);
    }
}

fn occurrences(text: &[u8], mark: &[u8]) -> usize {
    text.windows(mark.len())
        .filter(|window| *window == mark)
        .count()
}
