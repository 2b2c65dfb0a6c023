//! `farm cancel`: cancel what has not started of a job.

use std::process::ExitCode;

use farm_core::JobId;

use crate::client::connect;
use crate::commands::status::print_job;
use crate::failure::Failure;
use crate::gateway::{FunctionName, GatewayArgs};

/// Arguments of `farm cancel`.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  farm cancel thumbnails 01JD7ZK4

Tasks that a worker has begun are finished; their results are kept.")]
pub struct Args {
    /// The farm's function
    function: FunctionName,
    /// The job
    job: JobId,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// Cancels a job and prints its account.
///
/// # Errors
/// There is no such job, or the farm cannot be reached.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let (client, _) = connect(&args.gateway, &args.function).await?;
    print_job(&client.cancel(&args.job).await?, args.json)?;
    Ok(ExitCode::SUCCESS)
}
