//! Simulates thousands of muster players and reports what they saw, beside what the kernel alone costs.

#![forbid(unsafe_code)]

mod child;
mod clock;
mod crew;
mod fault;
mod figures;
mod floor;
mod frames;
mod game;
mod handshake;
mod http;
mod load;
mod machine;
mod measure;
mod metrics;
mod options;
mod preset;
mod progress;
mod ramp;
mod report;
mod run;
mod serve;
mod target;
mod tickets;
mod timer;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::fault::Fault;
use crate::options::{Cli, Options, Role, Scenario};
use crate::progress::Progress;

/// The server's own: it is in this program when it is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { role, options } = Cli::parse();
    let outcome = match role {
        Some(Role::Players) => crew::run(),
        Some(Role::Serve(args)) => serve::run(&args),
        Some(Role::FloorWebsocket(args)) => floor::websocket::run(&args),
        Some(Role::FloorWebtransport(args)) => floor::webtransport::run(&args),
        Some(Role::Bare(args)) => floor::bare::run(&args, false),
        Some(Role::BareTls(args)) => floor::bare::run(&args, true),
        None => run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("muster-loadtest: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Fault> {
    check(options)?;
    let progress = Progress::new(options.quiet);
    if options.scenario() == Scenario::Figures {
        let (summary, fault) = preset::measure(options, &progress);
        progress.end();
        publish(options, &summary, || report::html::render_summary(&summary), &report::summary::render(&summary))?;
        return fault.map_or(Ok(()), Err);
    }
    let (report, fault) = run::run(options, &progress);
    progress.end();
    publish(options, &report, || report::html::render(&report), &report::table::render(&report))?;
    fault.map_or(Ok(()), Err)
}

/// Whether the options go together.
fn check(options: &Options) -> Result<(), Fault> {
    let wrong = |why: &str| Err(Fault::Options(why.to_owned()));
    if !options.spawn && options.url.is_none() {
        return wrong("say --spawn to start a server, or --url muster://HOST:PORT to measure one");
    }
    if game::registry(options.tick).is_none() {
        return Err(Fault::Options(format!("--tick: one of {:?}", game::RATES)));
    }
    let scenario = options.scenario();
    if options.url.is_some() && scenario == Scenario::Revoke {
        return wrong("this scenario asks the admin API of a server of the tester's own: use --spawn");
    }
    if options.url.is_some() && matches!(scenario, Scenario::Figures | Scenario::Handshake) {
        return wrong("this scenario reads the processor time of a server of the tester's own: use --spawn");
    }
    if options.url.is_some() && options.subjects().iter().any(|subject| subject.is_floor()) {
        return wrong("the floor is measured beside a server of the tester's own: use --spawn");
    }
    if !options.rows.is_empty() && scenario != Scenario::Figures {
        return wrong("--rows picks rows of --scenario figures");
    }
    Ok(())
}

/// Writes the files that were asked for, and the tables.
fn publish(
    options: &Options,
    report: &impl serde::Serialize,
    page: impl FnOnce() -> String,
    tables: &str,
) -> Result<(), Fault> {
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Fault::local(path.display().to_string(), error))
    };
    // Whoever closed the pipe does not want to read it. First of all, so that a folder that is missing costs no figures.
    let _ = std::io::stdout().lock().write_all(tables.as_bytes());
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(report).map_err(|error| Fault::local("the report", error))?;
        write(path, &text)?;
    }
    options.html.as_deref().map_or(Ok(()), |path| write(path, &page()))
}
