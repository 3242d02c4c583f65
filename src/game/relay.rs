//! `relay`: players' messages are put in one order and sent to all, so that a game can live in the clients alone.
//!
//! Owns: one numbered log of what players said and of who came and went. Must not know: what the messages mean.
//!
//! Snapshots may be lost or skipped (the newest wins), a lockstep game must miss nothing. So every message has a number in
//! the log, every input says which number its player needs next, and a snapshot carries two runs of the log:
//! the live run, the newest entries from the first one that somebody present still needs; and, for one player who is
//! further behind, in turn, a short catch-up run. Both are bounded, so that nobody can make the others' snapshots large by
//! not answering. What has left the log is gone: `oldest` says so. `docs/games.md` has the bytes and the client's rule.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::{BadSettings, Flow, Game, Player, Setup, TickContext};
use crate::codec::bincode::de::{BorrowDecoder, Decoder};
use crate::codec::bincode::error::DecodeError;
use crate::codec::{self, BorrowDecode, Decode, Encode};
use crate::ids::{SeatId, Tick};

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

/// What the host chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Settings {
    /// How much of the log is kept for those who come late or fall behind, in KiB: 16 to 1,024; 256 by default.
    pub log_kib: u16,
    /// Seconds until the session ends, at most 86,400; 0, the default, means no end.
    pub time_limit: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { log_kib: 256, time_limit: 0 }
    }
}

/// What a player sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    /// The number of the entry that the player needs next: all before it have arrived.
    pub need: u64,
    /// What it says.
    pub action: Action,
}

/// What a player says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// 0. Nothing; the input only acknowledges.
    Nothing,
    /// 1. Something for everybody.
    Say(Data),
    /// 2. The game is over, with this result. It ends the session once more than half of the players who are present
    ///    say so with the same bytes. A later one replaces an earlier one.
    Finish(Data),
}

/// Bytes of the clients' own, at most [`Data::MAX_BYTES`]; more do not decode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct Data(pub Vec<u8>);

impl Data {
    /// The most bytes of one message.
    pub const MAX_BYTES: usize = 1_024;
}

impl<'de, C> BorrowDecode<'de, C> for Data {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(from: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(from)
    }
}

impl<C> Decode<C> for Data {
    fn decode<D: Decoder<Context = C>>(from: &mut D) -> Result<Self, DecodeError> {
        let bytes = Vec::decode(from)?;
        if bytes.len() <= Self::MAX_BYTES { Ok(Self(bytes)) } else { Err(DecodeError::Other("too long a message")) }
    }
}

/// What everybody gets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// The same for everybody in the session: the clients' common randomness.
    pub seed: u64,
    /// The number of the oldest entry that can still be had.
    pub oldest: u64,
    /// The number that the next entry will have.
    pub next: u64,
    /// For one who is behind.
    pub catch_up: Run,
    /// The newest.
    pub live: Run,
}

/// Entries of the log, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Run {
    /// The number of the first one.
    pub first: u64,
    /// In order.
    pub entries: Vec<Entry>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The tick that put it into the log.
    pub tick: u32,
    /// Whose.
    pub seat: u16,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// 0. The player said this.
    Said(Data),
    /// 1. Somebody took the seat.
    Joined,
    /// 2. The seat was given up.
    Left,
    /// 3. The player's link was lost; the seat waits.
    Absent,
    /// 4. The player is back.
    Present,
}

#[derive(Debug)]
struct Peer {
    seat: u16,
    present: bool,
    need: u64,
    /// When `need` last rose, or there was nothing more to need.
    heard: Tick,
    waiting_bytes: usize,
    result: Option<Data>,
}

/// The newest entries, numbered from the first there ever was.
#[derive(Debug, Default)]
struct Log {
    oldest: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
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
        let peer = Peer { seat: seat.0, present: true, need: 0, heard, waiting_bytes: 0, result: None };
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
        let need = input.need.min(next);
        if need > peer.need || need == next {
            peer.heard = tick;
        }
        peer.need = need;
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
        let given_up = now.saturating_sub(hz * GIVE_UP_SECONDS);
        let listening = |peer: &&Peer| peer.present && peer.heard.0 >= given_up;
        let needed = self.peers.iter().filter(listening).map(|peer| peer.need).min().unwrap_or(next);

        let (mut first, mut room) = (next, LIVE_BYTES);
        for entry in self.log.entries.iter().rev() {
            let wanted = first > needed || entry.tick + SPECTATOR_TICKS > now;
            let Some(left) = room.checked_sub(entry.event.bytes()).filter(|_| wanted && entry.tick + hz >= now) else {
                break;
            };
            (first, room) = (first - 1, left);
        }
        self.live = (first, next);

        let behind = |peer: &&Peer| listening(peer) && peer.need.max(self.log.oldest) < first;
        let after = self.peers.iter().filter(behind).find(|peer| peer.seat > self.turn);
        let Some(peer) = after.or_else(|| self.peers.iter().find(behind)) else {
            self.catch_up = (first, first);
            return;
        };
        self.turn = peer.seat;
        let from = peer.need.max(self.log.oldest);
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

impl Log {
    fn next(&self) -> u64 {
        self.oldest + self.entries.len() as u64
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.event.bytes();
        self.entries.push_back(entry);
    }

    fn trim(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.event.bytes();
            self.oldest += 1;
        }
    }

    fn run(&self, first: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let skipped = first.saturating_sub(self.oldest) as usize;
        let end = (end.saturating_sub(self.oldest) as usize).min(self.entries.len());
        self.entries.range(skipped.min(end)..end)
    }
}

impl Event {
    /// What an entry with it takes at most, encoded.
    fn bytes(&self) -> usize {
        if let Self::Said(Data(data)) = self { ENTRY_BYTES + data.len() } else { ENTRY_BYTES }
    }
}

/// Tick, seat, kind and length, at their longest.
const ENTRY_BYTES: usize = 12;

/// The most bytes that a tick puts into the log.
const TICK_BYTES: usize = 4_096;

/// The most bytes of one player that wait for the log. What is said beyond it is dropped; its sender sees that it does not
/// come back.
const WAITING_BYTES: usize = 4_096;

/// The most bytes of the live run. With the catch-up run, a snapshot stays within what travels as datagrams.
const LIVE_BYTES: usize = 5_500;

/// The most bytes of the catch-up run.
const CATCH_UP_BYTES: usize = 2_000;

/// Entries of so many newest ticks are in every live run, for spectators, who cannot say what they need.
const SPECTATOR_TICKS: u32 = 3;

/// A player whose need has not risen for so long holds nothing up, until it does.
const GIVE_UP_SECONDS: u32 = 5;
