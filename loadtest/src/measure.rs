//! One subject, measured once: its server is started, the players come, play, and are watched; figures come out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock;
use crate::crew::Crew;
use crate::fault::Fault;
use crate::figures::Figures;
use crate::load::orders::Word;
use crate::machine::{self, Process};
use crate::metrics::Scrape;
use crate::options::{Options, Scenario, Subject};
use crate::progress::Progress;
use crate::target::Target;

/// Figures, as far as they were taken, and what went wrong.
pub struct Measured {
    /// What was seen.
    pub figures: Option<Figures>,
    /// Why it is not all of it.
    pub fault: Option<Fault>,
}

/// Measures a subject with so many players.
pub fn measure(options: &Options, subject: Subject, players: usize, progress: &Progress) -> Measured {
    match Run::start(options, subject, players) {
        Ok(run) => run.watch(options, progress),
        Err(fault) => Measured { figures: None, fault: Some(fault) },
    }
}

struct Run {
    subject: Subject,
    players: usize,
    target: Target,
    crew: Crew,
    resident_before: u64,
    ramp: f64,
}

/// What was used up to a moment.
#[derive(Default)]
struct Used {
    at: Duration,
    server: f64,
    own: Vec<(usize, f64)>,
    resident: u64,
    scrape: Option<Scrape>,
}

impl Run {
    fn start(options: &Options, subject: Subject, players: usize) -> Result<Self, Fault> {
        // A socket a player, as many again for those who come back, and some for everything else.
        machine::allow_files(players.div_ceil(usize::from(options.processes)) as u64 * 2 + 64)?;
        let target = Target::open(options, subject, players)?;
        let resident_before = target.process().map_or(0, Process::resident_bytes);
        let crowds = target.crowds(options, subject, players)?;
        let crew = match usize::from(options.processes) {
            1 => Crew::threads(crowds, options.load_core),
            processes => {
                let taken = options.spawn.then_some(options.server_core);
                Crew::processes(&crowds, processes, &machine::cores_from(options.load_core, taken))?
            }
        };
        Ok(Self { subject, players, target, crew, resident_before, ramp: options.arrivals_per_second() })
    }

    fn watch(mut self, options: &Options, progress: &Progress) -> Measured {
        let mut from = Used::default();
        let mut to = None;
        let mut seated = 0;
        let watched = self.watch_window(options, progress, &mut from, &mut to, &mut seated);
        let opened = from.at > Duration::ZERO;
        let to = to.unwrap_or_else(|| self.used(false));
        self.crew.tell(Word::After);
        let (seen, other) = self.crew.join();
        let mut fault = watched.err().or(other);
        if let Some(Fault::NotSeated { missing, players, why }) = &mut fault {
            *why = seen.worst_failure().unwrap_or("no answer in time").to_owned();
            let none = missing == players;
            if none && why.starts_with("bad-ticket") {
                fault = Some(Fault::TicketRejected(why.clone()));
            } else if none && why.starts_with("not-found") {
                fault = Some(Fault::NoSuchGame(options.game.clone()));
            }
        }
        let seconds = if opened { to.at.saturating_sub(from.at).as_secs_f64() } else { 0.0 };
        let mut figures = Figures::new(self.subject, self.players, seated, seconds, &seen);
        if opened {
            complete(&mut figures, self.resident_before, &from, &to);
        }
        Measured { figures: Some(figures), fault }
    }

    fn watch_window(
        &mut self,
        options: &Options,
        progress: &Progress,
        from: &mut Used,
        to: &mut Option<Used>,
        seated: &mut u64,
    ) -> Result<(), Fault> {
        self.wait_for_seats(progress)?;
        self.pass(options.warmup, |_, _| {})?;
        *seated = self.crew.seated();
        *from = self.used(true);
        self.crew.tell(Word::Open);
        let whole = options.window();
        let mut stormed = options.scenario() != Scenario::Storm || self.subject.is_floor();
        let mut flooded = false;
        self.pass(whole, |crew, passed| {
            if !flooded && passed > whole / 2 {
                flooded = true;
                crew.tell(Word::Flood);
            }
            if !stormed && passed > whole / 4 {
                stormed = true;
                crew.tell(Word::Storm);
            }
            progress.playing(passed, whole, crew.snapshots());
        })?;
        self.crew.tell(Word::After);
        *to = Some(self.used(true));
        self.target.probe()
    }

    /// Waits until everybody has a seat, or will not get one.
    fn wait_for_seats(&mut self, progress: &Progress) -> Result<(), Fault> {
        let players = self.players as u64;
        let until = clock::now() + Duration::from_secs_f64(self.players as f64 / self.ramp) + PATIENCE;
        loop {
            let (seated, failed) = (self.crew.seated(), self.crew.failed());
            progress.arriving(seated, players, failed);
            if seated >= players {
                return Ok(());
            }
            self.target.check()?;
            if seated + failed >= players || clock::now() > until {
                let missing = (players - seated) as usize;
                return Err(Fault::NotSeated { missing, players: self.players, why: String::new() });
            }
            self.crew.check()?;
            std::thread::sleep(GLANCE);
        }
    }

    /// Lets time pass and looks after the server meanwhile.
    fn pass(&mut self, whole: Duration, mut glance: impl FnMut(&mut Crew, Duration)) -> Result<(), Fault> {
        let start = clock::now();
        loop {
            let passed = clock::now().saturating_sub(start);
            glance(&mut self.crew, passed);
            if passed >= whole {
                return Ok(());
            }
            self.target.check()?;
            self.crew.check()?;
            if self.crew.seated() == 0 {
                // A storm, or the end of a server that nobody here has started.
                self.target.probe()?;
            }
            std::thread::sleep(GLANCE.min(whole - passed));
        }
    }

    fn used(&self, scrape: bool) -> Used {
        let process = self.target.process();
        let scrape = if scrape && !self.subject.is_floor() { Scrape::take(self.target.address) } else { None };
        Used {
            resident: process.map_or(0, Process::resident_bytes),
            scrape,
            own: self.crew.cpu_seconds(),
            server: process.map_or(0.0, Process::cpu_seconds),
            at: clock::now(),
        }
    }
}

/// Adds what the processes used between two moments.
fn complete(figures: &mut Figures, resident_before: u64, from: &Used, to: &Used) {
    let seconds = figures.seconds.max(0.001);
    figures.own_core = busiest_core(&from.own, &to.own) / seconds;
    // A server that has died has left nothing to read.
    if to.server > 0.0 && to.server >= from.server {
        let server = to.server - from.server;
        figures.server_core = Some(server / seconds);
        if figures.snapshots > 0 {
            figures.server_cpu_per_million = Some(server / figures.snapshots as f64 * 1e6);
        }
        let grown = to.resident.saturating_sub(resident_before);
        figures.resident_per_link = Some(grown as f64 / figures.seated.max(1) as f64);
    }
    if let (Some(before), Some(after)) = (&from.scrape, &to.scrape) {
        let lateness = after.buckets_since(before, "muster_tick_lateness_seconds");
        figures.lateness_p50_us = lateness.quantile_us(0.5);
        figures.lateness_p99_us = lateness.quantile_us(0.99);
        let name = "muster_ticks_skipped_total";
        figures.ticks_skipped = Some(after.sum(name) - before.sum(name));
    }
}

/// Processor seconds of the tester on the core where it used most.
fn busiest_core(from: &[(usize, f64)], to: &[(usize, f64)]) -> f64 {
    let mut cores = BTreeMap::<usize, f64>::new();
    for ((core, before), (_, after)) in from.iter().zip(to) {
        *cores.entry(*core).or_default() += (after - before).max(0.0);
    }
    cores.into_values().fold(0.0, f64::max)
}

/// How long the last player may take to its seat.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the tester looks after its server.
const GLANCE: Duration = Duration::from_millis(50);
