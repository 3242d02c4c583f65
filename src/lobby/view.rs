//! How a lobby looks: to its members, to those who read the list, and to quick play.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Lobby, Member, Role};
use crate::ids::{GameName, JoinCode, LobbyId, PlayerId, SessionId};
use crate::text::LobbyName;

/// What a lobby is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Players gather.
    Gathering,
    /// A session was asked for and is not there yet.
    Starting,
    /// A session runs.
    Playing(SessionId),
}

/// A lobby in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LobbySummary {
    /// Its id.
    pub id: LobbyId,
    /// Its game.
    pub game: GameName,
    /// Its name.
    pub name: LobbyName,
    /// Players now; neither spectators nor reservations.
    pub players: u16,
    /// Places for players in all.
    pub capacity: u16,
    /// Whether a session runs or is about to.
    pub playing: bool,
    /// Whether a player can join now.
    pub open: bool,
}

/// A lobby as its members see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LobbyView {
    /// Its id.
    pub id: LobbyId,
    /// The code that others join by.
    pub code: JoinCode,
    /// Its game.
    pub game: GameName,
    /// Its name.
    pub name: LobbyName,
    /// Whether the list shows it.
    pub public: bool,
    /// Whether the host lets nobody else in.
    pub locked: bool,
    /// Places for players in all.
    pub capacity: u16,
    /// Players needed to start.
    pub min_players: u16,
    /// The host; nobody while only spectators are there.
    pub host: Option<PlayerId>,
    /// What it is doing.
    pub phase: Phase,
    /// In order of arrival.
    pub members: Vec<Member>,
}

/// Which lobbies somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only this game.
    pub game: Option<GameName>,
    /// Only lobbies that a player can join now.
    pub open: bool,
}

/// How well a lobby suits quick play; the greatest is the best. The fullest comes first, so that lobbies fill up one
/// after the other; then the oldest; then the smallest id, so that the order is total and does not depend on chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuickRank {
    taken: usize,
    created: Reverse<Duration>,
    id: Reverse<LobbyId>,
}

impl Lobby {
    /// The lobby as the list shows it.
    pub fn summary(&self) -> LobbySummary {
        LobbySummary {
            id: self.id,
            game: self.settings.game.clone(),
            name: self.settings.name.clone(),
            players: u16::try_from(self.roster.count(Role::Player)).unwrap_or(u16::MAX),
            capacity: self.settings.capacity,
            playing: self.phase != Phase::Gathering,
            open: self.is_open(),
        }
    }

    /// The lobby as its members see it. It holds no ticket, token or address.
    pub fn view(&self) -> LobbyView {
        LobbyView {
            id: self.id,
            code: self.code,
            game: self.settings.game.clone(),
            name: self.settings.name.clone(),
            public: self.settings.public,
            locked: self.locked,
            capacity: self.settings.capacity,
            min_players: self.settings.min_players,
            host: self.host.clone(),
            phase: self.phase,
            members: self.roster.members().cloned().collect(),
        }
    }

    /// Whether the list shows this lobby to somebody with this filter. A private lobby is never shown.
    pub fn is_listed(&self, filter: &ListFilter) -> bool {
        self.settings.public
            && !self.closed
            && filter.game.as_ref().is_none_or(|game| *game == self.settings.game)
            && (!filter.open || self.is_open())
    }

    /// How well this lobby suits a player who wants to play this game now; `None` when it cannot be joined by quick
    /// play. Take the lobby with the greatest rank.
    pub fn quick_fit(&self, player: &PlayerId, game: &GameName) -> Option<QuickRank> {
        let fits = self.settings.game == *game && self.may_join(player, Role::Player).is_ok();
        self.quick_rank().filter(|_| fits)
    }

    /// Where this lobby stands among those that quick play may fill; `None` when it fills it for nobody. For an index:
    /// whether it suits one player, [`Self::quick_fit`] says.
    pub fn quick_rank(&self) -> Option<QuickRank> {
        (self.settings.public && self.is_open()).then(|| QuickRank {
            taken: self.roster.taken(Role::Player),
            created: Reverse(self.created),
            id: Reverse(self.id),
        })
    }
}
