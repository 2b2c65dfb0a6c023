//! Who reads results slowly holds up nobody, and little memory.

use std::time::Duration;

use farm_tests::{Function, NatsServer, Replica, peak_resident_bytes, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(60);
const TASKS: usize = 5_000;
const PAYLOAD_BYTES: usize = 10_000;
const SLOW: usize = 20;

/// A reader that has got the first of the results, and then reads no more.
async fn slow_reader(front: &Replica, path: &str) -> TcpStream {
    let address = front.http.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut piece = [0; 1024];
    connection.read_exact(&mut piece).await.expect("an answer");
    connection
}

#[tokio::test]
async fn readers_that_do_not_read_hold_up_nobody_and_little_memory() {
    let nats = NatsServer::start().await;
    let sleeper = Function::sleeper(&nats);
    let front = sleeper.clone().roles("emitter,collector").start().await;
    let worker = sleeper.clone().roles("worker").set("FARM_SLOTS", 4);
    let _worker = worker.start().await;
    let task = json!({"payload_bytes": PAYLOAD_BYTES});
    let job = front.http.submit_lines(vec![task; TASKS]).await.job;
    front.http.ended(&job, SOON).await;
    let emitter = front.process.id();
    let before_bytes = peak_resident_bytes(emitter);

    let path = format!("/jobs/{job}/results");
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(slow_reader(&front, &path).await);
    }
    let results = within("a fast reader has all", SOON, front.http.results(&job)).await;

    assert_eq!(results.len(), TASKS);
    // A reader has a few hundred results under way, never all there are: these were 1 GB.
    let grown_bytes = peak_resident_bytes(emitter) - before_bytes;
    let most_bytes = (SLOW * TASKS * PAYLOAD_BYTES / 3) as u64;
    assert!(
        grown_bytes < most_bytes,
        "{grown_bytes} bytes for slow readers"
    );
    // One that goes on gets the rest.
    let mut late = slow.remove(0);
    let mut rest = Vec::new();
    let read = within("the slow one has all", SOON, late.read_to_end(&mut rest)).await;
    read.expect("the answer goes on");
    assert!(rest.ends_with(b"0\r\n\r\n"), "the answer was broken off");
    let mark = format!("\"task\":\"{}\"", results[TASKS - 1].task);
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains(&mark), "the last result is missing");
}
