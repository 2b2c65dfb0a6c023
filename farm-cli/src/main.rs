//! The `farm` command: run, feed and watch task farms.

mod check;
mod client;
mod commands;
mod failure;
mod gateway;
mod input;
mod load;
mod output;
mod plot;
mod progress;
mod sdk;
mod simulation;
mod tally;
mod wait;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use failure::{EXIT_CODES, Failure};

/// Run, feed and watch task farms on OpenFaaS or on this machine.
#[derive(Parser)]
#[command(name = "farm", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a stack on this machine: NATS, functions as processes, and the OpenFaaS gateway API
    Up(commands::up::Args),
    /// Send a job to a farm, and wait for its results if asked
    Submit(commands::submit::Args),
    /// Write the results of a job, live until it ends
    Results(commands::results::Args),
    /// Show the farms of a gateway, one farm, or one job
    Status(commands::status::Args),
    /// Cancel what has not started of a job
    Cancel(commands::cancel::Args),
    /// List, show, replay or purge dead letters: tasks that failed for good
    Dead(commands::dead::Args),
    /// Offer a farm a load, and account for every task of it
    Load(commands::load::Args),
    /// Run one episode of a farm in the simulator
    Simulate(commands::simulate::Args),
    /// Compare scaling policies in the simulator, over many seeds
    Evaluate(commands::evaluate::Args),
    /// Train a scaling policy in the simulator
    Train(commands::train::Args),
    /// Measure what a farm costs on this machine, beside a raw NATS loop
    Bench(commands::bench::Args),
    /// A process of `farm bench`
    #[command(hide = true)]
    BenchPart(commands::bench::PartArgs),
    /// Print what each part of a farm may do on NATS, as configuration of the server
    Permissions(commands::permissions::Args),
    /// Run the autoscaler: what the farm-autoscaler image runs
    Autoscaler(commands::autoscaler::Args),
    /// Check that an image, a crate or a running function keeps its contract with the platform
    Check(commands::check::Args),
    /// Run cargo on a function's crate, with the SDK of a rust-farm checkout
    Cargo(commands::cargo::Args),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // One TLS provider, chosen before the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = match Runtime::new() {
        Ok(runtime) => {
            let ended = runtime.block_on(run(command));
            // A read of standard input that nobody waits for any more must not hold the exit up.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::Failed(format!("cannot start: {error}"))),
    };
    ended.unwrap_or_else(|failure| {
        if !matches!(failure, Failure::OutputClosed) {
            eprintln!("farm: {failure}");
        }
        failure.exit_code()
    })
}

async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(args) => Ok(commands::up::run(args).await?),
        Command::Submit(args) => commands::submit::run(args).await,
        Command::Results(args) => commands::results::run(args).await,
        Command::Status(args) => commands::status::run(args).await,
        Command::Cancel(args) => commands::cancel::run(args).await,
        Command::Dead(args) => commands::dead::run(args).await,
        Command::Load(args) => commands::load::run(args).await,
        Command::Simulate(args) => commands::simulate::run(&args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Bench(args) => commands::bench::run(args).await,
        Command::BenchPart(args) => commands::bench::play(args).await,
        Command::Permissions(args) => commands::permissions::run(&args),
        Command::Autoscaler(args) => commands::autoscaler::run(args).await,
        Command::Check(args) => commands::check::run(args).await,
        Command::Cargo(args) => commands::cargo::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
