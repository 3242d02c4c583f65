//! The report of a whole run: every measurement, their medians, and the ratios that travel.

pub mod html;
pub mod summary;
pub mod table;
mod verdicts;

use serde::Serialize;

use crate::figures::{Figures, Quantiles, median};
use crate::handshake::Handshakes;
use crate::machine;
use crate::options::{Options, Subject};
use crate::ramp::Ceiling;

/// Everything that came out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What it was asked for.
    pub command: String,
    /// The processor.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// The kernel.
    pub kernel: String,
    /// How late the machine's own timer is before anything runs, on the server's core: before each round.
    pub idle_timers_us: Vec<Quantiles>,
    /// Measurements in the order they were made: round after round.
    pub measurements: Vec<Figures>,
    /// Medians over the rounds.
    pub medians: Vec<Medians>,
    /// One subject over another: medians of the ratio in each round.
    pub ratios: Vec<Ratio>,
    /// How many players were carried, after a ramp.
    pub ceilings: Vec<Ceiling>,
    /// Handshakes in the order they were measured.
    pub handshakes: Vec<Handshakes>,
    /// Server processor time of a handshake, one after the other: one subject over another, medians of the rounds.
    pub handshake_ratios: Vec<Ratio>,
    /// What the reader must know.
    pub warnings: Vec<String>,
    /// Why the run ended early; the figures are those until then.
    pub fault: Option<String>,
}

/// Medians of one subject over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Medians {
    /// Which.
    pub subject: &'static str,
    /// How many rounds.
    pub rounds: usize,
    /// The server's processor seconds for a million delivered snapshots.
    pub server_cpu_per_million: Option<f64>,
    /// Share of the snapshots that were due.
    pub delivered: Option<f64>,
    /// 99th percentile of the ticks' lateness.
    pub lateness_p99_us: Option<f64>,
    /// 99th percentile of the jitter.
    pub jitter_p99_us: Option<f64>,
    /// 99th percentile of the state's age.
    pub age_p99_us: Option<f64>,
    /// Resident bytes for each link.
    pub resident_per_link: Option<f64>,
}

/// One subject over another.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Which.
    pub subject: &'static str,
    /// Over which.
    pub over: &'static str,
    /// Server processor time for a delivered snapshot: the median of the rounds' ratios.
    pub cpu: f64,
    /// Each round's.
    pub rounds: Vec<f64>,
}

impl Report {
    /// Puts measurements together.
    pub fn new(subjects: &[Subject], measurements: Vec<Figures>, options: &Options) -> Self {
        let of = |subject: Subject| -> Vec<&Figures> {
            measurements.iter().filter(|figures| figures.subject == subject.name()).collect()
        };
        let medians = subjects.iter().map(|subject| Medians::of(subject.name(), &of(*subject))).collect();
        let mut ratios = Vec::new();
        for subject in subjects.iter().filter(|subject| !subject.is_floor()) {
            for over in subjects.iter().filter(|over| *over != subject && is_a_base(**over, *subject)) {
                let rounds: Vec<f64> = of(*subject)
                    .iter()
                    .zip(of(*over))
                    .filter_map(|(one, other)| Some(one.server_cpu_per_million? / other.server_cpu_per_million?))
                    .collect();
                if let Some(cpu) = median(rounds.clone()) {
                    ratios.push(Ratio { subject: subject.name(), over: over.name(), cpu, rounds });
                }
            }
        }
        let warnings = warnings(&measurements, options);
        Self {
            command: std::env::args().collect::<Vec<_>>().join(" "),
            processor: machine::processor(),
            cores: machine::cores(),
            kernel: machine::kernel(),
            idle_timers_us: Vec::new(),
            measurements,
            medians,
            ratios,
            ceilings: Vec::new(),
            handshakes: Vec::new(),
            handshake_ratios: Vec::new(),
            warnings,
            fault: None,
        }
    }
}

impl Report {
    /// Adds what was measured of handshakes.
    pub fn take_handshakes(&mut self, subjects: &[Subject], handshakes: Vec<Handshakes>) {
        let of = |subject: Subject| handshakes.iter().filter(move |one| one.subject == subject.name());
        for (subject, over) in [
            (Subject::Websocket, Subject::Bare),
            (Subject::WebsocketTls, Subject::Websocket),
            (Subject::BareTls, Subject::Bare),
            (Subject::Webtransport, Subject::WebsocketTls),
        ] {
            if !subjects.contains(&subject) || !subjects.contains(&over) {
                continue;
            }
            let rounds: Vec<f64> =
                of(subject).zip(of(over)).map(|(one, other)| one.cpu_alone_us / other.cpu_alone_us).collect();
            if let Some(cpu) = median(rounds.clone()) {
                self.handshake_ratios.push(Ratio { subject: subject.name(), over: over.name(), cpu, rounds });
            }
        }
        self.handshakes = handshakes;
    }
}

impl Medians {
    fn of(subject: &'static str, rounds: &[&Figures]) -> Self {
        let over =
            |value: &dyn Fn(&Figures) -> Option<f64>| median(rounds.iter().filter_map(|one| value(one)).collect());
        Self {
            subject,
            rounds: rounds.len(),
            server_cpu_per_million: over(&|one| one.server_cpu_per_million),
            delivered: over(&|one| Some(one.delivered)),
            lateness_p99_us: over(&|one| one.lateness_p99_us),
            jitter_p99_us: over(&|one| Some(one.jitter_us.p99 as f64)),
            age_p99_us: over(&|one| Some(one.age_us.p99 as f64)),
            resident_per_link: over(&|one| one.resident_per_link),
        }
    }
}

/// Everything is set against the floors, and the dearer ways against plain WebSocket.
fn is_a_base(over: Subject, subject: Subject) -> bool {
    over.is_floor() || (over == Subject::Websocket && subject != Subject::Websocket)
}

fn warnings(measurements: &[Figures], options: &Options) -> Vec<String> {
    let mut warnings = Vec::new();
    if options.url.is_none() && machine::cores() < 2 {
        warnings.push("one core for server and players: they take each other's time, and no figure holds".into());
    }
    let busiest = measurements.iter().filter(|one| one.tester_was_the_bottleneck());
    if let Some(one) = busiest.max_by(|a, b| a.own_core.total_cmp(&b.own_core)) {
        let share = one.own_core * 100.0;
        warnings.push(format!(
            "the tester itself was the bottleneck: it used {share:.0} % of its core ({}); take fewer players",
            one.subject
        ));
    }
    if let Some(one) = measurements.iter().find(|one| one.delivered > 0.0 && one.delivered < 0.999) {
        let share = one.delivered * 100.0;
        warnings.push(format!("only {share:.2} % of the snapshots that were due came ({})", one.subject));
    }
    if let Some(one) = measurements.iter().find(|one| one.lost > 0) {
        warnings.push(format!("{} links were lost though nobody asked for it ({})", one.lost, one.subject));
    }
    if options.scale < 1.0 {
        warnings.push("players and handshakes were scaled down: the figures are not those of the aims".into());
    }
    if measurements.iter().any(|one| one.forged_accepted > 0) {
        warnings.push("forged tickets were let in".into());
    }
    if measurements.iter().any(|one| one.revoked_accepted > 0) {
        warnings.push("revoked tickets were let in".into());
    }
    if let Some(one) = measurements.iter().find(|one| one.untold > 0) {
        warnings.push(format!(
            "{} players were not told by the end of the window that they are revoked ({})",
            one.untold, one.subject
        ));
    }
    warnings
}
