//! How many players one core carries: more and more, until ticks are late or snapshots missing.

use crate::fault::Fault;
use crate::figures::Figures;
use crate::measure::measure;
use crate::options::{Options, Subject};
use crate::progress::Progress;

/// What was found for one subject.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Ceiling {
    /// Which.
    pub subject: &'static str,
    /// The most players of a step that held.
    pub players: usize,
    /// Why the next step did not hold; `None` when the steps ran out.
    pub broke: Option<String>,
    /// Whether the tester was at its own end by then: the server may carry more.
    pub tester_was_the_bottleneck: bool,
}

/// Grows by about a tenth until a step does not hold, beginning at the players that were asked for.
///
/// # Errors
/// [`Fault`] beside what was measured until then.
pub fn find(
    options: &Options,
    subject: Subject,
    progress: &Progress,
    measurements: &mut Vec<Figures>,
) -> Result<Ceiling, Fault> {
    let mut players = options.players as usize;
    let mut held = 0;
    loop {
        progress.begin(format!("{}, {players} players", subject.name()));
        let measured = measure(options, subject, players, progress);
        let Some(figures) = measured.figures else {
            return Err(measured.fault.unwrap_or_else(|| Fault::local("the ramp", "nothing was measured")));
        };
        let broke = match &measured.fault {
            Some(Fault::NotSeated { missing, .. }) => Some(format!("{missing} players found no seat")),
            Some(_) => None,
            None => breach(&figures),
        };
        let busy = figures.tester_was_the_bottleneck();
        measurements.push(figures);
        if let (Some(fault), None) = (measured.fault, &broke) {
            return Err(fault);
        }
        if broke.is_some() || players >= MOST {
            return Ok(Ceiling { subject: subject.name(), players: held, broke, tester_was_the_bottleneck: busy });
        }
        held = players;
        players = (players + (players / 10).max(10)).min(MOST);
    }
}

/// What is no longer good enough.
fn breach(figures: &Figures) -> Option<String> {
    // The floor counts no lateness of its own; the age of what arrives stands for it there.
    let late = figures.lateness_p99_us.unwrap_or(figures.age_us.p99 as f64);
    if late > LATE_US {
        return Some(format!("p99 lateness {:.1} ms", late / 1e3));
    }
    let missing = 1.0 - figures.delivered;
    (missing > MISSING).then(|| format!("{:.1} % of the snapshots missing", missing * 100.0))
}

const LATE_US: f64 = 10_000.0;
const MISSING: f64 = 0.03;
const MOST: usize = 20_000;
