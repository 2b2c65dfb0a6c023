//! `farm load`: an open-loop load generator.

use std::process::ExitCode;
use std::time::Duration;

use farm_core::quantity::parse_duration;
use farm_sim::random;
use farm_sim::workload::{Arrivals, Deadline, Rate, Workload};

use crate::client::connect;
use crate::failure::Failure;
use crate::gateway::{FunctionName, GatewayArgs};
use crate::load::collect::collect;
use crate::load::plan;
use crate::load::report::LoadReport;
use crate::load::sender::{Sending, TaskBody};
use crate::load::service::{parse_service, parse_service_seconds};
use crate::simulation::scenario;

/// Above this rate, one job per task would measure HTTP rather than the farm.
const BATCH_ABOVE_PER_SECOND: f64 = 200.0;
const HIGHEST_RATE_PER_SECOND: f64 = 1e6;
const LONGEST_LOAD: Duration = Duration::from_secs(7 * 86_400);

/// Arguments of `farm load`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm load sleeper --rate 50 --duration 30s --service gamma:mean=0.2,shape=4 --deadline-factor 2
  farm load sleeper --rate 2000 --duration 10s --poisson --deadline 100ms
  farm load sleeper --paper --seed 42
  farm load sleeper --scenario bursts --time-scale 0.1
  farm load thumbnails --rate 5 --duration 1m --body '{\"path\": \"a.jpg\"}'

Each task is sent at its own time, whether or not earlier ones were answered. What could not be
sent in time is counted, and its delay is part of its sojourn time. Above 200 tasks/s, tasks due
within 10 ms that share a deadline are sent as one job.")]
pub struct Args {
    /// The farm's function
    function: FunctionName,
    /// Tasks per second
    #[arg(long, value_name = "PER_SECOND", required_unless_present_any = ["paper", "scenario"], value_parser = parse_rate)]
    rate: Option<f64>,
    /// How long tasks are sent, such as 30s
    #[arg(long, value_name = "DURATION", required_unless_present_any = ["paper", "scenario"], value_parser = parse_load_duration)]
    duration: Option<Duration>,
    /// Exponential gaps between tasks instead of even ones
    #[arg(long)]
    poisson: bool,
    /// The workload of arXiv 2602.06555: 1140 tasks in four phases, about 225 s
    #[arg(long, group = "script", conflicts_with_all = ["rate", "duration", "poisson", "body", "service", "service_seconds", "deadline", "deadline_factor"])]
    paper: bool,
    /// The workload of a simulated scenario: a name, or a JSON file (see farm simulate --help)
    #[arg(long, group = "script", value_name = "NAME|FILE", conflicts_with_all = ["rate", "duration", "poisson", "body", "service", "service_seconds", "deadline", "deadline_factor"])]
    scenario: Option<String>,
    /// With --paper or --scenario: all its times, multiplied by this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, conflicts_with = "rate", value_parser = parse_positive)]
    time_scale: f64,
    /// Equal seeds give equal loads
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Service time that the sleeper function is told
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["service", "body"], value_parser = parse_service_seconds)]
    service_seconds: Option<random::Duration>,
    /// Service times that the sleeper function is told, such as gamma:mean=1.5,shape=4
    #[arg(long, value_name = "DISTRIBUTION", conflicts_with = "body", value_parser = parse_service)]
    service: Option<random::Duration>,
    /// Every task's body, for functions other than sleeper
    #[arg(long, value_name = "JSON", value_parser = parse_body)]
    body: Option<String>,
    /// Sojourn time allowed to each task
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Sojourn time allowed to each task, as a multiple of its own service time
    #[arg(long, value_name = "FACTOR", conflicts_with_all = ["deadline", "body"], value_parser = parse_positive)]
    deadline_factor: Option<f64>,
    /// Send only: do not wait for the outcomes
    #[arg(long)]
    no_wait: bool,
    /// Longest time to wait for the outcomes once all is sent [default: until all jobs have ended]
    #[arg(long, value_name = "DURATION", conflicts_with = "no_wait", value_parser = parse_duration)]
    wait_for: Option<Duration>,
    /// How long to try again when the connection is lost while waiting
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    retry_for: Duration,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("use a number above 0".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    parse_positive(text).and_then(|rate| match rate {
        rate if rate <= HIGHEST_RATE_PER_SECOND => Ok(rate),
        _ => Err(format!("use at most {HIGHEST_RATE_PER_SECOND}")),
    })
}

fn parse_load_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration <= LONGEST_LOAD => Ok(duration),
        Ok(_) => Err("use at most a week".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks the JSON and puts it on one line.
fn parse_body(text: &str) -> Result<String, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|e| format!("that is no JSON: {e}"))?;
    Ok(value.to_string())
}

/// Sends the load, waits for its outcomes and prints the account.
///
/// # Errors
/// The farm cannot be reached, or refuses such tasks.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let sending = args.sending()?;
    let (client, _) = connect(&args.gateway, &args.function).await?;
    let sent = sending.run(&client).await?;
    if let Some(trouble) = &sent.first_trouble {
        eprintln!(
            "farm: {} tasks brought no answer, the first because: {trouble}",
            sent.unanswered
        );
    }
    let collected = match args.no_wait {
        true => None,
        false => Some(collect(&client, &sent.jobs, args.wait_for, args.retry_for).await?),
    };
    let report = LoadReport::new(args.seed, &sent, collected.as_ref());
    report.print(args.json)?;
    Ok(report.exit_code())
}

impl Args {
    fn sending(&self) -> Result<Sending, Failure> {
        let (Some(rate), Some(duration)) = (self.rate, self.duration) else {
            let name = self.scenario.as_deref().unwrap_or("paper");
            let workload = scenario::read(name)?.workload;
            return Ok(Sending {
                expected_tasks: workload.tasks(self.seed).count() as u64,
                plan: plan(&workload, self.seed, self.time_scale),
                body: TaskBody::Sleeper,
                batch: false,
            });
        };
        Ok(Sending {
            plan: plan(&self.steady(rate, duration), self.seed, 1.0),
            expected_tasks: (rate * duration.as_secs_f64()).ceil() as u64,
            body: self.body.clone().map_or(TaskBody::Sleeper, TaskBody::Fixed),
            batch: rate > BATCH_ABOVE_PER_SECOND,
        })
    }

    fn steady(&self, rate: f64, duration: Duration) -> Workload {
        let seconds = duration.as_secs_f64();
        let arrivals = match self.poisson {
            true => Arrivals::Poisson {
                rate: Rate::Constant(rate),
                seconds,
            },
            false => Arrivals::Constant {
                per_second: rate,
                seconds,
            },
        };
        let service = self.service.as_ref().or(self.service_seconds.as_ref());
        let deadline = match (self.deadline, self.deadline_factor) {
            (Some(deadline), _) => Deadline::Seconds(deadline.as_secs_f64()),
            (None, Some(factor)) => Deadline::ServiceTimes {
                factor,
                bounds: (0.0, f64::MAX),
            },
            (None, None) => Deadline::Never,
        };
        Workload {
            arrivals,
            service: service.cloned().unwrap_or(random::Duration::Constant(0.0)),
            deadline,
        }
    }
}
