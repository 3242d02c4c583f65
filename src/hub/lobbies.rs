//! Lobbies: finding or creating one, going in and out, and telling its members what it looks like.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rand::Rng;

use super::link::LinkId;
use super::sessions::Running;
use super::{Arrival, LIST_MAX, State, Timer, Turn, translate};
use crate::game::GameInfo;
use crate::ids::{GameName, JoinCode, LobbyId, PlayerId, SessionId};
use crate::lobby::{Event, JoinRefusal, LeftReason, ListFilter, Lobby, LobbySettings, QuickRank, StartRule};
use crate::text::LobbyName;
use crate::ticket::{self, Grants};
use crate::wire::{self, ChatLine, Code, LobbySummary, ServerMessage, encode_server};

/// A lobby and what the hub knows beside it.
pub struct LobbyEntry {
    pub lobby: Lobby,
    pub session: Option<Running>,
    /// Rises whenever the view or the roster differs from before.
    pub version: u64,
    timer: Option<Duration>,
    view_due: Option<Duration>,
    rank: Option<QuickRank>,
}

/// The lobbies that quick play may fill, best last.
#[derive(Default)]
pub struct QuickIndex(HashMap<GameName, BTreeSet<(QuickRank, LobbyId)>>);

/// Where an arrival or a member wants to go, as the hub understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any open public lobby of the game, or a new one.
    Quick(GameName),
    /// This lobby.
    Lobby(LobbyId),
    /// The lobby with this code.
    Code(JoinCode),
    /// The lobby with this session.
    Session(SessionId),
}

/// Why a place cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinFault {
    /// There is no such lobby, session or game.
    #[error("no such lobby, session or game")]
    NotFound,
    /// The ticket does not allow it.
    #[error("the ticket does not allow it")]
    Forbidden,
    /// The node holds as many lobbies as it may.
    #[error("the node is full")]
    Overloaded,
    /// The lobby refuses.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
}

impl JoinFault {
    /// The row of the code table.
    pub fn code(self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Forbidden => Code::Forbidden,
            Self::Overloaded => Code::Overloaded,
            Self::Refused(refusal) => match refusal {
                JoinRefusal::Full | JoinRefusal::NoLateJoin => Code::LobbyFull,
                JoinRefusal::Locked | JoinRefusal::Closed | JoinRefusal::NotReserved => Code::LobbyClosed,
                JoinRefusal::Banned => Code::Kicked,
                JoinRefusal::AlreadyHere | JoinRefusal::AlreadyArriving => Code::TicketUsed,
            },
        }
    }

    /// A stable name in ASCII.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.slug(),
            other => other.code().slug(),
        }
    }
}

impl State {
    /// The public lobbies a filter lets through, at most [`LIST_MAX`], fullest first.
    pub fn list(&self, filter: &ListFilter) -> Vec<LobbySummary> {
        let mut found: Vec<_> = self
            .lobbies
            .values()
            .filter(|entry| entry.lobby.is_listed(filter))
            .map(|entry| translate::summary(&entry.lobby.summary()))
            .collect();
        found.sort_by(|a, b| (b.open, b.players, a.id).cmp(&(a.open, a.players, b.id)));
        found.truncate(LIST_MAX);
        found
    }
}

impl LobbyEntry {
    /// Whether a ticket with these grants opens this lobby, and the session in it.
    pub fn is_open_to(&self, grants: &Grants, id: LobbyId) -> bool {
        grants.allows_game(&self.lobby.settings().game)
            && grants.allows_lobby(id, self.lobby.code())
            && self.session.as_ref().is_none_or(|session| grants.allows_session(session.id()))
            && (grants.session.is_none() || self.session.is_some())
    }
}

impl Turn<'_> {
    /// Holds a place where an arrival wants to be, before its ticket is burned. A member's own lobby is a place it holds.
    pub(super) fn reserve(&mut self, arrival: &Arrival, target: &Target) -> Result<LobbyId, JoinFault> {
        let Arrival { player, grants, role, .. } = arrival;
        let id = match target {
            Target::Lobby(id) => Some(*id),
            Target::Code(code) => self.state.codes.get(code).copied(),
            Target::Session(session) => self.state.sessions.get(session).copied(),
            Target::Quick(game) => {
                if !grants.allows_game(game) {
                    return Err(JoinFault::Forbidden);
                }
                match self.quick_fit(player, game) {
                    Some(id) => Some(id),
                    None => Some(self.create_quick(grants, game)?),
                }
            }
        };
        let id = id.filter(|id| self.state.lobbies.contains_key(id)).ok_or(JoinFault::NotFound)?;
        let deadline = self.now + self.hub.0.reservation;
        let entry = self.state.lobbies.get_mut(&id).ok_or(JoinFault::NotFound)?;
        if !entry.is_open_to(grants, id) {
            self.drive_lobby(id);
            return Err(JoinFault::Forbidden);
        }
        let outcome = match entry.lobby.reserve(player, *role, self.now, deadline) {
            Err(JoinRefusal::AlreadyHere) => Ok(id),
            other => other.map(|()| id).map_err(JoinFault::from),
        };
        self.drive_lobby(id);
        outcome
    }

    pub(super) fn cancel(&mut self, player: &PlayerId, id: LobbyId) {
        if let Some(entry) = self.state.lobbies.get_mut(&id) {
            entry.lobby.cancel(player);
            self.drive_lobby(id);
        }
    }

    /// Creates a lobby with nobody in it yet.
    pub(super) fn create(&mut self, settings: LobbySettings) -> Result<LobbyId, JoinFault> {
        if self.state.lobbies.len() >= self.hub.0.limits.lobbies {
            return Err(JoinFault::Overloaded);
        }
        let random = &mut self.state.random;
        let id = LobbyId((u128::from(random.next_u64()) << 64) | u128::from(random.next_u64()));
        let mut code = JoinCode::from_random(random.next_u64());
        while self.state.codes.contains_key(&code) {
            code = JoinCode::from_random(self.state.random.next_u64());
        }
        let entry = LobbyEntry {
            lobby: Lobby::new(id, code, settings, self.now),
            session: None,
            version: 1,
            timer: None,
            view_due: None,
            rank: None,
        };
        self.state.codes.insert(code, id);
        self.state.lobbies.insert(id, entry);
        self.hub.0.metrics.lobbies.inc();
        Ok(id)
    }

    /// Makes a member of a player for whom a place is reserved.
    pub(super) fn enter_lobby(&mut self, player: &PlayerId, id: LobbyId) {
        let now = self.now;
        let State { players, lobbies, .. } = &mut *self.state;
        let (Some(presence), Some(entry)) = (players.get_mut(player), lobbies.get_mut(&id)) else { return };
        let (name, wants_host) = (presence.name.clone(), presence.grants.role == ticket::Role::Host);
        if let Err(refusal) = entry.lobby.enter(player, name, wants_host, now) {
            let code = JoinFault::from(refusal).code();
            self.cut(player, code);
            return;
        }
        presence.lobby = Some(id);
        entry.version += 1;
        self.send_view(player, id);
        self.drive_lobby(id);
    }

    /// Takes a player out of its lobby, if it is in one.
    pub(super) fn leave_lobby(&mut self, player: &PlayerId) {
        let Some(id) = self.state.players.get(player).and_then(|presence| presence.lobby) else { return };
        if let Some(entry) = self.state.lobbies.get_mut(&id) {
            // Its refusal would mean that the player is out already.
            let _ = entry.lobby.leave(player);
            self.drive_lobby(id);
        }
    }

    pub(super) fn lose_link_in_lobby(&mut self, player: &PlayerId, id: LobbyId, link: LinkId, grace_ends: Duration) {
        let Some(entry) = self.state.lobbies.get_mut(&id) else { return };
        entry.lobby.handle_link_lost(player, grace_ends);
        if let Some(session) = &mut entry.session {
            session.lose_link(player, link, grace_ends);
        }
        self.drive_lobby(id);
    }

    pub(super) fn handle_link_back(&mut self, player: &PlayerId, id: LobbyId) {
        if let Some(entry) = self.state.lobbies.get_mut(&id) {
            entry.lobby.handle_link_back(player);
            self.drive_lobby(id);
        }
    }

    pub(super) fn handle_lobby_timeout(&mut self, id: LobbyId) {
        let now = self.now;
        if let Some(entry) = self.state.lobbies.get_mut(&id) {
            entry.timer = None;
            entry.lobby.handle_timeout(now);
            self.drive_lobby(id);
        }
    }

    /// Acts on everything a lobby says, and keeps what is derived from it in step: index, timer, list.
    pub(super) fn drive_lobby(&mut self, id: LobbyId) {
        while let Some(event) = self.state.lobbies.get_mut(&id).and_then(|entry| entry.lobby.poll_event()) {
            match event {
                Event::Changed => self.handle_changed(id),
                Event::Left { player, reason } => self.handle_left(id, &player, reason),
                Event::Chat { player, name, text } => {
                    let line = ChatLine { player, name: name.as_str().to_owned(), text: text.as_str().to_owned() };
                    self.broadcast(id, &ServerMessage::Chat(line));
                }
                Event::StartSession { players, spectators } => self.start_session(id, &players, &spectators),
                Event::SeatLate { player, role } => self.seat_late(id, &player, role),
                Event::Closed => self.forget_lobby(id),
            }
        }
        self.reindex(id);
    }

    /// Sends the lobby's view to one player now.
    pub(super) fn send_view(&mut self, player: &PlayerId, id: LobbyId) {
        let Some(entry) = self.state.lobbies.get(&id) else { return };
        let (version, view) = (entry.version, translate::view(&entry.lobby.view()));
        if let Some(presence) = self.state.players.get_mut(player) {
            presence.seen_version = version;
        }
        self.send(player, &ServerMessage::Lobby(view));
    }

    /// Sends view and roster to the members who have not seen this version. Encoded once.
    pub(super) fn send_views(&mut self, id: LobbyId) {
        let Some(entry) = self.state.lobbies.get_mut(&id) else { return };
        entry.view_due = None;
        let version = entry.version;
        let view = encode_server(&ServerMessage::Lobby(translate::view(&entry.lobby.view())));
        let roster = entry.session.as_ref().map(|session| encode_server(&ServerMessage::Roster(session.roster())));
        let members: Vec<PlayerId> = entry.lobby.members().map(|member| member.player.clone()).collect();
        for player in members {
            let Some(presence) = self.state.players.get_mut(&player) else { continue };
            if std::mem::replace(&mut presence.seen_version, version) == version {
                continue;
            }
            self.send_encoded(&player, &view, true);
            if let Some(roster) = &roster {
                self.send_encoded(&player, roster, true);
            }
        }
    }

    /// Sends the list to those who watch.
    pub(super) fn send_lists(&mut self) {
        self.state.list_due = None;
        let watchers: Vec<PlayerId> = self.state.watchers.iter().cloned().collect();
        let mut encoded: Vec<(ListFilter, bytes::Bytes)> = Vec::new();
        for player in watchers {
            let Some(filter) = self.state.players.get(&player).and_then(|presence| presence.watching.clone()) else {
                continue;
            };
            let list = match encoded.iter().find(|(known, _)| *known == filter) {
                Some((_, list)) => list.clone(),
                None => {
                    let list = encode_server(&ServerMessage::List(self.state.list(&filter)));
                    encoded.push((filter, list.clone()));
                    list
                }
            };
            self.send_encoded(&player, &list, true);
        }
    }

    /// Sends a message to every member. Encoded once.
    pub(super) fn broadcast(&mut self, id: LobbyId, message: &ServerMessage) {
        let Some(entry) = self.state.lobbies.get(&id) else { return };
        let members: Vec<PlayerId> = entry.lobby.members().map(|member| member.player.clone()).collect();
        let encoded = encode_server(message);
        for player in members {
            self.send_encoded(&player, &encoded, message.is_numbered());
        }
    }

    /// The view goes out a little later, so that ten who join at once cost each member one message and not ten.
    fn handle_changed(&mut self, id: LobbyId) {
        let Some(entry) = self.state.lobbies.get_mut(&id) else { return };
        entry.version += 1;
        let listed = entry.lobby.settings().public;
        if entry.view_due.is_none() {
            let members = u32::try_from(entry.lobby.members().count()).unwrap_or(u32::MAX);
            let due = self.now + VIEW_DELAY + VIEW_DELAY_PER_MEMBER * members.min(1_000);
            entry.view_due = Some(due);
            self.set_timer(None, Some(due), Timer::View(id));
        }
        if listed {
            self.list_changed();
        }
    }

    pub(super) fn list_changed(&mut self) {
        if self.state.list_due.is_none() && !self.state.watchers.is_empty() {
            let due = self.now + LIST_DELAY;
            self.state.list_due = Some(due);
            self.set_timer(None, Some(due), Timer::List);
        }
    }

    fn handle_left(&mut self, id: LobbyId, player: &PlayerId, reason: LeftReason) {
        self.unseat(id, player);
        if let Some(presence) = self.state.players.get_mut(player) {
            presence.lobby = None;
            presence.seen_version = 0;
        }
        match reason {
            LeftReason::Left => {
                let reason = wire::LeftReason::Left;
                self.send(player, &ServerMessage::LobbyLeft { lobby: id, reason });
            }
            LeftReason::Kicked => {
                self.cut(player, Code::Kicked);
                self.depart(player);
            }
            LeftReason::LinkLost => {}
        }
    }

    fn forget_lobby(&mut self, id: LobbyId) {
        let Some(entry) = self.state.lobbies.remove(&id) else { return };
        self.state.codes.remove(&entry.lobby.code());
        self.set_timer(entry.timer, None, Timer::Lobby(id));
        self.set_timer(entry.view_due, None, Timer::View(id));
        self.state.quick.set(&entry.lobby.settings().game, entry.rank, None, id);
        self.hub.0.metrics.lobbies.dec();
        if let Some(session) = entry.session {
            self.forget_session(session);
        }
        self.list_changed();
    }

    fn reindex(&mut self, id: LobbyId) {
        let State { lobbies, quick, .. } = &mut *self.state;
        let Some(entry) = lobbies.get_mut(&id) else { return };
        let timer = entry.lobby.next_deadline();
        let old_timer = std::mem::replace(&mut entry.timer, timer);
        let rank = entry.lobby.quick_rank();
        let old_rank = std::mem::replace(&mut entry.rank, rank);
        quick.set(&entry.lobby.settings().game, old_rank, rank, id);
        self.set_timer(old_timer, timer, Timer::Lobby(id));
    }

    /// The best open public lobby for a player: its own if it is in one of this game, else the fullest.
    fn quick_fit(&self, player: &PlayerId, game: &GameName) -> Option<LobbyId> {
        let own = self.state.players.get(player).and_then(|presence| presence.lobby);
        let own = own.filter(|id| self.state.lobbies.get(id).is_some_and(|entry| entry.lobby.settings().game == *game));
        own.or_else(|| {
            let ranked = self.state.quick.0.get(game)?.iter().rev();
            let fits = |id: &LobbyId| {
                self.state.lobbies.get(id).is_some_and(|entry| entry.lobby.quick_fit(player, game).is_some())
            };
            ranked.map(|(_, id)| *id).find(fits)
        })
    }

    fn create_quick(&mut self, grants: &Grants, game: &GameName) -> Result<LobbyId, JoinFault> {
        if grants.lobby.is_some() || grants.session.is_some() {
            return Err(JoinFault::Forbidden);
        }
        let info = self.hub.0.registry.game(game).ok_or(JoinFault::NotFound)?.info().clone();
        self.create(quick_settings(&info, self.hub.0.limits.lobby_capacity))
    }
}

impl QuickIndex {
    fn set(&mut self, game: &GameName, old: Option<QuickRank>, new: Option<QuickRank>, id: LobbyId) {
        if old == new {
            return;
        }
        let ranked = self.0.entry(game.clone()).or_default();
        if let Some(rank) = old {
            ranked.remove(&(rank, id));
        }
        if let Some(rank) = new {
            ranked.insert((rank, id));
        }
    }
}

/// A lobby as quick play makes it: public, starts by itself, takes late players where the game does.
fn quick_settings(info: &GameInfo, most: u16) -> LobbySettings {
    LobbySettings {
        game: info.name.clone(),
        name: LobbyName::quick_play(),
        public: true,
        capacity: (*info.players.end()).min(most),
        spectators: SPECTATORS,
        min_players: *info.players.start(),
        settings: Vec::new(),
        start: StartRule::Automatic { after_minimum: Duration::ZERO, after_session: REMATCH },
        late_join: info.late_join,
    }
}

/// How long a change waits for others before the members are told.
const VIEW_DELAY: Duration = Duration::from_millis(30);
/// A lobby of 1,000 is told at most about once a second.
const VIEW_DELAY_PER_MEMBER: Duration = Duration::from_millis(1);
/// How often at most those who watch the list are told.
const LIST_DELAY: Duration = Duration::from_millis(250);
/// Between two sessions of a quick-play lobby.
const REMATCH: Duration = Duration::from_secs(5);
/// Places for spectators in a lobby.
pub const SPECTATORS: u16 = 64;
