//! A player whose hands are a random walk: it says it is ready, and moves with every snapshot.
//!
//! Owns: what one player has seen so far, and what it does about it. Must not know: how it is shown.

use std::f32::consts::TAU;
use std::time::Duration;

use crate::client::{ConnectError, Engine, Event, SnapshotView, Stats};
use crate::game::arena::Input;
use crate::ids::PlayerId;
use crate::wire::{LobbyStatus, LobbyView, Request, Roster, Seated};

/// One player and what it has seen.
#[derive(Debug)]
pub(super) struct Pilot {
    engine: Engine,
    pub(super) me: Option<PlayerId>,
    pub(super) lobby: Option<LobbyView>,
    pub(super) seated: Option<Seated>,
    pub(super) roster: Option<Roster>,
    pub(super) snapshot: Option<SnapshotView>,
    /// The last thing said or done, for the screen.
    pub(super) note: String,
    /// Ages of states in milliseconds, one count each; the last holds everything older.
    ages: [u32; AGES],
    walk: Walk,
    asked_ready: bool,
}

impl Pilot {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            me: None,
            lobby: None,
            seated: None,
            roster: None,
            snapshot: None,
            note: String::new(),
            ages: [0; AGES],
            walk: Walk::new(super::random()),
            asked_ready: false,
        }
    }

    /// The next event, after it was acted on.
    ///
    /// # Cancel safety
    /// Cancel-safe, as [`Engine::next`].
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.engine.next().await?;
        self.handle(&event);
        Some(event)
    }

    /// Leaves for good, and waits until that is said.
    pub(super) async fn leave(&mut self) {
        self.engine.leave();
        while self.engine.next().await.is_some() {}
    }

    pub(super) fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// The age that this share of the states stayed under.
    pub(super) fn age_at(&self, share: f64) -> Duration {
        let wanted = (f64::from(self.ages.iter().sum::<u32>()) * share).ceil() as u32;
        let mut seen = 0;
        let index = self.ages.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_millis(index.unwrap_or_default() as u64)
    }

    fn handle(&mut self, event: &Event) {
        match event {
            Event::Arrived(arrival) => {
                self.me = Some(arrival.player.clone());
                (self.lobby, self.seated, self.roster, self.snapshot) = (None, None, None, None);
                self.asked_ready = false;
                self.note = format!("arrived as {} over {}", arrival.name, arrival.transport);
            }
            Event::Lobby(view) => {
                self.get_ready(view);
                self.lobby = Some(view.clone());
            }
            Event::Left { reason, .. } => {
                self.note = format!("no longer in the lobby: {reason:?}").to_lowercase();
                (self.lobby, self.seated, self.roster, self.snapshot) = (None, None, None, None);
                self.asked_ready = false;
            }
            Event::Seated(seated) => {
                if self.seated.as_ref().is_none_or(|before| before.tag != seated.tag) {
                    self.snapshot = None;
                }
                self.note = format!("seated in a session of {}", seated.game);
                self.seated = Some(seated.clone());
            }
            Event::Roster(roster) => self.roster = Some(roster.clone()),
            Event::Snapshot(view) => self.fly(view),
            Event::Chat(line) => self.note = format!("{}: {}", line.name, line.text),
            Event::Ended(ended) => {
                self.note = format!("the session is over: {:?}", ended.reason).to_lowercase();
                (self.seated, self.roster, self.snapshot) = (None, None, None);
                self.asked_ready = false;
            }
            Event::Resumed => self.note = "the link is back; nothing was missed".into(),
            Event::TicketWanted { .. } => self.note = "the server wants a fresh ticket".into(),
            Event::Renewed { .. } => self.note = "a fresh ticket was taken".into(),
            Event::NotRenewed { cause } => self.note = format!("no fresh ticket: {cause}"),
            Event::Restarted => self.note = "the link is back".into(),
            Event::Reconnecting { attempt, wait, cause } => {
                let why = match cause {
                    ConnectError::Refused(refused) => refused.slug.as_str(),
                    ConnectError::NoTicket(_) => "no ticket to be had",
                    _ => "the link is lost",
                };
                self.note = format!("{why}; attempt {attempt} to come back in {:.1} s", wait.as_secs_f64());
            }
            // Ready comes too late where the session has begun meanwhile: no news.
            Event::Replied { outcome: Err(error), .. } if self.seated.is_none() => self.note = error.to_string(),
            Event::Replied { .. } | Event::List(_) | Event::Closed(_) => {}
        }
    }

    /// A lobby that gathers waits for its members to be ready.
    fn get_ready(&mut self, view: &LobbyView) {
        let unready = |m: &crate::wire::Member| Some(&m.player) == self.me.as_ref() && !m.ready;
        let waits = view.status == LobbyStatus::Gathering && view.members.iter().any(unready);
        if waits && !self.asked_ready {
            self.engine.request(Request::Ready(true));
            self.asked_ready = true;
        }
    }

    fn fly(&mut self, view: &SnapshotView) {
        let age = (view.age.as_millis() as usize).min(AGES - 1);
        if let Some(count) = self.ages.get_mut(age) {
            *count = count.saturating_add(1);
        }
        self.snapshot = Some(view.clone());
        if self.seated.as_ref().is_some_and(|seated| seated.seat.is_some()) {
            // Without a seat, or on a full way out, this move is not made: the next one is as good.
            let _ = self.engine.send_encoded(&self.walk.step());
        }
    }
}

/// A walk that turns a little with each step. In games other than the arena its bytes mean whatever they mean there.
#[derive(Debug)]
struct Walk {
    random: u64,
    heading: f32,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self { random: seed | 1, heading: (seed >> 40) as f32 / (1 << 24) as f32 * TAU }
    }

    fn step(&mut self) -> Input {
        // xorshift64: a walk needs no better randomness.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let turn = (self.random >> 40) as f32 / (1 << 24) as f32 - 0.5;
        self.heading = (self.heading + turn).rem_euclid(TAU);
        let (sin, cos) = self.heading.sin_cos();
        let aim = (self.heading / TAU * 256.0) as u8;
        Input { dx: (cos * 127.0) as i8, dy: (sin * 127.0) as i8, aim }
    }
}

/// Ages are counted up to this many milliseconds.
const AGES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_turns_slowly_and_never_stands_still() {
        let mut walk = Walk::new(7);
        let mut last = walk.step();
        for _ in 0..1_000 {
            let step = walk.step();
            let speed = f32::from(step.dx).hypot(f32::from(step.dy));
            assert!((120.0..=128.0).contains(&speed), "{speed}");
            let turned = step.aim.wrapping_sub(last.aim).cast_signed();
            assert!(turned.unsigned_abs() <= 22, "{turned}");
            last = step;
        }
    }
}
