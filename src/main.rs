//! The muster command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Allocations of one size lie together, which few of a link's many cold ones do otherwise
/// (`docs/decisions/0012-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match muster::cli::run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
