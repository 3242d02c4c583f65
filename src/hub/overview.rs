//! What an operator is shown: every player and every lobby, private ones too.

use std::time::Duration;

use super::player::Presence;
use super::{Hub, State, translate};
use crate::ids::{LobbyId, PlayerId, SessionId};
use crate::lobby::Role;
use crate::outbox::Transport;
use crate::ticket::TicketFacts;
use crate::wire::LobbyView;

/// A player as the node knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerFacts {
    /// Who.
    pub player: PlayerId,
    /// The name shown to others.
    pub name: String,
    /// Plays or watches.
    pub role: Role,
    /// By what it is here.
    pub ticket: TicketFacts,
    /// How long it has been here.
    pub here_for: Duration,
    /// How its link came; none while its place waits.
    pub transport: Option<Transport>,
    /// The link's round trip, where it was measured.
    pub round_trip: Option<Duration>,
    /// Its lobby.
    pub lobby: Option<LobbyId>,
    /// Its lobby's session, where it has a seat in it.
    pub session: Option<SessionId>,
}

impl Hub {
    /// One player, if it is here.
    pub fn player(&self, player: &PlayerId) -> Option<PlayerFacts> {
        let state = self.0.state.lock();
        let (player, presence) = state.players.get_key_value(player)?;
        Some(state.facts_of(player, presence, self.0.clock.now()))
    }

    /// At most `most` players in order of their ids, those behind `after`.
    pub fn players(&self, after: Option<&PlayerId>, most: usize) -> Vec<PlayerFacts> {
        let now = self.0.clock.now();
        let state = self.0.state.lock();
        let behind = state.players.keys().filter(|player| after.is_none_or(|after| *player > after));
        let first = smallest(behind.collect(), most);
        let facts = |player: &PlayerId| Some(state.facts_of(player, state.players.get(player)?, now));
        first.into_iter().filter_map(facts).collect()
    }

    /// At most `most` lobbies as their members see them, in order of their ids, those behind `after`.
    pub fn lobbies(&self, after: Option<LobbyId>, most: usize) -> Vec<LobbyView> {
        let state = self.0.state.lock();
        let behind = state.lobbies.keys().copied().filter(|id| after.is_none_or(|after| *id > after));
        let first = smallest(behind.collect(), most);
        let view = |id: LobbyId| Some(translate::view(&state.lobbies.get(&id)?.lobby.view()));
        first.into_iter().filter_map(view).collect()
    }
}

impl State {
    fn facts_of(&self, player: &PlayerId, presence: &Presence, now: Duration) -> PlayerFacts {
        let entry = presence.lobby.and_then(|lobby| self.lobbies.get(&lobby));
        let session = entry.and_then(|entry| entry.session.as_ref()).filter(|_| presence.seat.is_some());
        PlayerFacts {
            player: player.clone(),
            name: presence.name.as_str().to_owned(),
            role: presence.role,
            ticket: presence.ticket.clone(),
            here_for: now.saturating_sub(presence.since),
            transport: presence.link.as_ref().map(|link| link.outlet.transport()),
            round_trip: presence.link.as_ref().and_then(|link| link.outlet.round_trip()),
            lobby: presence.lobby,
            session: session.map(super::sessions::Running::id),
        }
    }
}

/// The `most` smallest in order, without sorting all the others.
fn smallest<T: Ord>(mut all: Vec<T>, most: usize) -> Vec<T> {
    if most < all.len() {
        all.select_nth_unstable(most);
        all.truncate(most);
    }
    all.sort_unstable();
    all
}
