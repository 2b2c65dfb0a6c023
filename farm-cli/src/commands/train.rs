//! `farm train`: a scaling policy, learned in the simulator.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use farm_sim::scenario::Scenario;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::Failure;
use crate::output::{percent, print_json, print_line, seconds};
use crate::plot;
use crate::progress::Progress;
use crate::simulation::compare::Comparison;
use crate::simulation::contenders::{Pace, PolicyWords};
use crate::simulation::report::Report;
use crate::simulation::scenario;
use crate::simulation::training::{Algorithm, Made, Order, RewardName};

const HELP: &str = "\
Examples:
  farm train sarsa --scenario paper --actions step --seed 1 --curve curve.svg
  farm train dqn --scenario bursts --actions free --out bursts.onnx
  farm train sarsa --settings published --reward paper --actions step

Equal scenarios, settings and seeds make equal files, byte for byte. The best checkpoint on
validation seeds is kept; Ctrl-C ends the training at the next one. What was trained is then
evaluated on seeds that it never saw.";

/// Arguments of `farm train`.
#[derive(clap::Args)]
#[command(after_help = HELP, after_long_help = scenario::help_after(HELP))]
pub struct Args {
    /// How to learn
    #[arg(value_enum)]
    algorithm: Algorithm,
    /// Workload, platform and control loop: a name (see --help), or a JSON file
    #[arg(long, value_name = "NAME|FILE", default_value = "paper")]
    scenario: String,
    /// How far the policy may go in one decision
    #[arg(long, value_enum, default_value_t)]
    actions: Pace,
    /// Seed of the training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Control steps to train for [default: the trainer's]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// What a step is worth [default: the trainer's]
    #[arg(long, value_enum)]
    reward: Option<RewardName>,
    /// A JSON file of settings that are not to be the trainer's own; or "published": the paper's
    #[arg(long, value_name = "FILE|published")]
    settings: Option<PathBuf>,
    /// The file of the trained policy [default: such as sarsa-paper-step.json, dqn-paper-free.onnx]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Draw the learning curve into this SVG file
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
    #[command(flatten)]
    comparison: Comparison,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Trains, evaluates and tells what to do with it.
///
/// # Errors
/// Scenario or settings are wrong, or a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let scenario = args.comparison.scenario(&args.scenario)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| args.usual_file(&scenario));
    let began = Instant::now();
    let made = train(&args.order(scenario.clone()))?;
    let trained_seconds = began.elapsed().as_secs_f64();
    std::fs::write(&out, &made.bytes)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", out.display())))?;
    if let Some(path) = &args.curve {
        plot::write(path, &args.picture(&scenario, &made)?)?;
    }
    let policy = format!("{}:model={}", args.algorithm.name(), out.display());
    let policy: PolicyWords = policy.parse().map_err(Failure::Failed)?;
    let contender = policy.contender(&scenario, false, false)?;
    let report = args
        .comparison
        .run(&scenario, vec![contender], args.actions)?;
    if args.json {
        print_json(&serde_json::json!({
            "out": out,
            "seconds": trained_seconds,
            "steps": made.steps,
            "curve": made.curve,
            "evaluation": report,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    args.tell(&scenario, &out, trained_seconds, &report)?;
    Ok(ExitCode::SUCCESS)
}

fn train(order: &Order<'_>) -> Result<Made, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let _listening = listen(Arc::clone(&stop));
    let mut progress: Option<Progress> = None;
    let bar = std::cell::RefCell::new(&mut progress);
    order.carry_out(
        |steps| **bar.borrow_mut() = Some(Progress::of(steps, "steps")),
        &mut |point| {
            if let Some(progress) = bar.borrow_mut().as_mut() {
                let (qos, workers) = (percent(point.score.qos_ratio), point.score.parallelism);
                progress.show(point.steps, format!("QoS {qos}, {workers:.2} workers"));
            }
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        },
    )
}

/// Sets `stop` at the first Ctrl-C, and ends the program at the second.
fn listen(stop: Arc<AtomicBool>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("farm: ending at the next checkpoint; Ctrl-C again ends at once");
            stop.store(true, Ordering::Relaxed);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    }))
}

impl Args {
    fn usual_file(&self, scenario: &Scenario) -> PathBuf {
        let (algorithm, actions) = (self.algorithm, self.actions.name());
        let (name, extension) = (algorithm.name(), algorithm.extension());
        PathBuf::from(format!("{name}-{}-{actions}.{extension}", scenario.name))
    }

    fn order(&self, scenario: Scenario) -> Order<'_> {
        Order {
            algorithm: self.algorithm,
            scenario,
            pace: self.actions,
            seed: self.seed,
            steps: self.steps,
            reward: self.reward,
            settings: self.settings.as_deref(),
            command: self.command(),
        }
    }

    /// The command as the artefact tells it: what matters for its content.
    fn command(&self) -> String {
        use clap::ValueEnum;
        let mut words = vec![
            format!("farm train {}", self.algorithm.name()),
            format!("--scenario {}", self.scenario),
            format!("--actions {}", self.actions.name()),
            format!("--seed {}", self.seed),
        ];
        let target = self.comparison.target;
        words.extend(target.map(|target| format!("--target {target}")));
        words.extend(self.steps.map(|steps| format!("--steps {steps}")));
        let reward = self.reward.and_then(|reward| reward.to_possible_value());
        words.extend(reward.map(|reward| format!("--reward {}", reward.get_name())));
        let settings = self.settings.as_deref();
        words.extend(settings.map(|path| format!("--settings {}", path.display())));
        words.join(" ")
    }

    fn picture(&self, scenario: &Scenario, made: &Made) -> Result<String, Failure> {
        let title = format!(
            "{} on {}, {} actions, seed {}",
            self.algorithm.name(),
            scenario.name,
            self.actions.name(),
            self.seed
        );
        let kept = made
            .curve
            .iter()
            .position(|point| point.steps == made.steps);
        let target = scenario.control.target_qos_ratio;
        plot::curve::learning_curve(&title, &made.curve, kept, target)
    }

    fn tell(
        &self,
        scenario: &Scenario,
        out: &Path,
        trained_seconds: f64,
        report: &Report,
    ) -> Result<(), Failure> {
        report.print()?;
        let control = &scenario.control;
        let file = out.file_name().unwrap_or(out.as_os_str()).display();
        print_line(&format!(
            "\nTrained in {}; wrote {}. The autoscaler finds it in its folder FARM_MODEL_DIR;\n\
             at the worker function in stack.yml:\n\n    annotations:\n      \
             farm.policy: {}\n      farm.policy.model: {file}\n      \
             farm.interval: {}s\n      farm.min: \"{}\"\n      farm.max: \"{}\"",
            seconds(trained_seconds),
            out.display(),
            self.algorithm.name(),
            control.interval_seconds,
            control.min_parallelism,
            control.max_parallelism,
        ))
    }
}
