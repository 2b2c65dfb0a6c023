//! A stand-in for a farm function, without dependencies: its probes, its state and its metrics are
//! right, and `DEFECT` names the one thing that is not.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;

const STATUS: &str = r#"{"farm":"f","roles":"worker","version":"0.1.0","backlog_tasks":0,"in_flight_tasks":0,"result_tasks":0,"dead_tasks":0,"queue_max_tasks":1}"#;
const METRICS: &str = "farm_task_service_seconds_count 0
farm_task_sojourn_seconds_count 0
farm_tasks_with_deadline_total 0
farm_tasks_in_deadline_total 0
farm_qos_ratio 1
farm_slots 1
farm_slots_busy 0
farm_backlog_tasks 0
farm_in_flight_tasks 0
farm_dead_tasks 0
farm_cold_start_seconds 0
http_requests_total 1
http_request_duration_seconds_count 1
http_requests_in_flight 0
";

fn has(defect: &str) -> bool {
    env::var("DEFECT").is_ok_and(|found| found == defect)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| refuse(name))
}

fn refuse(name: &str) -> ! {
    if has("names no variable") {
        eprintln!("cannot start");
    } else {
        eprintln!("{name} cannot be used");
    }
    process::exit(1)
}

fn main() {
    let slots = env::var("FARM_SLOTS").unwrap_or_else(|_| "1".into());
    if slots.parse::<u32>().is_err() && !has("bad value accepted") {
        refuse("FARM_SLOTS");
    }
    let nats = variable("FARM_NATS_URL").replace("nats://", "");
    if has("long line") {
        println!("{}", "x".repeat(1 << 20));
    }
    let metrics = listen("FARM_METRICS_PORT");
    std::thread::spawn(move || serve(metrics, |_| {
        let text = if has("metrics") { "<html>" } else { METRICS };
        (200, text.into())
    }));
    serve(listen("FARM_HTTP_PORT"), move |path| answer(path, &nats));
}

fn answer(path: &str, nats: &str) -> (u16, String) {
    let connected = TcpStream::connect(nats).is_ok();
    match path {
        "/_/health" if has("health 500") => (500, String::new()),
        "/_/health" if has("sick without NATS") && !connected => (503, String::new()),
        "/_/health" => (200, "OK".into()),
        "/_/ready" if connected || has("always ready") => (200, "OK".into()),
        "/_/ready" => (503, "not connected".into()),
        "/" if has("status") => (200, "{}".into()),
        "/" => (200, STATUS.into()),
        _ => (404, String::new()),
    }
}

fn listen(port: &str) -> TcpListener {
    TcpListener::bind(format!("127.0.0.1:{}", variable(port))).expect("a free port")
}

fn serve(listener: TcpListener, answer: impl Fn(&str) -> (u16, String)) {
    for mut connection in listener.incoming().flatten() {
        let mut head = Vec::new();
        let mut part = [0; 4096];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match connection.read(&mut part) {
                Ok(count @ 1..) => head.extend_from_slice(&part[..count]),
                _ => break,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let (status, body) = answer(head.split(' ').nth(1).unwrap_or_default());
        let _ = write!(
            connection,
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
}
