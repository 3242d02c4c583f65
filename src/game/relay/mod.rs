//! `relay`: players' messages are put in one order and sent to all, so that a game can live in the clients alone.
//!
//! Owns: one numbered log of what players said and of who came and went. Must not know: what the messages mean.
//!
//! Snapshots may be lost or skipped (the newest wins), a lockstep game must miss nothing. So every message has a
//! number in the log, every input says which number its player needs next, and a snapshot carries two runs of the
//! log: the live run, the newest entries from the first one that somebody present still needs, at most half a second
//! of them; and, for one player who is further behind, in turn, a short catch-up run, repeated after a quarter of a
//! second when it is not answered. Both are bounded, so that nobody can make the others' snapshots large by not
//! answering. What has left the log is gone: `oldest` says so. `docs/games.md` has the bytes and the client's rule.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::{BadSettings, Flow, Game, Player, Setup, TickContext};
use crate::codec;
use crate::ids::{SeatId, Tick};

mod log;
mod message;

pub use message::{Action, Data, Entry, Event, Input, Run, Settings, State};

use log::{ENTRY_BYTES, Log};

/// The running game.
#[derive(Debug)]
pub struct Relay {
    seed: u64,
    log: Log,
    log_bytes: usize,
    last_tick: Option<u32>,
    tick: Tick,
    tick_hz: u8,
    /// What has arrived and is not in the log yet, in order of arrival.
    waiting: VecDeque<(SeatId, Event)>,
    /// In order of the seats.
    peers: Vec<Peer>,
    /// Whose turn it was to catch up.
    turn: u16,
    live: (u64, u64),
    catch_up: (u64, u64),
    voted: bool,
}

#[derive(Debug)]
struct Peer {
    seat: u16,
    present: bool,
    need: u64,
    /// When it last said anything.
    heard: Tick,
    /// What it needed when the catch-up run was last its own, and when that was.
    served: (u64, Tick),
    waiting_bytes: usize,
    result: Option<Data>,
}

impl Game for Relay {
    const NAME: &'static str = "relay";
    const PLAYERS: RangeInclusive<u16> = 1..=1_000;

    type Settings = Settings;
    type Input = Input;
    type State = State;

    fn check(settings: &Settings) -> Result<(), BadSettings> {
        match settings {
            Settings { log_kib, .. } if !(16..=1_024).contains(log_kib) => {
                Err(BadSettings("log must be from 16 to 1024 KiB".into()))
            }
            Settings { time_limit: 86_401.., .. } => Err(BadSettings("time limit must be at most 86400 s".into())),
            _ => Ok(()),
        }
    }

    fn new(settings: Settings, setup: &Setup) -> Self {
        Self {
            // Not the session's own seed, which is nobody's business.
            seed: setup.dice().roll(),
            log: Log::default(),
            log_bytes: usize::from(settings.log_kib) * 1_024,
            last_tick: (settings.time_limit > 0).then(|| settings.time_limit.saturating_mul(setup.tick_hz.into())),
            tick: Tick(0),
            tick_hz: setup.tick_hz,
            waiting: VecDeque::new(),
            peers: Vec::new(),
            turn: 0,
            live: (0, 0),
            catch_up: (0, 0),
            voted: false,
        }
    }

    fn join(&mut self, seat: SeatId, _: &Player) {
        let heard = self.tick;
        let served = (u64::MAX, heard);
        let peer = Peer { seat: seat.0, present: true, need: 0, heard, served, waiting_bytes: 0, result: None };
        if let Err(place) = self.place_of(seat) {
            self.peers.insert(place, peer);
        }
        self.waiting.push_back((seat, Event::Joined));
        self.voted = true;
    }

    fn leave(&mut self, seat: SeatId) {
        if let Ok(place) = self.place_of(seat) {
            self.peers.remove(place);
        }
        self.waiting.push_back((seat, Event::Left));
        self.voted = true;
    }

    fn absent(&mut self, seat: SeatId) {
        self.be_present(seat, false);
    }

    fn present(&mut self, seat: SeatId) {
        self.be_present(seat, true);
    }

    fn input(&mut self, seat: SeatId, input: Input) {
        let (tick, next) = (self.tick, self.log.next());
        let Some(peer) = self.peer(seat) else {
            return;
        };
        peer.heard = tick;
        peer.need = input.need.min(next);
        match input.action {
            Action::Nothing => {}
            Action::Say(data) => {
                let bytes = peer.waiting_bytes + data.0.len() + ENTRY_BYTES;
                if bytes <= WAITING_BYTES {
                    peer.waiting_bytes = bytes;
                    self.waiting.push_back((seat, Event::Said(data)));
                }
            }
            Action::Finish(result) => {
                peer.result = Some(result);
                self.voted = true;
            }
        }
    }

    fn step(&mut self, tick: &TickContext) -> Flow {
        self.tick = tick.tick;
        self.write_log();
        self.choose_runs();
        if std::mem::take(&mut self.voted)
            && let Some(result) = self.agreed()
        {
            return Flow::End(result);
        }
        if self.last_tick.is_some_and(|last| self.tick.0 >= last) { Flow::End(Vec::new()) } else { Flow::Continue }
    }

    fn snapshot(&self) -> State {
        let run = |(first, end)| Run { first, entries: self.log.run(first, end).cloned().collect() };
        State {
            seed: self.seed,
            oldest: self.log.oldest,
            next: self.log.next(),
            catch_up: run(self.catch_up),
            live: run(self.live),
        }
    }

    fn write_snapshot(&self, out: &mut Vec<u8>) {
        codec::encode_into(&(self.seed, self.log.oldest, self.log.next()), out);
        for (first, end) in [self.catch_up, self.live] {
            codec::encode_into(&(first, end - first), out);
            self.log.run(first, end).for_each(|entry| codec::encode_into(entry, out));
        }
    }
}

impl Relay {
    fn place_of(&self, seat: SeatId) -> Result<usize, usize> {
        self.peers.binary_search_by_key(&seat.0, |peer| peer.seat)
    }

    fn peer(&mut self, seat: SeatId) -> Option<&mut Peer> {
        let place = self.place_of(seat).ok()?;
        self.peers.get_mut(place)
    }

    fn be_present(&mut self, seat: SeatId, present: bool) {
        let tick = self.tick;
        if let Some(peer) = self.peer(seat) {
            (peer.present, peer.heard) = (present, tick);
            self.waiting.push_back((seat, if present { Event::Present } else { Event::Absent }));
            self.voted = true;
        }
    }

    /// Puts into the log what has arrived, as much as a tick may; the rest waits for the next one, in order.
    fn write_log(&mut self) {
        let mut room = TICK_BYTES;
        while let Some((seat, event)) = self.waiting.pop_front() {
            let bytes = event.bytes();
            let Some(left) = room.checked_sub(bytes) else {
                self.waiting.push_front((seat, event));
                break;
            };
            room = left;
            if let (Event::Said(_), Some(peer)) = (&event, self.peer(seat)) {
                peer.waiting_bytes = peer.waiting_bytes.saturating_sub(bytes);
            }
            self.log.push(Entry { tick: self.tick.0, seat: seat.0, event });
        }
        self.log.trim(self.log_bytes);
    }

    /// Chooses what the next snapshot carries.
    fn choose_runs(&mut self) {
        let (now, hz, next) = (self.tick.0, u32::from(self.tick_hz), self.log.next());
        let oldest_heard = now.saturating_sub(hz * GIVE_UP_SECONDS);
        let listening = |peer: &&Peer| peer.present && peer.heard.0 >= oldest_heard;
        let needed = self.peers.iter().filter(listening).map(|peer| peer.need).min().unwrap_or(next);

        let (mut first, mut room) = (next, LIVE_BYTES);
        for entry in self.log.entries.iter().rev() {
            let age = now.saturating_sub(entry.tick);
            let wanted = age < SPECTATOR_TICKS || (first > needed && age <= hz / 2);
            let Some(left) = room.checked_sub(entry.event.bytes()).filter(|_| wanted) else {
                break;
            };
            (first, room) = (first - 1, left);
        }
        self.live = (first, next);
        self.catch_up = (first, first);

        let oldest = self.log.oldest;
        let behind = |peer: &Peer| {
            let (needed, at) = peer.served;
            let answered = needed == u64::MAX || peer.need > needed;
            listening(&peer) && peer.need.max(oldest) < first && (answered || now.saturating_sub(at.0) > hz / 4)
        };
        let after = self.peers.iter().position(|peer| peer.seat > self.turn && behind(peer));
        let place = after.or_else(|| self.peers.iter().position(behind));
        let Some(peer) = place.and_then(|place| self.peers.get_mut(place)) else {
            return;
        };
        self.turn = peer.seat;
        peer.served = (peer.need, self.tick);
        let from = peer.need.max(oldest);
        let (mut end, mut room) = (from, CATCH_UP_BYTES);
        for entry in self.log.run(from, first) {
            let Some(left) = room.checked_sub(entry.event.bytes()) else {
                break;
            };
            (end, room) = (end + 1, left);
        }
        self.catch_up = (from, end);
    }

    /// The result that more than half of those present name.
    fn agreed(&self) -> Option<Vec<u8>> {
        let here = || self.peers.iter().filter(|peer| peer.present);
        let half = here().count() / 2;
        // Whoever has a majority outlives all others when votes cancel each other out pairwise.
        let (mut likely, mut lead) = (None, 0usize);
        for result in here().map(|peer| peer.result.as_ref()) {
            match () {
                () if lead == 0 => (likely, lead) = (result, 1),
                () if likely == result => lead += 1,
                () => lead -= 1,
            }
        }
        let likely = likely?;
        let votes = here().filter(|peer| peer.result.as_ref() == Some(likely)).count();
        (votes > half).then(|| likely.0.clone())
    }
}

/// The most bytes that a tick puts into the log.
const TICK_BYTES: usize = 4_096;

/// The most bytes of one player that wait for the log. What is said beyond it is dropped; its sender sees that it
/// does not come back.
const WAITING_BYTES: usize = 4_096;

/// The most bytes of the live run. With the catch-up run, a snapshot stays within what travels as datagrams.
const LIVE_BYTES: usize = 5_500;

/// The most bytes of the catch-up run.
const CATCH_UP_BYTES: usize = 2_000;

/// Entries of so many newest ticks are in every live run, for spectators, who cannot say what they need.
const SPECTATOR_TICKS: u32 = 3;

/// A player who has said nothing for so long is not waited for, until it does.
const GIVE_UP_SECONDS: u32 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::game::Dice;
    use crate::ids::PlayerId;

    /// A client that follows the rule of `docs/games.md`.
    #[derive(Default)]
    struct Client {
        first: u64,
        heard: Vec<Entry>,
    }

    impl Client {
        fn need(&self) -> u64 {
            self.first + self.heard.len() as u64
        }

        fn take(&mut self, state: &State) {
            for run in [&state.catch_up, &state.live] {
                if let Some(known) = self.need().checked_sub(run.first) {
                    self.heard.extend(run.entries.iter().skip(known as usize).cloned());
                }
            }
        }
    }

    fn relay() -> Relay {
        Relay::new(Settings { log_kib: 16, time_limit: 0 }, &Setup { seed: 1, tick_hz: 20 })
    }

    fn join(relay: &mut Relay, seat: u16) {
        let player = Player { id: PlayerId::new("ada").unwrap(), name: "Ada".into(), rating: None };
        relay.join(SeatId(seat), &player);
    }

    fn step(relay: &mut Relay) -> Flow {
        relay.step(&TickContext { tick: relay.tick.next(), tick_hz: 20 })
    }

    fn say(relay: &mut Relay, seat: u16, need: u64, text: &[u8]) {
        relay.input(SeatId(seat), Input { need, action: Action::Say(Data(text.to_vec())) });
    }

    /// The state as it arrives; also holds the two ways of writing it against each other.
    fn snapshot(relay: &Relay) -> State {
        let mut bytes = Vec::new();
        relay.write_snapshot(&mut bytes);
        assert!(bytes.len() <= 7_600, "a snapshot of {} bytes", bytes.len());
        let state = codec::decode(&bytes).unwrap();
        assert_eq!(state, relay.snapshot());
        state
    }

    fn said(entries: &[Entry]) -> Vec<(u16, &[u8])> {
        let said = entries.iter().filter_map(|entry| match &entry.event {
            Event::Said(data) => Some((entry.seat, data.0.as_slice())),
            _ => None,
        });
        said.collect()
    }

    #[test]
    fn everybody_hears_the_same_in_the_same_order_although_most_snapshots_are_lost() {
        for loss in [0, 30, 80] {
            let (mut relay, mut dice) = (relay(), Setup { seed: loss, tick_hz: 20 }.dice());
            let mut clients: Vec<Client> = (0..8).map(|_| Client::default()).collect();
            (0..8).for_each(|seat| join(&mut relay, seat));
            let lost = |dice: &mut Dice| u64::from(dice.below(100)) < loss;
            for tick in 0..2_000u32 {
                for (client, seat) in clients.iter().zip(0..) {
                    if tick < 200 && (tick + u32::from(seat)) % 7 == 0 {
                        say(&mut relay, seat, client.need(), &[tick as u8, 40]);
                    } else if !lost(&mut dice) {
                        relay.input(SeatId(seat), Input { need: client.need(), action: Action::Nothing });
                    }
                }
                assert_eq!(step(&mut relay), Flow::Continue);
                let state = snapshot(&relay);
                clients.iter_mut().filter(|_| !lost(&mut dice)).for_each(|client| client.take(&state));
            }
            let all: Vec<_> = relay.log.entries.iter().cloned().collect();
            assert_eq!(relay.log.oldest, 0);
            assert!(said(&all).len() > 200);
            for client in &clients {
                assert!(client.heard == all, "with {loss} % lost, {} of {} were heard", client.heard.len(), all.len());
            }
        }
    }

    #[test]
    fn who_comes_late_gets_all_that_the_log_still_has() {
        let mut relay = relay();
        join(&mut relay, 0);
        let mut early = Client::default();
        for n in 0..300u32 {
            say(&mut relay, 0, early.need(), &[n as u8; 100]);
            let _ = step(&mut relay);
            early.take(&snapshot(&relay));
        }
        assert_eq!(early.heard.len(), 301);

        join(&mut relay, 1);
        let _ = step(&mut relay);
        let state = snapshot(&relay);
        assert!(state.oldest > 0, "what no longer fits has left the log, and the state says so");
        let mut late = Client { first: state.oldest, heard: Vec::new() };
        for _ in 0..40 {
            relay.input(SeatId(0), Input { need: early.need(), action: Action::Nothing });
            relay.input(SeatId(1), Input { need: late.need(), action: Action::Nothing });
            let _ = step(&mut relay);
            let state = snapshot(&relay);
            early.take(&state);
            late.take(&state);
        }
        assert_eq!(late.need(), relay.log.next());
        assert_eq!(late.heard, early.heard[state.oldest as usize..]);
    }

    #[test]
    fn a_player_who_never_answers_costs_the_others_little() {
        let mut relay = relay();
        (0..2).for_each(|seat| join(&mut relay, seat));
        let (mut client, mut bytes) = (Client::default(), 0);
        for n in 0..400u32 {
            say(&mut relay, 0, client.need(), &[n as u8; 20]);
            relay.input(SeatId(1), Input { need: 0, action: Action::Nothing });
            let _ = step(&mut relay);
            client.take(&snapshot(&relay));
            if n >= 200 {
                let mut out = Vec::new();
                relay.write_snapshot(&mut out);
                bytes += out.len();
            }
        }
        assert_eq!(client.heard.len(), 402);
        assert!(bytes / 200 < 1_000, "{} bytes a tick", bytes / 200);
    }

    #[test]
    fn a_flood_is_cut_to_what_a_tick_carries_and_an_honest_message_still_comes_through() {
        let mut relay = relay();
        (0..2).for_each(|seat| join(&mut relay, seat));
        let mut client = Client::default();
        for tick in 0..100u32 {
            (0..50).for_each(|_| say(&mut relay, 0, 0, &[7; 1_024]));
            say(&mut relay, 1, client.need(), &tick.to_le_bytes());
            let _ = step(&mut relay);
            assert!(relay.waiting.len() <= 10);
            client.take(&snapshot(&relay));
        }
        let honest = said(&client.heard).into_iter().filter(|(seat, _)| *seat == 1);
        let expected: Vec<_> = (0..98u32).map(|tick| tick.to_le_bytes().to_vec()).collect();
        assert_eq!(honest.take(98).map(|(_, data)| data.to_vec()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn coming_and_going_is_in_the_log_in_order() {
        let mut relay = relay();
        join(&mut relay, 4);
        say(&mut relay, 4, 0, b"hello");
        relay.absent(SeatId(4));
        relay.present(SeatId(4));
        relay.leave(SeatId(4));
        say(&mut relay, 4, 0, b"a ghost");
        let _ = step(&mut relay);
        let events: Vec<_> = snapshot(&relay).live.entries.into_iter().map(|entry| entry.event).collect();
        let hello = Event::Said(Data(b"hello".to_vec()));
        assert_eq!(events, [Event::Joined, hello, Event::Absent, Event::Present, Event::Left]);
    }

    #[test]
    fn more_than_half_of_those_present_end_it_with_one_result() {
        let mut relay = relay();
        (0..4).for_each(|seat| join(&mut relay, seat));
        let mut vote = |seat, result: &[u8]| {
            relay.input(SeatId(seat), Input { need: 0, action: Action::Finish(Data(result.to_vec())) });
            step(&mut relay)
        };
        assert_eq!(vote(0, b"a"), Flow::Continue);
        assert_eq!(vote(1, b"b"), Flow::Continue);
        assert_eq!(vote(2, b"a"), Flow::Continue, "two of four are not more than half");
        assert_eq!(vote(3, b"a"), Flow::End(b"a".to_vec()));

        let mut relay = self::relay();
        (0..3).for_each(|seat| join(&mut relay, seat));
        relay.input(SeatId(0), Input { need: 0, action: Action::Finish(Data(b"a".to_vec())) });
        assert_eq!(step(&mut relay), Flow::Continue);
        relay.absent(SeatId(1));
        relay.leave(SeatId(2));
        assert_eq!(step(&mut relay), Flow::End(b"a".to_vec()), "those who are not there have no say");
    }

    #[test]
    fn the_time_limit_ends_it_without_a_result() {
        let mut relay = Relay::new(Settings { time_limit: 1, ..Settings::default() }, &Setup { seed: 1, tick_hz: 2 });
        assert_eq!(step(&mut relay), Flow::Continue);
        assert_eq!(step(&mut relay), Flow::End(Vec::new()));
    }

    #[test]
    fn the_bytes_are_those_that_are_documented() {
        let said = |bytes: &[u8]| Input { need: 300, action: Action::Say(Data(bytes.to_vec())) };
        assert_eq!(codec::encode(&said(b"hi")), [251, 44, 1, 1, 2, b'h', b'i']);
        assert!(codec::decode::<Input>(&codec::encode(&said(&[0; 1_024]))).is_ok());
        assert!(codec::decode::<Input>(&codec::encode(&said(&[0; 1_025]))).is_err());
        let entry = Entry { tick: 9, seat: 1, event: Event::Said(Data(b"hi".to_vec())) };
        let (catch_up, live) = (Run { first: 5, entries: vec![] }, Run { first: 5, entries: vec![entry] });
        let state = State { seed: 7, oldest: 2, next: 6, catch_up, live };
        assert_eq!(codec::encode(&state), [7, 2, 6, 5, 0, 5, 1, 9, 1, 0, 2, b'h', b'i']);
        assert_eq!(codec::encode(&Settings::default()), [251, 0, 1, 0]);
    }
}
