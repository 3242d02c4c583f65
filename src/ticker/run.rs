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
        let mut audience: Vec<(u64, Arc<dyn Outlet>)> = Vec::new();
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
            let ended = ROOM.with_borrow_mut(|room| self.run_ticks(&plan, &mut simulation, &mut audience, room));
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    /// Runs the ticks that are due and sends what they led to; tells how the session ended, if it did.
    fn run_ticks(
        &self,
        plan: &TickPlan,
        simulation: &mut Simulation,
        audience: &mut Vec<(u64, Arc<dyn Outlet>)>,
        room: &mut Room,
    ) -> Option<Outcome> {
        let Room { batch, state, applied } = room;
        for left in (0..plan.run).rev() {
            let tick = simulation.tick().next();
            self.tick.store(tick.0, Ordering::Relaxed);
            let mut frames = self.take(tick, batch, audience);
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
                let mut frames = frames.take().unwrap_or_default();
                frames.renew(self.tag, simulation.tick(), time_us, newest, state);
                self.broadcast(&frames, audience);
                self.inbox.lock().newest = Some(frames);
            }
            if let Some(result) = stepped.ended {
                return Some(Outcome::Finished(result));
            }
        }
        None
    }

    /// Takes what has come for a tick, and the snapshot before it for its memory.
    fn take(
        &self,
        tick: Tick,
        batch: &mut Batch,
        audience: &mut Vec<(u64, Arc<dyn Outlet>)>,
    ) -> Option<SnapshotFrames> {
        let mut inbox = self.inbox.lock();
        inbox.tick = tick;
        inbox.mailbox.drain_into(batch);
        for change in inbox.changes.drain(..) {
            match change {
                Change::Attach(link, outlet) => audience.push((link, outlet)),
                Change::Detach(link) => audience.retain(|(known, _)| *known != link),
            }
        }
        inbox.newest.take()
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

/// Waits for whichever comes first. What `listens` already is not asked again before something wakes the task: that would
/// cost as much as a short game's step.
async fn wait(mut due: Pin<&mut impl Future>, mut stopped: Pin<&mut impl Future>, listens: &mut bool) {
    poll_fn(|context| {
        if due.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if std::mem::take(listens) {
            return Poll::Pending;
        }
        stopped.as_mut().poll(context).map(|_| ())
    })
    .await;
    *listens = true;
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
