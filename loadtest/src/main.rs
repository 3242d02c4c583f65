//! Simulates thousands of muster players and reports what they saw, beside what the kernel alone costs.

#![forbid(unsafe_code)]

mod child;
mod clock;
mod fault;
mod figures;
mod floor;
mod frames;
mod game;
mod http;
mod load;
mod machine;
mod measure;
mod metrics;
mod options;
mod progress;
mod report;
mod serve;
mod target;
mod tickets;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::fault::Fault;
use crate::measure::measure;
use crate::options::{Cli, Options, Role};
use crate::progress::Progress;
use crate::report::Report;

fn main() -> ExitCode {
    let Cli { role, options } = Cli::parse();
    let outcome = match role {
        Some(Role::Serve(args)) => serve::run(&args),
        Some(Role::FloorWebsocket(args)) => floor::websocket::run(&args),
        Some(Role::FloorWebtransport(args)) => floor::webtransport::run(&args),
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
    if !options.spawn && options.url.is_none() {
        return Err(Fault::Options("say --spawn to start a server, or --url muster://HOST:PORT to measure one".into()));
    }
    if game::registry(options.tick).is_none() {
        return Err(Fault::Options(format!("--tick: one of {:?}", game::RATES)));
    }
    let subjects = options.subjects();
    if options.url.is_some() && subjects.iter().any(|subject| subject.is_floor()) {
        return Err(Fault::Options("the floor is measured beside a server of the tester's own: use --spawn".into()));
    }
    let progress = Progress::new(options.quiet);
    let mut measurements = Vec::new();
    let mut fault = None;
    'rounds: for round in 1..=options.rounds {
        for subject in &subjects {
            progress.begin(format!("{round}/{} {}", options.rounds, subject.name()));
            let measured = measure(options, *subject, options.players as usize, &progress);
            measurements.extend(measured.figures);
            if measured.fault.is_some() {
                fault = measured.fault;
                break 'rounds;
            }
        }
    }
    drop(progress);
    let mut report = Report::new(&subjects, measurements, options);
    report.fault = fault.as_ref().map(ToString::to_string);
    publish(options, &report)?;
    fault.map_or(Ok(()), Err)
}

fn publish(options: &Options, report: &Report) -> Result<(), Fault> {
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Fault::local(path.display().to_string(), error))
    };
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(report).map_err(|error| Fault::local("the report", error))?;
        write(path, &text)?;
    }
    // Whoever closed the pipe does not want to read it.
    let _ = std::io::stdout().lock().write_all(report::table::render(report).as_bytes());
    Ok(())
}
