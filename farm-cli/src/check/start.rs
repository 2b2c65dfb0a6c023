//! A function that cannot run says why and ends.

use std::time::{Duration, Instant};

use farm_local::ending;
use tokio::net::TcpStream;

use super::finding::{Fault, Judgement, Report};
use super::launch::{Launcher, Program};
use super::{STARTS_WITHIN, log, name};
use crate::failure::Failure;

const SLOTS: &str = "FARM_SLOTS";
const NATS_URL: &str = "FARM_NATS_URL";
/// Where a function looks for NATS if nobody tells it.
const DEFAULT_NATS: &str = "127.0.0.1:4222";

/// Looks at its user; starts it with a bad value, and without the address of NATS.
pub async fn check(
    launcher: &Launcher,
    nats_url: &str,
    report: &mut Report,
) -> Result<(), Failure> {
    match &launcher.program {
        Program::Executable(_) => report.skip(name::USER, "only an image has a user of its own"),
        Program::Image { image, .. } => {
            report.record(name::USER, Instant::now(), image.is_non_root());
        }
    }
    let started = Instant::now();
    let bad = [(SLOTS, Some("many")), (NATS_URL, Some(nats_url))];
    let judgement = refuses(launcher, &bad, "FARM_SLOTS=many", SLOTS).await?;
    report.record(name::BAD_VALUE, started, judgement);

    let started = Instant::now();
    let usual = TcpStream::connect(DEFAULT_NATS);
    if matches!(
        tokio::time::timeout(Duration::from_secs(1), usual).await,
        Ok(Ok(_))
    ) {
        let why = format!("a server listens on {DEFAULT_NATS}, the default, and is left alone");
        report.skip(name::NATS_URL, why);
    } else {
        let none = [(NATS_URL, None), ("FARM_CONNECT_TIMEOUT", Some("1s"))];
        let judgement = refuses(launcher, &none, "no FARM_NATS_URL", NATS_URL).await?;
        report.record(name::NATS_URL, started, judgement);
    }
    Ok(())
}

/// Whether it ends without success and names `variable` in one line.
async fn refuses(
    launcher: &Launcher,
    settings: &[(&str, Option<&str>)],
    what: &str,
    variable: &str,
) -> Result<Judgement, Failure> {
    const NEXT: &str = "read the settings with the SDK (Farm::run) before anything else, \
                        and return its error from main";
    let started = Instant::now();
    let mut running = launcher.launch(settings).await?;
    let fault = |why: String| Err(Fault::new(why, NEXT));
    let Some(status) = running.ends(STARTS_WITHIN).await else {
        let seconds = STARTS_WITHIN.as_secs();
        return Ok(fault(format!(
            "with {what} it still runs after {seconds} s"
        )));
    };
    if status.success() {
        return Ok(fault(format!("with {what} it ends as if all were well")));
    }
    let lines = running.lines.all();
    let naming: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(variable))
        .collect();
    Ok(match naming[..] {
        _ if lines.iter().any(|line| line.contains("panicked at")) => {
            fault(format!("with {what} it panics"))
        }
        [line] => Ok(format!(
            "{} after {:.1} s: {}",
            ending(status),
            started.elapsed().as_secs_f64(),
            log::brief(line)
        )),
        [] => fault(format!(
            "with {what} it {}, but no line names {variable}; {}",
            ending(status),
            running.lines.last_words()
        )),
        _ => fault(format!(
            "with {what} {} lines name {variable}",
            naming.len()
        )),
    })
}
