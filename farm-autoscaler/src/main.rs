//! The autoscaler as an OpenFaaS function: configuration comes from the environment.

use std::process::ExitCode;

/// The exit code of a process whose configuration cannot be used: `EX_CONFIG` of sysexits.
const EXIT_CONFIGURATION: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    match farm_autoscaler::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("farm-autoscaler: {error}");
            match error {
                farm_autoscaler::Error::Configuration(_) => ExitCode::from(EXIT_CONFIGURATION),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
