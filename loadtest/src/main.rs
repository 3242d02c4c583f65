//! Simulates thousands of muster players and reports what they saw, beside what the kernel alone costs.

#![forbid(unsafe_code)]

mod child;
mod clock;
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
mod progress;
mod ramp;
mod report;
mod serve;
mod target;
mod tickets;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::fault::Fault;
use crate::handshake::Handshakes;
use crate::measure::measure;
use crate::figures::Figures;
use crate::options::{Cli, Options, Role, Scenario, Subject};
use crate::progress::Progress;
use crate::report::Report;

fn main() -> ExitCode {
    let Cli { role, options } = Cli::parse();
    let outcome = match role {
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
    let mut ceilings = Vec::new();
    let mut handshakes = Vec::new();
    if options.scenario == Scenario::Handshake {
        fault = meet(options, &subjects, &progress, &mut handshakes);
    } else if options.scenario == Scenario::Ramp {
        for subject in &subjects {
            match ramp::find(options, *subject, &progress, &mut measurements) {
                Ok(ceiling) => ceilings.push(ceiling),
                Err(ended) => {
                    fault = Some(ended);
                    break;
                }
            }
        }
    } else {
        fault = rounds(options, &subjects, &progress, &mut measurements);
    }
    progress.end();
    let mut report = Report::new(&subjects, measurements, options);
    report.ceilings = ceilings;
    report.take_handshakes(&subjects, handshakes);
    report.fault = fault.as_ref().map(ToString::to_string);
    publish(options, &report)?;
    fault.map_or(Ok(()), Err)
}

/// Every subject once a round, one after the other; returns why that ended early.
fn rounds(
    options: &Options,
    subjects: &[Subject],
    progress: &Progress,
    measurements: &mut Vec<Figures>,
) -> Option<Fault> {
    for round in 1..=options.rounds {
        for subject in subjects {
            progress.begin(format!("{round}/{} {}", options.rounds, subject.name()));
            let measured = measure(options, *subject, options.players as usize, progress);
            measurements.extend(measured.figures);
            if measured.fault.is_some() {
                return measured.fault;
            }
        }
    }
    None
}

/// Handshakes of every subject once a round; returns why that ended early.
fn meet(
    options: &Options,
    subjects: &[Subject],
    progress: &Progress,
    handshakes: &mut Vec<Handshakes>,
) -> Option<Fault> {
    for round in 1..=options.rounds {
        for subject in subjects {
            progress.begin(format!("{round}/{} {}", options.rounds, subject.name()));
            match handshake::measure(options, *subject, progress) {
                Ok(measured) => handshakes.push(measured),
                Err(fault) => return Some(fault),
            }
        }
    }
    None
}

fn publish(options: &Options, report: &Report) -> Result<(), Fault> {
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path, text).map_err(|error| Fault::local(path.display().to_string(), error))
    };
    if let Some(path) = &options.out {
        let text = serde_json::to_string_pretty(report).map_err(|error| Fault::local("the report", error))?;
        write(path, &text)?;
    }
    if let Some(path) = &options.html {
        write(path, &report::html::render(report))?;
    }
    // Whoever closed the pipe does not want to read it.
    let _ = std::io::stdout().lock().write_all(report::table::render(report).as_bytes());
    Ok(())
}
