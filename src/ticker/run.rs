//! One session on its schedule: inputs in, a tick, one snapshot to every link.
//!
//! Owns: the session's mailbox and audience, and the task that ticks. Must not know: lobbies, players, transports.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::schedule::{Schedule, TickPlan};
use crate::clock::Clock;
use crate::ids::{InputSeq, SeatId, SessionId, SessionTag, Tick};
use crate::metrics::{InputDrop, Metrics};
use crate::outbox::{Offered, Outlet, Transport};
use crate::session::{Batch, Halted, InputOutcome, Mailbox, Simulation};
use crate::wire::{InputBatch, SnapshotFrames};

/// What the rest of the server shares with a session's task.
///
/// What a tick and an input touch of it comes first and lies together: it is cold whenever they come.
#[repr(C, align(64))]
pub struct SessionRun {
    /// The tick that is under way or passed last.
    tick: AtomicU32,
    tag: SessionTag,
    hz: u8,
    stopping: AtomicBool,
    inbox: Mutex<Inbox>,
    id: SessionId,
    stop: Notify,
    metrics: Arc<Metrics>,
}

#[repr(C)]
struct Inbox {
    /// The newest tick of which anybody can have seen a snapshot.
    tick: Tick,
    mailbox: Mailbox,
    changes: Vec<Change>,
    /// For those who come before the next tick.
    newest: Option<SnapshotFrames>,
}

thread_local! {
    /// One for all sessions that tick on a thread: what a tick writes to is hot from the one before, which its own would not
    /// be after 50 ms.
    static ROOM: RefCell<Room> = RefCell::default();
}

/// What a tick needs for as long as it runs.
#[derive(Default)]
struct Room {
    batch: Batch,
    state: Vec<u8>,
    applied: Vec<(SeatId, InputSeq)>,
}

/// Who gets snapshots: the link's number, and the way out to it.
type Audience = Vec<(u64, Arc<dyn Outlet>)>;

/// Who is to get snapshots from the next tick on.
enum Change {
    Attach(u64, Arc<dyn Outlet>),
    Detach(u64),
}

/// How a session came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The game ended, with its result.
    Finished(Vec<u8>),
    /// The game failed.
    Crashed(String),
    /// It was stopped from outside.
    Stopped,
}

impl SessionRun {
    /// A session with so many seats, before its first tick.
    pub fn new(id: SessionId, tag: SessionTag, hz: u8, seats: u16, metrics: Arc<Metrics>) -> Self {
        let inbox = Inbox { mailbox: Mailbox::new(seats), tick: Tick::default(), changes: Vec::new(), newest: None };
        Self {
            id,
            tag,
            hz,
            tick: AtomicU32::new(0),
            inbox: Mutex::new(inbox),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
            metrics,
        }
    }

    /// The session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its short number.
    pub fn tag(&self) -> SessionTag {
        self.tag
    }

    /// Ticks per second.
    pub fn hz(&self) -> u8 {
        self.hz
    }

    /// The session's own time, in which every tick takes a second.
    pub fn game_time(&self) -> Duration {
        Duration::from_secs(self.tick.load(Ordering::Relaxed).into())
    }

    /// Takes a link's inputs into the next tick. Repeated ones are known by their number. What has seen a tick that is
    /// still to come was meant for the session before this one: taking its numbers would shut out the ones to come.
    pub fn push_inputs(&self, seat: SeatId, batch: InputBatch<'_>) {
        let mut inbox = self.inbox.lock();
        if batch.seen > inbox.tick {
            self.metrics.inputs_dropped.of(InputDrop::Old).inc_by(batch.count() as u64);
            return;
        }
        for (seq, data) in batch {
            let reason = match inbox.mailbox.push_input(seat, seq, data) {
                InputOutcome::Accepted => {
                    self.metrics.inputs_accepted.inc();
                    continue;
                }
                InputOutcome::Duplicate => InputDrop::Duplicate,
                InputOutcome::Old => InputDrop::Old,
                InputOutcome::NotSeated => InputDrop::NoSeat,
                InputOutcome::Full => InputDrop::TooMany,
                InputOutcome::TooLong => InputDrop::Malformed,
            };
            self.metrics.inputs_dropped.of(reason).inc();
        }
    }

    /// Changes what waits for the next tick: joins, leaves, presence.
    pub fn mailbox<T>(&self, change: impl FnOnce(&mut Mailbox) -> T) -> T {
        change(&mut self.inbox.lock().mailbox)
    }

    /// Sends snapshots to a link: the newest at once, for its player to see the game before the next tick, which brings
    /// the next one.
    pub fn attach(&self, link: u64, outlet: Arc<dyn Outlet>) {
        // Under the lock, so that no tick comes between and its snapshot before this older one.
        let mut inbox = self.inbox.lock();
        if let Some(newest) = &inbox.newest {
            self.broadcast(newest, &[(link, Arc::clone(&outlet))]);
        }
        inbox.changes.push(Change::Attach(link, outlet));
    }

    /// Sends no more snapshots to a link.
    pub fn detach(&self, link: u64) {
        self.inbox.lock().changes.push(Change::Detach(link));
    }

    /// Ends the session before its next tick.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_one();
    }

    /// Ticks until the end. `now` is the node's clock.
    ///
    /// # Cancel safety
    /// Not to be dropped between ticks: the session would stand still.
    pub async fn drive(&self, mut simulation: Simulation, start: Duration, clock: Clock) -> Outcome {
        let mut schedule = Schedule::new(self.hz, start);
        let (mut audience, mut frames) = (Vec::new(), SnapshotFrames::default());
        // Made once: to be listed anew with those who wait costs as much as a short game's step.
        let (mut stopped, mut listens) = (pin!(self.stop.notified()), false);
        let mut sleep = pin!(tokio::time::sleep_until(clock.instant(schedule.next_due())));
        loop {
            sleep.as_mut().reset(clock.instant(schedule.next_due()));
            wait(sleep.as_mut(), stopped.as_mut(), &mut listens).await;
            if self.stopping.load(Ordering::Acquire) {
                return Outcome::Stopped;
            }
            let plan = schedule.advance(clock.now());
            self.metrics.tick_lateness.observe(plan.lateness.as_secs_f64());
            self.metrics.ticks.inc_by(u64::from(plan.run));
            self.metrics.ticks_skipped.inc_by(plan.skipped);
            let ended =
                ROOM.with_borrow_mut(|room| self.run_ticks(&plan, &mut simulation, &mut audience, &mut frames, room));
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    /// Runs the ticks that are due and sends what they led to, in the memory of `frames`; tells how the session ended, if it
    /// did.
    fn run_ticks(
        &self,
        plan: &TickPlan,
        simulation: &mut Simulation,
        audience: &mut Audience,
        frames: &mut SnapshotFrames,
        room: &mut Room,
    ) -> Option<Outcome> {
        let Room { batch, state, applied } = room;
        for left in (0..plan.run).rev() {
            let tick = simulation.tick().next();
            self.tick.store(tick.0, Ordering::Relaxed);
            self.take(tick, batch, audience);
            let stepped = simulation.run_tick(batch);
            // While it is hot.
            batch.clear();
            let stepped = match stepped {
                Ok(stepped) => stepped,
                Err(halted) => return Some(crashed(halted)),
            };
            self.metrics.inputs_dropped.of(InputDrop::Malformed).inc_by(u64::from(stepped.undecodable));
            // Of several ticks that are caught up with, only the last is worth sending, and that only where somebody is.
            if !audience.is_empty() && (left == 0 || stepped.ended.is_some()) {
                state.clear();
                if let Err(halted) = simulation.write_state(state) {
                    return Some(crashed(halted));
                }
                applied.clear();
                applied.extend(simulation.applied());
                let time_us = plan.due.as_micros() as u64;
                let newest = applied.iter().copied();
                frames.renew(self.tag, simulation.tick(), time_us, newest, state);
                self.broadcast(frames, audience);
                // The one before it lends its memory to the next.
                match &mut self.inbox.lock().newest {
                    Some(newest) => std::mem::swap(newest, frames),
                    none => *none = Some(std::mem::take(frames)),
                }
            }
            if let Some(result) = stepped.ended {
                return Some(Outcome::Finished(result));
            }
        }
        None
    }

    /// Takes what has come for a tick.
    fn take(&self, tick: Tick, batch: &mut Batch, audience: &mut Audience) {
        let mut inbox = self.inbox.lock();
        inbox.tick = tick;
        inbox.mailbox.drain_into(batch);
        for change in inbox.changes.drain(..) {
            match change {
                Change::Attach(link, outlet) => audience.push((link, outlet)),
                Change::Detach(link) => audience.retain(|(known, _)| *known != link),
            }
        }
        if audience.is_empty() {
            // Soon it will be of long ago.
            inbox.newest = None;
        }
    }

    /// One frame, built once, straight to the socket of every link that has nothing waiting.
    fn broadcast(&self, frames: &SnapshotFrames, audience: &[(u64, Arc<dyn Outlet>)]) {
        let mut counts = [Counts::default(); Transport::ALL.len()];
        audience.iter().for_each(|(_, outlet)| outlet.warm());
        for (_, outlet) in audience {
            let count = &mut counts[outlet.transport() as usize];
            match outlet.offer_snapshot(frames) {
                Offered::Sent | Offered::Waiting => count.sent += 1,
                Offered::Replaced => count.replaced += 1,
                Offered::Closed => {}
            }
        }
        for (transport, count) in Transport::ALL.into_iter().zip(counts) {
            // One that waits is counted once it waits; should a newer one take its place, that one is counted for it.
            let handed = count.sent + count.replaced;
            if handed == 0 {
                continue;
            }
            self.metrics.snapshots_sent.of(transport).inc_by(count.sent);
            self.metrics.snapshots_replaced.of(transport).inc_by(count.replaced);
            self.metrics.messages_out.of(transport).inc_by(count.sent);
            self.metrics.bytes_out.of(transport).inc_by(handed * frames.websocket().len() as u64);
        }
    }
}

/// Waits for whichever comes first. Once `listens`, `stopped` is only asked when something other than `due` has woken the task:
/// to ask each time costs as much as a short game's step.
async fn wait(mut due: Pin<&mut impl Future>, mut stopped: Pin<&mut impl Future>, listens: &mut bool) {
    let mut woken = false;
    poll_fn(|context| {
        if due.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut woken, true) && *listens {
            return Poll::Pending;
        }
        *listens = true;
        stopped.as_mut().poll(context).map(|_| ())
    })
    .await;
}

/// What became of one snapshot, over all links of a transport.
#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    replaced: u64,
}

fn crashed(halted: Halted) -> Outcome {
    match halted {
        Halted::Ended => Outcome::Stopped,
        Halted::Panicked(said) => Outcome::Crashed(said),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::game::{Flow, Game, Setup, TickContext, erase};
    use crate::outbox::QueueFull;
    use crate::wire::Code;

    /// Counts how often it is asked for its state.
    struct Still(Arc<AtomicU32>);

    impl Game for Still {
        const NAME: &'static str = "still";
        const PLAYERS: std::ops::RangeInclusive<u16> = 1..=2;
        type Settings = ();
        type Input = ();
        type State = u32;

        fn new((): (), _: &Setup) -> Self {
            Self(Arc::default())
        }

        fn input(&mut self, _: SeatId, (): ()) {}

        fn step(&mut self, _: &TickContext) -> Flow {
            Flow::Continue
        }

        fn snapshot(&self) -> u32 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }
    }

    /// Keeps the ticks of the snapshots it is offered.
    #[derive(Default)]
    struct Watcher(Mutex<Vec<u32>>);

    impl Outlet for Watcher {
        fn transport(&self) -> Transport {
            Transport::Memory
        }

        fn offer_snapshot(&self, frames: &SnapshotFrames) -> Offered {
            let message = crate::codec::decode(&frames.body()).unwrap();
            if let crate::wire::ServerMessage::Snapshot(snapshot) = message {
                self.0.lock().push(snapshot.tick.0);
            }
            Offered::Sent
        }

        fn queue(&self, _: &Bytes) -> Result<(), QueueFull> {
            Ok(())
        }

        fn flush(&self) {}

        fn close(&self, _: Code, _: &Bytes) {}
    }

    /// A session on a clock that is stopped, whose first tick is due after `wait`, and the count of its states.
    fn session(hz: u8, wait: Duration) -> (Arc<SessionRun>, Arc<AtomicU32>, tokio::task::JoinHandle<Outcome>) {
        let run = Arc::new(SessionRun::new(SessionId(1), SessionTag(1), hz, 2, Arc::new(Metrics::new())));
        let states = Arc::new(AtomicU32::new(0));
        let simulation = Simulation::new(erase(Still(Arc::clone(&states))), 2, hz);
        let clock = Clock::start();
        let driven = Arc::clone(&run);
        let task = tokio::spawn(async move { driven.drive(simulation, clock.now() + wait, clock).await });
        (run, states, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_hears_at_once_that_it_is_stopped_whenever_it_first_ticked() {
        for wait in [Duration::ZERO, Duration::from_millis(300)] {
            let (run, _, task) = session(1, wait);
            tokio::time::sleep(Duration::from_millis(2_400)).await;
            let stopped = tokio::time::Instant::now();
            run.stop();
            assert_eq!(task.await.unwrap(), Outcome::Stopped);
            assert!(stopped.elapsed() < Duration::from_millis(10), "{:?}", stopped.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_nobody_watches_writes_no_state_and_who_comes_sees_only_what_is_new() {
        let (run, states, _task) = session(20, Duration::from_millis(50));
        let next_ticks = async |count: u64| tokio::time::sleep(Duration::from_millis(50 * count)).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
        next_ticks(3).await;
        assert_eq!(states.load(Ordering::Relaxed), 0);
        let (first, second) = (Arc::new(Watcher::default()), Arc::new(Watcher::default()));
        run.attach(1, Arc::clone(&first) as Arc<dyn Outlet>);
        next_ticks(2).await;
        run.attach(2, Arc::clone(&second) as Arc<dyn Outlet>);
        next_ticks(1).await;
        run.detach(1);
        run.detach(2);
        next_ticks(4).await;
        assert_eq!(*first.0.lock(), [4, 5, 6]);
        assert_eq!(*second.0.lock(), [5, 6], "the newest at once, for one who is not the first");
        assert_eq!(states.load(Ordering::Relaxed), 3);
        run.attach(3, Arc::clone(&second) as Arc<dyn Outlet>);
        next_ticks(1).await;
        assert_eq!(*second.0.lock(), [5, 6, 11], "not a state of long ago");
    }
}
