//! `farm cargo`: cargo with the SDK of a checkout, for functions whose SDK no registry has yet.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::process::Command;

use crate::failure::Failure;
use crate::sdk;

/// Arguments of `farm cargo`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  farm cargo test
  farm cargo clippy --all-targets
  farm cargo --sdk ../rust-farm -- run --release

`farm-sdk` is taken from --sdk, else from FARM_SDK, else from the checkout this `farm` was built
in. The exit code is cargo's.")]
pub struct Args {
    /// The rust-farm checkout whose SDK is used
    #[arg(long, env = "FARM_SDK", value_name = "FOLDER")]
    sdk: Option<PathBuf>,
    /// What cargo is to do, such as test
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "CARGO_ARGS"
    )]
    cargo_args: Vec<OsString>,
}

/// Runs cargo in the current folder.
///
/// # Errors
/// There is no SDK, or cargo cannot be started.
pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let sdk = sdk::find(args.sdk.as_deref())?;
    let status = Command::new("cargo")
        .args(patched(&sdk::patch(&sdk), &args.cargo_args))
        .status()
        .await
        .map_err(|e| {
            Failure::Failed(format!(
                "cannot start cargo ({e}): install Rust from https://rustup.rs"
            ))
        })?;
    // Without a code, a signal ended it.
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// The configuration goes first, but behind `+toolchain`.
fn patched(patch: &str, cargo_args: &[OsString]) -> Vec<OsString> {
    let is_toolchain = cargo_args
        .first()
        .is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"+"));
    let (toolchain, rest) = cargo_args.split_at(usize::from(is_toolchain));
    let config = ["--config".into(), patch.into()];
    [toolchain, &config, rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_toolchain_stays_in_front() {
        assert_eq!(
            patched("p", &words(&["test", "-q"])),
            words(&["--config", "p", "test", "-q"])
        );
        assert_eq!(
            patched("p", &words(&["+nightly", "test"])),
            words(&["+nightly", "--config", "p", "test"])
        );
    }
}
