//! One run: subjects measured side by side, each once a round. A report comes out, whatever goes wrong on the way.

use crate::fault::Fault;
use crate::figures::{Figures, Quantiles};
use crate::handshake::Handshakes;
use crate::measure::measure;
use crate::options::{Options, Scenario, Subject};
use crate::progress::Progress;
use crate::report::Report;
use crate::{handshake, ramp, timer};

/// Measures what the options ask for; the fault that ended it early stands in the report as well.
pub fn run(options: &Options, progress: &Progress) -> (Report, Option<Fault>) {
    let subjects = options.subjects();
    let mut idle = Vec::new();
    let mut measurements = Vec::new();
    let mut ceilings = Vec::new();
    let mut handshakes = Vec::new();
    let fault = match options.scenario() {
        Scenario::Handshake => meet(options, &subjects, progress, &mut handshakes),
        Scenario::Ramp => ramp::find(options, &subjects, progress, &mut measurements, &mut ceilings),
        _ => rounds(options, &subjects, progress, &mut idle, &mut measurements),
    };
    let mut report = Report::new(&subjects, measurements, options);
    report.idle_timers_us = idle;
    report.ceilings = ceilings;
    report.take_handshakes(&subjects, handshakes);
    report.fault = fault.as_ref().map(ToString::to_string);
    (report, fault)
}

/// Every subject once a round, one after the other; returns why that ended early.
fn rounds(
    options: &Options,
    subjects: &[Subject],
    progress: &Progress,
    idle: &mut Vec<Quantiles>,
    measurements: &mut Vec<Figures>,
) -> Option<Fault> {
    for round in 1..=options.rounds() {
        if options.spawn {
            idle.extend(timer::idle_lateness(options.server_core));
        }
        for subject in subjects {
            progress.begin(format!("{round}/{} {}", options.rounds(), subject.name()));
            let measured = measure(options, *subject, options.players(), progress);
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
    for round in 1..=options.rounds() {
        for subject in subjects {
            progress.begin(format!("{round}/{} {}", options.rounds(), subject.name()));
            match handshake::measure(options, *subject, progress) {
                Ok(measured) => handshakes.push(measured),
                Err(fault) => return Some(fault),
            }
        }
    }
    None
}
