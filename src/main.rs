//! The muster command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match muster::cli::run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
