//! `farm autoscaler`: the autoscaler as a process.

use std::process::ExitCode;

use crate::failure::Failure;

/// Arguments of `farm autoscaler`.
#[derive(clap::Args)]
#[command(after_help = "\
It is configured by environment variables, as functions are; the most important:
  FARM_GATEWAY_URL   the OpenFaaS gateway whose farms it scales
  FARM_NATS_URL      the NATS servers of those farms
  FARM_SECRETS_DIR   where basic-auth-user and basic-auth-password are

It scales the functions with the annotation farm.policy, and ends on SIGTERM. `farm up` runs it for
a function of the stack whose image is called farm-autoscaler.")]
pub struct Args {}

/// Runs the autoscaler until SIGTERM.
///
/// # Errors
/// Its configuration is wrong, or what it needs cannot be reached.
pub async fn run(_: Args) -> Result<ExitCode, Failure> {
    farm_autoscaler::run()
        .await
        .map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
