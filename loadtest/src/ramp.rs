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

/// Grows until a step does not hold, twice in a row, beginning at the players that were asked for: by half while every
/// server has half of its core to spare, then by about a tenth.
/// The subjects climb side by side, so that the machine's moods meet all of them. Returns why that ended early.
pub fn find(
    options: &Options,
    subjects: &[Subject],
    progress: &Progress,
    measurements: &mut Vec<Figures>,
    ceilings: &mut Vec<Ceiling>,
) -> Option<Fault> {
    let mut players = options.players();
    let most = (players * MOST_GROWTH).min(MOST);
    let mut climbing = subjects.to_vec();
    let mut held = 0;
    let mut busiest: f64 = 0.0;
    while !climbing.is_empty() {
        for subject in std::mem::take(&mut climbing) {
            progress.begin(format!("{}, {players} players", subject.name()));
            let step = match Step::climb(options, subject, players, progress, measurements) {
                Ok(step) => step,
                Err(fault) => return Some(fault),
            };
            busiest = busiest.max(step.core);
            if step.broke.is_none() && players < most {
                climbing.push(subject);
                continue;
            }
            ceilings.push(Ceiling {
                subject: subject.name(),
                players: if step.broke.is_some() { held } else { players },
                broke: step.broke,
                tester_was_the_bottleneck: step.busy,
            });
        }
        held = players;
        let growth = if busiest < 0.5 { players / 2 } else { players / 10 };
        players = (players + growth.max(10)).min(most);
    }
    None
}

/// One number of players.
struct Step {
    broke: Option<String>,
    busy: bool,
    /// The server's share of its core.
    core: f64,
}

impl Step {
    /// Measures it, and once more when it does not hold: one bad moment of the machine is no ceiling.
    fn climb(
        options: &Options,
        subject: Subject,
        players: usize,
        progress: &Progress,
        measurements: &mut Vec<Figures>,
    ) -> Result<Self, Fault> {
        let first = Self::once(options, subject, players, progress, measurements)?;
        if first.broke.is_none() {
            return Ok(first);
        }
        Self::once(options, subject, players, progress, measurements)
    }

    fn once(
        options: &Options,
        subject: Subject,
        players: usize,
        progress: &Progress,
        measurements: &mut Vec<Figures>,
    ) -> Result<Self, Fault> {
        let measured = measure(options, subject, players, progress);
        let Some(figures) = measured.figures else {
            return Err(measured.fault.unwrap_or_else(|| Fault::local("the ramp", "nothing was measured")));
        };
        let broke = match measured.fault {
            // A server that lets in some but not all is at its end; one that lets in none is not there.
            Some(Fault::NotSeated { missing, .. }) if missing < players => {
                Some(format!("{missing} players found no seat"))
            }
            Some(fault) => {
                measurements.push(figures);
                return Err(fault);
            }
            None => breach(&figures),
        };
        let busy = figures.tester_was_the_bottleneck();
        let core = figures.server_core.unwrap_or(1.0);
        measurements.push(figures);
        Ok(Self { broke, busy, core })
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
/// The steps end at so many times the first one's players.
const MOST_GROWTH: usize = 13;
