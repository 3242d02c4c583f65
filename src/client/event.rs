//! What happens to a player, as the application sees it.
//!
//! Owns: the events. Must not know: how they come about.

use std::time::Duration;

use super::error::{Closed, ConnectError, RequestError};
use super::link::Transport;
use super::snapshot::SnapshotView;
use crate::ids::{LobbyId, PlayerId};
use crate::wire::{ChatLine, LeftReason, LobbySummary, LobbyView, Roster, Seated, SessionEnded};

/// Something that happened. Events come in order; of snapshots, only the newest waits for a slow application.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One is in, anew: nothing of before counts any more.
    Arrived(Arrival),
    /// The link was lost and is back, with the same place. Everything missed follows, in order.
    Resumed,
    /// The link is back, with the same place, but more was missed than the server kept: the lobby and the seat are told
    /// afresh, chat and answers are lost.
    Restarted,
    /// The lobby one is in, whenever it changed.
    Lobby(LobbyView),
    /// One is no longer in the lobby.
    Left {
        /// Which lobby.
        lobby: LobbyId,
        /// Why.
        reason: LeftReason,
    },
    /// One has a seat in a session, or watches it.
    Seated(Seated),
    /// Who sits where, whenever it changed.
    Roster(Roster),
    /// The state of the session after a tick.
    Snapshot(SnapshotView),
    /// Somebody said something in the lobby.
    Chat(ChatLine),
    /// The public lobbies, after [`super::Handle::watch`].
    List(Vec<LobbySummary>),
    /// The session is over; one is back in the lobby.
    Ended(SessionEnded),
    /// The answer to a request made with [`super::Engine::request`]. A [`super::Client`] hands it to the caller instead.
    Replied {
        /// The request's number.
        request: u32,
        /// What came of it.
        outcome: Result<(), RequestError>,
    },
    /// The session has an end, and the server wants a fresh ticket. A [`super::TicketSource::Function`] is asked for one
    /// by itself; with any other source, show one with [`super::Handle::renew`].
    TicketWanted {
        /// How long there is for it.
        within: Duration,
    },
    /// A fresh ticket was taken.
    Renewed {
        /// How long one may stay now; `None`: without an end.
        ends_in: Option<Duration>,
    },
    /// There was no fresh ticket to show, or it was refused. Another one is got a little later, where there is a source.
    NotRenewed {
        /// What went wrong.
        cause: ConnectError,
    },
    /// The link is lost, or an attempt to regain it has failed; there will be another one.
    Reconnecting {
        /// The number of the attempt to come, from 1.
        attempt: u32,
        /// How long until then.
        wait: Duration,
        /// What went wrong.
        cause: ConnectError,
    },
    /// It is over; nothing follows.
    Closed(Closed),
}

/// Who one is, by the ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The `sub` of the ticket.
    pub player: PlayerId,
    /// The name shown to others.
    pub name: String,
    /// The transport of the link.
    pub transport: Transport,
}

/// What a client knows of its link, and what it counted. Cheap to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The transport of the link; `None` while it is down.
    pub transport: Option<Transport>,
    /// The smoothed round trip of Ping and Pong.
    pub round_trip: Option<Duration>,
    /// What to add to the client's time (since its start) to get the server's, in microseconds.
    pub clock_offset_us: Option<i64>,
    /// Snapshots that came and were newer than all before.
    pub snapshots: u64,
    /// Snapshots that came too late, or of a session that is over: dropped.
    pub snapshots_stale: u64,
    /// Bytes of all messages that came.
    pub bytes_received: u64,
    /// Inputs dropped unsent since the link did not take them in time.
    pub inputs_shed: u64,
    /// Times the link was regained.
    pub resumes: u32,
}
