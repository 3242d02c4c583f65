//! The muster command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match muster::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
