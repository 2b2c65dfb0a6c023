//! The life of a replica: it starts without NATS, gets it, loses it, has it again, and drains.

use std::time::{Duration, Instant};

use farm_local::{NatsServer, ending};
use reqwest::StatusCode;

use super::finding::{Fault, Judgement, Report};
use super::launch::{Launcher, Program, Running};
use super::probe::seen_as;
use super::{READY_WITHIN, STARTS_WITHIN, metrics, name};
use crate::failure::Failure;

const HEALTH: &str = "/_/health";
const READY: &str = "/_/ready";
/// How long NATS is away at least.
const OUTAGE: Duration = Duration::from_secs(3);
const PROBE_PERIOD: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(50);
/// What a function may take on top of its grace period to end.
const EXTRA: Duration = Duration::from_secs(2);

/// Whether an image runs with a read-only root; if not, the other checks are made without one.
pub async fn root(
    launcher: &mut Launcher,
    nats_url: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    let Program::Image { image, .. } = &launcher.program else {
        report.skip(name::ROOT, "only an image has a root filesystem of its own");
        return Ok(());
    };
    let image = image.clone();
    let started = Instant::now();
    let Err(why) = tried(launcher, nats_url).await? else {
        let why = "it runs with only /tmp to write to".to_owned();
        report.record(name::ROOT, started, Ok(why));
        return Ok(());
    };
    launcher.program = Program::Image {
        image,
        read_only: false,
    };
    match tried(launcher, nats_url).await? {
        Ok(()) => {
            let why = format!("it runs with a writable root only: {why}");
            let fault = Fault::new(why, "write nowhere but under /tmp");
            report.record(name::ROOT, started, Err(fault));
        }
        Err(_) => report.skip(name::ROOT, "it does not start either way"),
    }
    Ok(())
}

async fn tried(launcher: &Launcher, nats_url: &str) -> Result<Result<(), String>, Failure> {
    let mut running = launcher
        .launch(&[("FARM_NATS_URL", Some(nats_url))])
        .await?;
    let opened = opens(&mut running).await;
    if opened.is_err() {
        launcher.is_docker_to_blame(&mut running).await?;
    }
    Ok(opened)
}

/// Starts it where NATS is not yet; `None`, and the rest of the report, if its port never opens.
pub async fn begin(
    launcher: &Launcher,
    nats_url: &str,
    report: &mut Report,
) -> Result<Option<Running>, Failure> {
    let started = Instant::now();
    let settings = [("FARM_NATS_URL", Some(nats_url))];
    let mut running = launcher.launch(&settings).await?;
    let Err(why) = opens(&mut running).await else {
        return Ok(Some(running));
    };
    let next = "serve HTTP on FARM_HTTP_PORT at once, before NATS is looked for";
    report.record(name::HEALTH, started, Err(Fault::new(why, next)));
    for check in [
        name::READINESS,
        name::STATUS,
        name::METRICS,
        name::DRAIN,
        name::JOB,
    ] {
        report.skip(check, "it does not start");
    }
    Ok(None)
}

/// Waits until the HTTP port answers anything at all.
async fn opens(running: &mut Running) -> Result<(), String> {
    let started = Instant::now();
    loop {
        if running.http.probe(HEALTH).await.is_ok() {
            return Ok(());
        }
        // A process that has ended is not waited for.
        if running.ends(POLL).await.is_some() || started.elapsed() > STARTS_WITHIN {
            let seconds = started.elapsed().as_secs_f64();
            let excuse = running.excuse().await;
            return Err(format!(
                "no answer on its HTTP port in {seconds:.1} s: {excuse}"
            ));
        }
    }
}

/// A replica whose port is open, and the NATS server it looks for.
pub struct Life<'a> {
    grace: Duration,
    running: Running,
    nats: &'a mut NatsServer,
}

impl<'a> Life<'a> {
    pub fn new(launcher: &Launcher, running: Running, nats: &'a mut NatsServer) -> Self {
        Self {
            grace: launcher.grace,
            running,
            nats,
        }
    }

    /// Plays it to its end.
    ///
    /// # Errors
    /// The NATS server does not start.
    pub async fn check(mut self, report: &mut Report) -> Result<(), Failure> {
        let started = Instant::now();
        let mut health = self.healthy("before NATS is there").await;
        let mut ready = self.unready_at_first().await;
        self.start_nats().await?;
        ready = keep(ready, self.ready("NATS is there").await);
        let asked = Instant::now();
        let status = self.running.http.farm_status().await;
        let (status_took, asked) = (asked.elapsed(), Instant::now());
        let measured = self.metrics().await;
        let metrics_took = asked.elapsed();
        let (lived, lost) = self.outage().await;
        health = keep(keep(health, lived), self.healthy("after NATS went").await);
        ready = keep(ready, lost);
        self.start_nats().await?;
        ready = keep(ready, self.ready("NATS is back").await);

        report.record(
            name::HEALTH,
            started,
            health.map(|()| "200 before NATS is there, with it, and while it is away".to_owned()),
        );
        report.record(
            name::READINESS,
            started,
            ready.map(|()| "503 without NATS, 200 with it, again after an outage".to_owned()),
        );
        report.note(name::STATUS, status_took, status);
        report.note(name::METRICS, metrics_took, measured);
        let started = Instant::now();
        let drained = drain(&mut self.running, self.grace).await;
        report.record(name::DRAIN, started, drained);
        Ok(())
    }

    async fn start_nats(&mut self) -> Result<(), Failure> {
        let started = self.nats.start().await;
        started.map_err(|error| Failure::Failed(error.to_string()))
    }

    async fn healthy(&self, when: &str) -> Result<(), Fault> {
        let seen = self.running.http.probe(HEALTH).await;
        match seen == Ok(StatusCode::OK) {
            true => Ok(()),
            false => Err(Fault::new(
                format!("GET {HEALTH} {} {when}", seen_as(&seen)),
                "answer 200 as long as the process lives: a platform kills what does not",
            )),
        }
    }

    async fn unready_at_first(&self) -> Result<(), Fault> {
        let seen = self.running.http.probe(READY).await;
        match seen == Ok(StatusCode::SERVICE_UNAVAILABLE) {
            true => Ok(()),
            false => Err(unready(format!("{} before NATS is there", seen_as(&seen)))),
        }
    }

    async fn ready(&mut self, when: &str) -> Result<(), Fault> {
        let http = &self.running.http;
        let became = http.becomes(READY, StatusCode::OK, READY_WITHIN).await;
        let Err(seen) = became else { return Ok(()) };
        let seconds = READY_WITHIN.as_secs();
        let excuse = self.running.excuse().await;
        Err(unready(format!(
            "{seen} {seconds} s after {when}: {excuse}"
        )))
    }

    async fn metrics(&self) -> Judgement {
        let fault = |why: String| {
            let next = "serve Prometheus metrics on FARM_METRICS_PORT, as the SDK does";
            Fault::new(format!("GET /metrics {why}"), next)
        };
        match self.running.metrics.read("/metrics").await {
            Ok((StatusCode::OK, body)) => metrics::judge(&String::from_utf8_lossy(&body)),
            Ok((status, _)) => Err(fault(seen_as(&Ok(status)))),
            Err(cause) => Err(fault(seen_as(&Err(cause)))),
        }
    }

    /// Takes NATS away for a while: whether it stays healthy, and whether it is no longer ready.
    async fn outage(&mut self) -> (Result<(), Fault>, Result<(), Fault>) {
        self.nats.stop().await;
        let started = Instant::now();
        let mut healthy = Ok(());
        loop {
            healthy = keep(healthy, self.healthy("while NATS is away").await);
            let seen = self.running.http.probe(READY).await;
            let is_unready = seen == Ok(StatusCode::SERVICE_UNAVAILABLE);
            let away = started.elapsed();
            if is_unready && away >= OUTAGE {
                return (healthy, Ok(()));
            }
            if away > READY_WITHIN {
                let why = format!("{} {} s after NATS went", seen_as(&seen), away.as_secs());
                return (healthy, Err(unready(why)));
            }
            tokio::time::sleep(PROBE_PERIOD).await;
        }
    }
}

fn unready(why: String) -> Fault {
    Fault::new(
        format!("GET {READY} {why}"),
        "answer 503 until NATS is connected, and 200 from then on, as the SDK does",
    )
}

/// The first fault counts.
fn keep(first: Result<(), Fault>, second: Result<(), Fault>) -> Result<(), Fault> {
    first.and(second)
}

/// Tells it to stop: it has to end well within its grace period.
pub async fn drain(running: &mut Running, grace: Duration) -> Judgement {
    let started = Instant::now();
    running.terminate();
    let ended = running.ends(grace + EXTRA).await;
    let seconds = started.elapsed().as_secs_f64();
    match ended {
        Some(status) if status.success() => {
            Ok(format!("exits with 0 {seconds:.1} s after SIGTERM"))
        }
        Some(status) => Err(Fault::new(
            format!("it {} {seconds:.1} s after SIGTERM", ending(status)),
            "return from Farm::run, and exit with 0 after it",
        )),
        None => Err(Fault::new(
            format!("it still runs {seconds:.1} s after SIGTERM"),
            "let SIGTERM reach the function (exec it in scripts), and end within FARM_GRACE_PERIOD",
        )),
    }
}
