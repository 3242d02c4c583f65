//! What relay's clients send and get. Field order and variant order are what `docs/games.md` says: append only.

use crate::codec::bincode::de::{BorrowDecoder, Decoder};
use crate::codec::bincode::error::DecodeError;
use crate::codec::{BorrowDecode, Decode, Encode};

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
