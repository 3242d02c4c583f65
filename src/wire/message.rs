//! The messages. Field order and variant order are the protocol (`docs/protocol.md`, "Messages"): append only.

use std::fmt;

use crate::codec::{BorrowDecode, Decode, Encode};
use crate::ids::{GameName, InputSeq, JoinCode, LobbyId, PlayerId, SeatId, SessionId, SessionTag, Tick};

/// What a client says on the control path. Inputs also travel as datagrams.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ClientMessage {
    /// 0. The first message of a link whose request carried no ticket.
    Hello {
        /// The ticket; empty when `resume` is there.
        ticket: String,
        /// The wish, as in the request's `join=`: `quick:GAME`, `lobby:ID`, `code:CODE`, `session:ID`, or empty.
        join: String,
        /// Comes back to a seat instead of arriving anew.
        resume: Option<ResumePoint>,
    },
    /// 1. Asks for a Pong, and acknowledges reliable messages. Also the heartbeat.
    Ping {
        /// Comes back in the Pong.
        nonce: u32,
        /// How many numbered messages this player has received in all.
        received: u64,
    },
    /// 2. The newest inputs.
    Inputs(Inputs),
    /// 3. Asks for something; exactly one Reply answers it.
    Request {
        /// Rises by 1 from 1; a request seen before is not carried out again.
        id: u32,
        /// What is asked.
        body: Request,
    },
    /// 4. The player leaves for good: no grace, the seat is free at once.
    Bye,
    /// 5. Shows a fresh ticket, so that the session may go on past its end. Exactly one Renewed answers it.
    Renew {
        /// As in Hello.
        ticket: String,
    },
}

/// The newest inputs of a player, oldest first. Earlier ones are repeated so that one lost datagram loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Inputs {
    /// The newest snapshot that the client has seen.
    pub seen: Tick,
    /// 1 to 16 inputs with rising numbers.
    pub inputs: Vec<Input>,
}

/// One numbered input.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Input {
    /// The client's number for it.
    pub seq: InputSeq,
    /// What the game reads.
    pub data: Vec<u8>,
}

/// What a player can ask for.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Request {
    /// 0. Join by a wish, written as in `join=`.
    Join {
        /// `quick:GAME`, `lobby:ID`, `code:CODE` or `session:ID`.
        wish: String,
    },
    /// 1. Create a lobby and be its host.
    Create(LobbySpec),
    /// 2. Leave the lobby, and the session with it.
    Leave,
    /// 3. Say whether one is ready.
    Ready(bool),
    /// 4. Say something to the lobby.
    Chat(String),
    /// 5. Host: remove a member.
    Kick(PlayerId),
    /// 6. Host: let nobody else in, or let them in again.
    Lock(bool),
    /// 7. Host: make another member the host.
    PassHost(PlayerId),
    /// 8. Host: start the session.
    Start,
    /// 9. Send the list of public lobbies now and whenever it changes.
    Watch(LobbyFilter),
    /// 10. Stop sending the list.
    Unwatch,
}

/// A lobby to create.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct LobbySpec {
    /// The game to play; must be registered with the server.
    pub game: String,
    /// Shown in the list; 1 to 32 graphemes.
    pub name: String,
    /// Whether the list shows it and quick play may fill it.
    pub public: bool,
    /// Places in the lobby; 0 means the game's own maximum.
    pub capacity: u16,
    /// Players needed to start; 0 means the game's own minimum.
    pub min_players: u16,
    /// The game's settings, in the game's own encoding; empty means its defaults. At most 1 KiB.
    pub settings: Vec<u8>,
}

/// Which public lobbies to list.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct LobbyFilter {
    /// Only this game; empty means all.
    pub game: String,
    /// Only lobbies that one can join now.
    pub open: bool,
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ServerMessage {
    /// 0. The first message of an admitted link.
    Welcome(Welcome),
    /// 1. The last message before the server closes.
    Goodbye(Goodbye),
    /// 2. Answers a Ping.
    Pong {
        /// The Ping's.
        nonce: u32,
        /// The server's clock: microseconds since the node started.
        server_time_us: u64,
    },
    /// 3. The state of the session after a tick.
    Snapshot(Snapshot),
    /// 4. Answers a Request.
    Reply(Reply),
    /// 5. The public lobbies, to those who watch.
    List(Vec<LobbySummary>),
    /// 6. The lobby one is in, whenever it changed.
    Lobby(LobbyView),
    /// 7. One is no longer in the lobby.
    LobbyLeft {
        /// Which lobby.
        lobby: LobbyId,
        /// Why.
        reason: LeftReason,
    },
    /// 8. Somebody said something in the lobby.
    Chat(ChatLine),
    /// 9. One has a seat in a session.
    Seated(Seated),
    /// 10. Who sits where, whenever it changed.
    Roster(Roster),
    /// 11. The session is over; one is back in the lobby.
    Ended(SessionEnded),
    /// 12. The ticket says that the player must show a fresh one: with a Renew, on this link.
    TicketWanted {
        /// How long there is for it, in milliseconds; after it Goodbye `ticket-expired` (4401).
        within_ms: u32,
    },
    /// 13. Answers a Renew.
    Renewed(Renewed),
}

impl ServerMessage {
    /// How many kinds there are. A newer server may send others: they are numbered, and skipped.
    pub const KINDS: u32 = 14;

    /// Whether the message is numbered: kept until it is acknowledged, and sent again after a resume.
    pub fn is_numbered(&self) -> bool {
        !matches!(self, Self::Welcome(_) | Self::Goodbye(_) | Self::Pong { .. } | Self::Snapshot(_))
    }
}

/// The first message of an admitted link.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Welcome {
    /// Who one is, by the ticket.
    pub player: PlayerId,
    /// The name shown to others.
    pub name: String,
    /// Comes back to this player's place; replaces any earlier one.
    pub resume: ResumeToken,
    /// Whether this is a new arrival, a resume, or a fresh start in place of a resume.
    pub outcome: ResumeOutcome,
    /// How many messages have been numbered for the player so far. After a fresh start the client takes it as its own
    /// count; after a resume it is what the client's count comes to once everything missed has arrived; 0 for an arrival.
    pub counted: u64,
    /// The newest request id carried out; requests after it are to be sent again after a resume.
    pub last_request: u32,
    /// The server's clock: microseconds since the node started.
    pub server_time_us: u64,
    /// Send a Ping at least this often, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long the place waits for a lost link, in milliseconds.
    pub grace_ms: u32,
    /// The longest message the server takes, in bytes.
    pub max_message: u32,
}

/// Whether a link begins anew or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ResumeOutcome {
    /// 0. A new arrival.
    Arrived,
    /// 1. Everything missed is sent again, in order, and nothing twice.
    Resumed,
    /// 2. The place is kept, but what was missed is more than was kept: the state is sent afresh.
    Restarted,
}

/// A secret of 256 random bits that brings a player back to its place. Used once, replaced at each resume.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct ResumeToken(pub [u8; 32]);

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken([redacted])")
    }
}

/// Where a client wants to go on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ResumePoint {
    /// From the newest Welcome.
    pub token: ResumeToken,
    /// How many numbered messages have been received in all.
    pub received: u64,
}

/// Says why the server closes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Goodbye {
    /// The number of a [`super::Code`]; also the close code.
    pub code: u16,
    /// Its slug.
    pub reason: String,
    /// When to come back at the earliest, in milliseconds.
    pub retry_after_ms: Option<u32>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// The number of a [`super::Code`].
    pub code: u16,
    /// What was wrong, as a stable slug: more telling than the code's own.
    pub reason: String,
}

/// What came of a fresh ticket.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renewed {
    /// `None`: it was taken. Else nothing has changed, and another may be shown until the end.
    pub refusal: Option<Refusal>,
    /// How long the player may stay from now on, in milliseconds; `None`: without an end.
    pub ends_in_ms: Option<u32>,
}

/// Answers the request with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// The request's id.
    pub request: u32,
    /// `None`: it was carried out.
    pub refusal: Option<Refusal>,
}

/// A lobby in the public list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LobbySummary {
    /// Its id.
    pub id: LobbyId,
    /// Its game.
    pub game: GameName,
    /// Its name.
    pub name: String,
    /// Members now.
    pub players: u16,
    /// Places in all.
    pub capacity: u16,
    /// Whether a session runs.
    pub playing: bool,
    /// Whether one can join now.
    pub open: bool,
}

/// A lobby as its members see it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LobbyView {
    /// Its id.
    pub id: LobbyId,
    /// The code that others join by.
    pub code: JoinCode,
    /// Its game.
    pub game: GameName,
    /// Its name.
    pub name: String,
    /// Whether the list shows it.
    pub public: bool,
    /// Whether the host lets nobody else in.
    pub locked: bool,
    /// Places in all.
    pub capacity: u16,
    /// Players needed to start.
    pub min_players: u16,
    /// The host; nobody while only spectators are there.
    pub host: Option<PlayerId>,
    /// Gathering or playing.
    pub status: LobbyStatus,
    /// In order of arrival.
    pub members: Vec<Member>,
}

/// What a lobby is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LobbyStatus {
    /// 0. Players gather.
    Gathering,
    /// 1. A session runs.
    Playing(SessionId),
}

/// Somebody in a lobby.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// Who.
    pub player: PlayerId,
    /// The name shown.
    pub name: String,
    /// Plays or watches.
    pub role: WireRole,
    /// Whether ready to start.
    pub ready: bool,
    /// Whether a link is up; else the place waits.
    pub connected: bool,
}

/// Plays or watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum WireRole {
    /// 0. Plays.
    Player,
    /// 1. Watches.
    Spectator,
}

/// Why one is no longer in a lobby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LeftReason {
    /// 0. Asked to leave, or joined another.
    Left,
    /// 1. The host removed the player.
    Kicked,
    /// 2. The lobby closed.
    Closed,
}

/// A line of chat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChatLine {
    /// Who said it.
    pub player: PlayerId,
    /// The name shown.
    pub name: String,
    /// Clean text, at most 256 graphemes.
    pub text: String,
}

/// One has a seat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seated {
    /// The session.
    pub session: SessionId,
    /// Its short number, which every snapshot carries.
    pub tag: SessionTag,
    /// The lobby it belongs to.
    pub lobby: LobbyId,
    /// The game.
    pub game: GameName,
    /// The seat; `None` for a spectator.
    pub seat: Option<SeatId>,
    /// Ticks per second.
    pub tick_hz: u8,
    /// The game's settings.
    pub settings: Vec<u8>,
    /// The newest input the server holds of this seat: number the next ones after it.
    pub last_input: InputSeq,
}

/// Who sits where.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Roster {
    /// The session's short number.
    pub tag: SessionTag,
    /// In order of the seats.
    pub seats: Vec<SeatInfo>,
    /// How many watch.
    pub spectators: u16,
}

/// Somebody's seat.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SeatInfo {
    /// The seat.
    pub seat: SeatId,
    /// Who sits there.
    pub player: PlayerId,
    /// The name shown.
    pub name: String,
    /// Whether a link is up; else the seat waits.
    pub connected: bool,
}

/// The session is over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionEnded {
    /// Which session.
    pub session: SessionId,
    /// Why.
    pub reason: EndReason,
    /// What the game says of it, in the game's own encoding.
    pub result: Vec<u8>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EndReason {
    /// 0. The game came to its end.
    Finished,
    /// 1. Nobody was left.
    Abandoned,
    /// 2. The game failed.
    Crashed,
}

/// The state of the session after a tick: the same bytes for everybody in it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Snapshot {
    /// The session's short number.
    pub tag: SessionTag,
    /// The tick this is the state after.
    pub tick: Tick,
    /// When the tick was due, on the server's clock in microseconds.
    pub time_us: u64,
    /// For each seat with any, the newest input applied so far.
    pub applied: Vec<(SeatId, InputSeq)>,
    /// What the game wrote, in the game's own encoding.
    pub state: Vec<u8>,
}

macro_rules! codec_as {
    ($($name:ident as $raw:ty: $read:expr, $write:expr;)*) => {$(
        impl Encode for $name {
            fn encode<E: crate::codec::bincode::enc::Encoder>(&self, e: &mut E) -> Result<(), crate::codec::bincode::error::EncodeError> {
                let write: fn(&$name) -> &$raw = $write;
                Encode::encode(write(self), e)
            }
        }
        impl<C> Decode<C> for $name {
            fn decode<D: crate::codec::bincode::de::Decoder<Context = C>>(d: &mut D) -> Result<Self, crate::codec::bincode::error::DecodeError> {
                let raw = Decode::decode(d)?;
                $read(raw).map_err(|_| crate::codec::bincode::error::DecodeError::Other(stringify!($name)))
            }
        }
        impl<'de, C> BorrowDecode<'de, C> for $name {
            fn borrow_decode<D: crate::codec::bincode::de::BorrowDecoder<'de, Context = C>>(d: &mut D) -> Result<Self, crate::codec::bincode::error::DecodeError> {
                Decode::decode(d)
            }
        }
    )*};
}

use std::convert::Infallible;

codec_as! {
    LobbyId as u128: |raw| Ok::<_, Infallible>(LobbyId(raw)), |id| &id.0;
    SessionId as u128: |raw| Ok::<_, Infallible>(SessionId(raw)), |id| &id.0;
    SessionTag as u32: |raw| Ok::<_, Infallible>(SessionTag(raw)), |id| &id.0;
    SeatId as u16: |raw| Ok::<_, Infallible>(SeatId(raw)), |id| &id.0;
    Tick as u32: |raw| Ok::<_, Infallible>(Tick(raw)), |id| &id.0;
    InputSeq as u32: |raw| Ok::<_, Infallible>(InputSeq(raw)), |id| &id.0;
    PlayerId as str: |raw: String| PlayerId::new(&raw), |id| id.as_str();
    GameName as str: |raw: String| GameName::new(&raw), |id| id.as_str();
    JoinCode as str: |raw: String| raw.parse::<JoinCode>(), |id| id.as_str();
}
