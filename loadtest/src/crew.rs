//! Who lets the players play: threads of this process, or processes of their own.
//!
//! A process of players hears its orders and then single words on its standard input, and says how it stands on its
//! standard output. It ends when its input does, so that none is left behind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::fault::Fault;
use crate::load::orders::{CrowdOrders, Orders, Said, Word};
use crate::load::{AFTER, Crowd, OPEN, Seen, Shared};
use crate::machine::{self, Process};

/// Players at play.
pub enum Crew {
    /// In this process.
    Threads(Threads),
    /// In others.
    Processes(Vec<Worker>),
}

/// Players in threads of this process.
pub struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<Result<Seen, Fault>>>,
}

/// Players in one other process.
pub struct Worker {
    number: usize,
    core: usize,
    child: Child,
    words: ChildStdin,
    /// What it last said of itself.
    shared: Arc<Shared>,
    last_words: Option<JoinHandle<LastWords>>,
}

/// How a process of players ended: what it saw, and its fault.
type LastWords = (Option<Box<Seen>>, Option<String>);

impl Crew {
    /// Lets crowds play in threads of this process, on one core.
    pub fn threads(crowds: Vec<Crowd>, core: usize) -> Self {
        let shared = Shared::new();
        let start = |crowd: Crowd| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                machine::pin(core);
                crowd.run(&shared)
            })
        };
        let handles = crowds.into_iter().map(start).collect();
        Self::Threads(Threads { shared, handles })
    }

    /// Shares crowds out over processes, one core after the other. Fewer than asked for where there are fewer players.
    ///
    /// # Errors
    /// [`Fault::ChildStart`].
    pub fn processes(crowds: &[Crowd], processes: usize, cores: &[usize]) -> Result<Self, Fault> {
        let mut workers = Vec::new();
        for part in 0..processes {
            let shares: Vec<_> = crowds.iter().filter_map(|crowd| CrowdOrders::share(crowd, part, processes)).collect();
            if !shares.is_empty() {
                let core = cores.get(part % cores.len().max(1)).copied().unwrap_or_default();
                workers.push(Worker::start(part + 1, &Orders { crowds: shares, core })?);
            }
        }
        Ok(Self::Processes(workers))
    }

    /// Players that have a seat now.
    pub fn seated(&self) -> u64 {
        self.shared().map(|shared| shared.seated.load(Relaxed)).sum()
    }

    /// Players that will not get one.
    pub fn failed(&self) -> u64 {
        self.shared().map(|shared| shared.failed.load(Relaxed)).sum()
    }

    /// Snapshots within the window.
    pub fn snapshots(&self) -> u64 {
        self.shared().map(|shared| shared.snapshots.load(Relaxed)).sum()
    }

    fn shared(&self) -> impl Iterator<Item = &Shared> {
        let (threads, workers) = match self {
            Self::Threads(threads) => (Some(&*threads.shared), [].as_slice()),
            Self::Processes(workers) => (None, workers.as_slice()),
        };
        threads.into_iter().chain(workers.iter().map(|worker| &*worker.shared))
    }

    /// Tells everybody.
    pub fn tell(&mut self, word: Word) {
        match self {
            Self::Threads(threads) => obey(&threads.shared, word),
            Self::Processes(workers) => workers.iter_mut().for_each(|worker| worker.tell(word)),
        }
    }

    /// Whether all are still at it. What ended them comes out when they are joined.
    ///
    /// # Errors
    /// [`Fault`] when some ended before their time.
    pub fn check(&mut self) -> Result<(), Fault> {
        match self {
            Self::Threads(threads) => {
                let over = threads.handles.iter().any(JoinHandle::is_finished);
                if over { Err(Fault::local("the players", "they ended before their time")) } else { Ok(()) }
            }
            Self::Processes(workers) => workers.iter_mut().try_for_each(Worker::check),
        }
    }

    /// Processor seconds used so far, by core.
    pub fn cpu_seconds(&self) -> Vec<(usize, f64)> {
        match self {
            Self::Threads(_) => vec![(0, Process::own().cpu_seconds())],
            Self::Processes(workers) => {
                workers.iter().map(|worker| (worker.core, Process(worker.child.id()).cpu_seconds())).collect()
            }
        }
    }

    /// Tells everybody to go; what they saw, and the first thing that went wrong.
    pub fn join(mut self) -> (Seen, Option<Fault>) {
        self.tell(Word::Stop);
        let (mut seen, mut fault) = (Seen::default(), None);
        match self {
            Self::Threads(threads) => {
                for handle in threads.handles {
                    match handle.join() {
                        Ok(Ok(part)) => seen.add(&part),
                        Ok(Err(other)) => fault = fault.or(Some(other)),
                        Err(_) => fault = fault.or_else(|| Some(Fault::local("the players", "their thread panicked"))),
                    }
                }
            }
            Self::Processes(workers) => {
                for worker in workers {
                    let (part, other) = worker.join();
                    if let Some(part) = part {
                        seen.add(&part);
                    }
                    fault = fault.or(other);
                }
            }
        }
        (seen, fault)
    }
}

impl Worker {
    fn start(number: usize, orders: &Orders) -> Result<Self, Fault> {
        let failed = |why: &dyn std::fmt::Display| Fault::ChildStart {
            what: format!("players' process {number}"),
            why: why.to_string(),
        };
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut child = Command::new(program)
            .arg("players")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let (Some(words), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(&"it has no standard input and output"));
        };
        let shared = Shared::new();
        let last_words = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(out, &shared)
        });
        let mut worker = Self { number, core: orders.core, child, words, shared, last_words: Some(last_words) };
        let line = serde_json::to_string(orders).map_err(|error| failed(&error))?;
        writeln!(worker.words, "{line}").map_err(|error| failed(&error))?;
        Ok(worker)
    }

    fn tell(&mut self, word: Word) {
        // One that is gone is missed when it is checked, or joined.
        let _ = serde_json::to_string(&word).map(|line| writeln!(self.words, "{line}"));
    }

    fn check(&mut self) -> Result<(), Fault> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.died(&status)),
            Err(error) => Err(self.died(&error)),
        }
    }

    fn died(&self, how: &dyn std::fmt::Display) -> Fault {
        Fault::ChildDied { what: format!("players' process {}", self.number), how: how.to_string() }
    }

    fn join(mut self) -> (Option<Box<Seen>>, Option<Fault>) {
        let (seen, fault) = self.last_words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let fault = match (&seen, fault, self.child.wait()) {
            (_, Some(why), _) => Some(Fault::local(format!("players' process {}", self.number), why)),
            (None, None, Ok(status)) => Some(self.died(&status)),
            (None, None, Err(error)) => Some(self.died(&error)),
            (Some(_), None, _) => None,
        };
        (seen, fault)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Where it was joined it has ended already; else nobody wants to hear of it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Follows what a process of players says, up to its last word.
fn listen(out: ChildStdout, shared: &Shared) -> LastWords {
    let (mut seen, mut fault) = (None, None);
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Said::Now { seated, failed, snapshots }) => {
                shared.seated.store(seated, Relaxed);
                shared.failed.store(failed, Relaxed);
                shared.snapshots.store(snapshots, Relaxed);
            }
            Ok(Said::Seen(all)) => seen = Some(all),
            Ok(Said::Fault(why)) => fault = Some(why),
            Err(error) => fault = Some(format!("it said what nobody understands: {error}")),
        }
    }
    (seen, fault)
}

fn obey(shared: &Shared, word: Word) {
    match word {
        Word::Open => shared.phase.store(OPEN, Relaxed),
        Word::After => shared.phase.store(AFTER, Relaxed),
        Word::Storm => drop(shared.storm.fetch_add(1, Relaxed)),
        Word::Flood => shared.flood.store(true, Relaxed),
        Word::Stop => shared.stop.store(true, Relaxed),
    }
}

/// The other end: lets players play as the tester says, until it says stop or is gone.
///
/// # Errors
/// [`Fault`] when there are no orders, or nobody to report to.
pub fn run() -> Result<(), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("a process of players", why);
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| failed(&error))?;
    let orders: Orders = serde_json::from_str(&line).map_err(|error| failed(&error))?;
    let crowds: Vec<Crowd> = orders.crowds.into_iter().map(CrowdOrders::crowd).collect::<Result<_, _>>()?;
    let mut crew = Crew::threads(crowds, orders.core);
    let Crew::Threads(threads) = &crew else { return Ok(()) };
    let shared = Arc::clone(&threads.shared);
    std::thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if let Ok(word) = serde_json::from_str(&line) {
                    obey(&shared, word);
                }
            }
            obey(&shared, Word::Stop);
        }
    });
    while !shared.stop.load(Relaxed) && crew.check().is_ok() {
        say(&Said::Now { seated: crew.seated(), failed: crew.failed(), snapshots: crew.snapshots() })?;
        std::thread::sleep(GLANCE);
    }
    let (seen, fault) = crew.join();
    say(&Said::Seen(Box::new(seen)))?;
    fault.map_or(Ok(()), |fault| say(&Said::Fault(fault.to_string())))
}

fn say(what: &Said) -> Result<(), Fault> {
    let failed = |why: &dyn std::fmt::Display| Fault::local("reporting to the tester", why);
    let line = serde_json::to_string(what).map_err(|error| failed(&error))?;
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| failed(&error))
}

/// How often a process of players says how it stands.
const GLANCE: Duration = Duration::from_millis(20);
