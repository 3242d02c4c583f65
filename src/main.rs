//! The muster command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Puts allocations of one size beside each other: what is cold of many links is found sooner
/// (`docs/decisions/0012-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match muster::cli::run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
