//! What a lobby tells its caller.

use super::Role;
use crate::ids::PlayerId;
use crate::text::{ChatText, DisplayName};

/// What a lobby tells its caller. Drain them with [`super::Lobby::poll_event`] after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The view or the summary differs from before. At most one in each drain, after all other events.
    Changed,
    /// Somebody is no longer a member. If a session runs, the seat is free.
    Left {
        /// Who.
        player: PlayerId,
        /// Why.
        reason: LeftReason,
    },
    /// A member said something; for all members.
    Chat {
        /// Who.
        player: PlayerId,
        /// The name shown.
        name: DisplayName,
        /// What.
        text: ChatText,
    },
    /// Start a session for these; then call [`super::Lobby::handle_session_started`] or
    /// [`super::Lobby::handle_session_failed`].
    StartSession {
        /// Who plays, in order of arrival.
        players: Vec<PlayerId>,
        /// Who watches, in order of arrival.
        spectators: Vec<PlayerId>,
    },
    /// Somebody came after the session's start: give a seat in it.
    SeatLate {
        /// Who.
        player: PlayerId,
        /// Plays or watches.
        role: Role,
    },
    /// Nobody is left: forget the lobby. The last event, and it comes once.
    Closed,
}

/// Why somebody is no longer a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftReason {
    /// Asked to leave.
    Left,
    /// The host removed the member.
    Kicked,
    /// The link was lost, and did not come back in time.
    LinkLost,
}
