//! One subject, measured once: its server is started, the players come, play, and are watched; figures come out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::fault::Fault;
use crate::figures::Figures;
use crate::load::{AFTER, OPEN, Seen, Shared};
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
    shared: Arc<Shared>,
    crowds: Vec<JoinHandle<Result<Seen, Fault>>>,
    resident_before: u64,
    ramp: f64,
}

/// What was used up to a moment.
#[derive(Default)]
struct Used {
    at: Duration,
    server: f64,
    own: f64,
    resident: u64,
    scrape: Option<Scrape>,
}

impl Run {
    fn start(options: &Options, subject: Subject, players: usize) -> Result<Self, Fault> {
        // A socket a player, as many again for those who come back, and some for everything else.
        machine::allow_files(players as u64 * 2 + 64)?;
        let target = Target::open(options, subject, players)?;
        let shared = Shared::new();
        let resident_before = target.process().map_or(0, Process::resident_bytes);
        let mut crowds = Vec::new();
        for crowd in target.crowds(options, subject, players)? {
            let (shared, core) = (Arc::clone(&shared), options.load_core);
            crowds.push(std::thread::spawn(move || {
                machine::pin(core);
                crowd.run(&shared)
            }));
        }
        Ok(Self { subject, players, target, shared, crowds, resident_before, ramp: options.arrivals_per_second() })
    }

    fn watch(mut self, options: &Options, progress: &Progress) -> Measured {
        let mut from = Used::default();
        let mut to = None;
        let mut seated = 0;
        let watched = self.watch_window(options, progress, &mut from, &mut to, &mut seated);
        let opened = from.at > Duration::ZERO;
        let to = to.unwrap_or_else(|| self.used(false));
        self.shared.phase.store(AFTER, Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        let mut fault = watched.err();
        for crowd in std::mem::take(&mut self.crowds) {
            match crowd.join() {
                Ok(Ok(part)) => seen.add(&part),
                Ok(Err(other)) => fault = fault.or(Some(other)),
                Err(_) => fault = fault.or_else(|| Some(Fault::local("the players", "their thread panicked"))),
            }
        }
        if let Some(Fault::NotSeated { missing, players, why }) = &mut fault {
            *why = seen.worst_failure().unwrap_or("no answer in time").to_owned();
            if missing == players && why.starts_with("bad-ticket") {
                fault = Some(Fault::TicketRejected(why.clone()));
            }
        }
        let seconds = if opened { to.at.saturating_sub(from.at).as_secs_f64() } else { 0.0 };
        let mut figures = Figures::new(self.subject, self.players, seated, seconds, &seen);
        if opened {
            self.complete(&mut figures, &from, &to);
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
        *seated = self.shared.seated.load(Ordering::Relaxed);
        *from = self.used(true);
        self.shared.phase.store(OPEN, Ordering::Relaxed);
        let whole = options.window();
        let mut stormed = options.scenario() != Scenario::Storm || self.subject.is_floor();
        self.pass(whole, |shared, passed| {
            if !stormed && passed > whole / 4 {
                stormed = true;
                shared.storm.fetch_add(1, Ordering::Relaxed);
            }
            progress.playing(passed, whole, shared.snapshots.load(Ordering::Relaxed));
        })?;
        self.shared.phase.store(AFTER, Ordering::Relaxed);
        *to = Some(self.used(true));
        Ok(())
    }

    /// Waits until everybody has a seat, or will not get one.
    fn wait_for_seats(&mut self, progress: &Progress) -> Result<(), Fault> {
        let players = self.players as u64;
        let until = clock::now() + Duration::from_secs_f64(self.players as f64 / self.ramp) + PATIENCE;
        loop {
            let (seated, failed) =
                (self.shared.seated.load(Ordering::Relaxed), self.shared.failed.load(Ordering::Relaxed));
            progress.arriving(seated, players, failed);
            if seated >= players {
                return Ok(());
            }
            self.target.check()?;
            if seated + failed >= players || clock::now() > until {
                let missing = (players - seated) as usize;
                return Err(Fault::NotSeated { missing, players: self.players, why: String::new() });
            }
            self.check_crowds()?;
            std::thread::sleep(GLANCE);
        }
    }

    /// Lets time pass and looks after the server meanwhile.
    fn pass(&mut self, whole: Duration, mut glance: impl FnMut(&Shared, Duration)) -> Result<(), Fault> {
        let start = clock::now();
        loop {
            let passed = clock::now().saturating_sub(start);
            glance(&self.shared, passed);
            if passed >= whole {
                return Ok(());
            }
            self.target.check()?;
            self.check_crowds()?;
            std::thread::sleep(GLANCE.min(whole - passed));
        }
    }

    fn check_crowds(&self) -> Result<(), Fault> {
        // What ended them comes out when they are joined.
        let over = self.crowds.iter().any(JoinHandle::is_finished);
        if over { Err(Fault::local("the players", "they ended before their time")) } else { Ok(()) }
    }

    fn used(&self, scrape: bool) -> Used {
        let process = self.target.process();
        let scrape = if scrape && !self.subject.is_floor() { Scrape::take(self.target.address) } else { None };
        Used {
            resident: process.map_or(0, Process::resident_bytes),
            scrape,
            own: Process::own().cpu_seconds(),
            server: process.map_or(0.0, Process::cpu_seconds),
            at: clock::now(),
        }
    }

    fn complete(&self, figures: &mut Figures, from: &Used, to: &Used) {
        let seconds = figures.seconds.max(0.001);
        figures.own_core = (to.own - from.own) / seconds;
        // A server that has died has left nothing to read.
        if self.target.process().is_some() && to.server >= from.server {
            let server = to.server - from.server;
            figures.server_core = Some(server / seconds);
            if figures.snapshots > 0 {
                figures.server_cpu_per_million = Some(server / figures.snapshots as f64 * 1e6);
            }
            let grown = to.resident.saturating_sub(self.resident_before);
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
}

/// How long the last player may take to its seat.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the tester looks after its server.
const GLANCE: Duration = Duration::from_millis(50);
