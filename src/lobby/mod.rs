//! One lobby: where players gather before a game session, and where they are again after it.
//!
//! Owns: places and reservations, members in order of arrival, readiness, the host, chat, and the decision when a
//! session starts. Must not know: links, tickets, the wire, or how a session runs. [`crate::text`] says what a name is.
//!
//! - [`settings`](LobbySettings): what a lobby is created with
//! - [`operations`](Lobby::leave): what members do
//! - [`sessions`](Lobby::handle_session_ended): when a session starts, and what its end means
//! - [`view`](Lobby::view): how it looks from outside, and quick play
//! - `roster`, `timers`, `bans`: who is here, what is due when, who may not come back
//!
//! # Contract
//! Call one method; then drain [`Lobby::poll_event`] until it is `None`; then call [`Lobby::handle_timeout`] no later
//! than [`Lobby::next_deadline`]. Time is a [`Duration`] since any fixed moment and does not go back. No order of calls
//! panics; a call that makes no sense is refused or does nothing.
//!
//! # Invariants
//! - members and reservations together never exceed the places, for players and for spectators
//! - a lobby with a player among its members has exactly one host, and the host is one of those players
//! - a lobby that had somebody and has nobody left closes: one [`Event::Closed`], and nothing after it
//! - between two [`Event::Changed`], view and summary stay the same

mod bans;
mod event;
mod operations;
mod refusal;
mod roster;
mod sessions;
mod settings;
mod timers;
mod view;

use std::collections::VecDeque;
use std::time::Duration;

pub use event::{Event, LeftReason};
pub use refusal::{JoinRefusal, OpRefusal};
pub use roster::Member;
pub use sessions::RETRY_AFTER;
pub use settings::{LobbySettings, StartRule};
pub use view::{ListFilter, LobbySummary, LobbyView, Phase, QuickRank};

use self::bans::Bans;
use self::roster::Roster;
use self::timers::Timers;
use crate::ids::{JoinCode, LobbyId, PlayerId};
use crate::text::DisplayName;

/// Plays or watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes one of the lobby's places, can be ready, can be the host.
    Player,
    /// Takes a place for spectators; is never ready and never the host.
    Spectator,
}

/// One lobby. See the module for the contract.
#[derive(Debug)]
pub struct Lobby {
    id: LobbyId,
    code: JoinCode,
    settings: LobbySettings,
    created: Duration,
    roster: Roster,
    host: Option<PlayerId>,
    locked: bool,
    bans: Bans,
    phase: Phase,
    timers: Timers,
    /// When a session starts by itself. Only while gathering with the minimum.
    start_due: Option<Duration>,
    /// No session starts by itself before this.
    rest_until: Duration,
    events: VecDeque<Event>,
    changed: bool,
    closed: bool,
}

impl Lobby {
    /// Opens a lobby without anybody in it. Reserve the first place before the first [`Self::handle_timeout`], which
    /// closes a lobby that nobody is in.
    pub fn new(id: LobbyId, code: JoinCode, mut settings: LobbySettings, now: Duration) -> Self {
        settings.capacity = settings.capacity.max(1);
        settings.min_players = settings.min_players.clamp(1, settings.capacity);
        Self {
            id,
            code,
            settings,
            created: now,
            roster: Roster::default(),
            host: None,
            locked: false,
            bans: Bans::default(),
            phase: Phase::Gathering,
            timers: Timers::default(),
            start_due: None,
            rest_until: Duration::ZERO,
            events: VecDeque::new(),
            changed: false,
            closed: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> LobbyId {
        self.id
    }

    /// The code that others join by.
    pub fn code(&self) -> JoinCode {
        self.code
    }

    /// What it was created with, with capacity and minimum brought into their bounds.
    pub fn settings(&self) -> &LobbySettings {
        &self.settings
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The host; nobody while no player is here.
    pub fn host(&self) -> Option<&PlayerId> {
        self.host.as_ref()
    }

    /// The member with this id, if there is one. Someone who only has a reservation is no member.
    pub fn member(&self, player: &PlayerId) -> Option<&Member> {
        self.roster.member(player)
    }

    /// Everybody, in order of arrival.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.roster.members()
    }

    /// Whether a player unknown to this lobby could reserve a place now.
    pub fn is_open(&self) -> bool {
        self.admits(Role::Player).is_ok()
    }

    /// Whether the lobby is gone. Every call is refused or does nothing then.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Holds a place until `deadline`, so that the ticket can be burned knowing that the place is there. Follow it
    /// with [`Self::enter`] or [`Self::cancel`]; a reservation that sees neither lapses.
    ///
    /// # Errors
    /// [`JoinRefusal`] says why no place is held. At [`JoinRefusal::AlreadyHere`] the caller lets the newer link take
    /// the member's place over.
    pub fn reserve(
        &mut self,
        player: &PlayerId,
        role: Role,
        now: Duration,
        deadline: Duration,
    ) -> Result<(), JoinRefusal> {
        self.expire(now);
        self.may_join(player, role)?;
        self.watching_openness(|lobby| lobby.roster.reserve(player, role));
        self.timers.set(player, deadline);
        Ok(())
    }

    /// Gives a reserved place up. Does nothing when there is none.
    pub fn cancel(&mut self, player: &PlayerId) {
        let role = self.watching_openness(|lobby| lobby.roster.unreserve(player));
        if role.is_some() {
            self.timers.clear(player);
            self.settle();
        }
    }

    /// Turns a reservation into membership, with the role it was made for. A lock or a start in the meantime does not
    /// take the place away. The first player becomes the host; later, one with `wants_host` takes over from a host who
    /// is one by mere arrival.
    ///
    /// # Errors
    /// [`JoinRefusal::NotReserved`] when no reservation is held (any more), [`JoinRefusal::Closed`] when the lobby is
    /// gone.
    pub fn enter(
        &mut self,
        player: &PlayerId,
        name: DisplayName,
        wants_host: bool,
        now: Duration,
    ) -> Result<(), JoinRefusal> {
        if self.closed {
            return Err(JoinRefusal::Closed);
        }
        let role = self.roster.unreserve(player).ok_or(JoinRefusal::NotReserved)?;
        self.timers.clear(player);
        let host_by_right = wants_host && role == Role::Player;
        self.roster.insert(Member {
            player: player.clone(),
            name,
            role,
            ready: false,
            connected: true,
            host_by_right,
            announced: false,
        });
        if role == Role::Player && (self.host.is_none() || (host_by_right && !self.has_host_by_right())) {
            self.host = Some(player.clone());
        }
        self.changed = true;
        self.announce_late();
        self.arm(now);
        self.start_if_due(now);
        Ok(())
    }

    /// Learns that a member's link is lost. The place waits until `grace_ends`; then the member leaves by itself.
    pub fn handle_link_lost(&mut self, player: &PlayerId, grace_ends: Duration) {
        if let Some(member) = self.roster.member_mut(player) {
            member.connected = false;
            self.timers.set(player, grace_ends);
            self.changed = true;
        }
    }

    /// Learns that a member has a link again.
    pub fn handle_link_back(&mut self, player: &PlayerId) {
        if let Some(member) = self.roster.member_mut(player)
            && !member.connected
        {
            member.connected = true;
            self.timers.clear(player);
            self.changed = true;
        }
    }

    /// Does what is due: reservations lapse, members whose grace has ended leave, an automatic session starts, and a
    /// lobby without anybody closes.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.expire(now);
        self.start_if_due(now);
        self.settle();
    }

    /// When [`Self::handle_timeout`] is next due. Never earlier than the `now` it was last called with.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.closed {
            return None;
        }
        if self.roster.is_empty() {
            return Some(self.created);
        }
        [self.timers.next(), self.start_due].into_iter().flatten().min()
    }

    /// Takes out what the caller has to act on, oldest first; [`Event::Changed`] comes last and once.
    ///
    /// What waits here is bounded by the calls since the last drain: each adds a few events, and a timeout adds at most
    /// one for each member.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| std::mem::take(&mut self.changed).then_some(Event::Changed))
    }
}

impl Lobby {
    /// Whether this player can be given a place of this role now.
    fn may_join(&self, player: &PlayerId, role: Role) -> Result<(), JoinRefusal> {
        if self.roster.member(player).is_some() {
            return Err(JoinRefusal::AlreadyHere);
        }
        if self.roster.is_reserved(player) {
            return Err(JoinRefusal::AlreadyArriving);
        }
        if self.bans.contains(player) {
            return Err(JoinRefusal::Banned);
        }
        self.admits(role)
    }

    /// Whether anybody can be given a place of this role now.
    fn admits(&self, role: Role) -> Result<(), JoinRefusal> {
        let places = match role {
            Role::Player => self.settings.capacity,
            Role::Spectator => self.settings.spectators,
        };
        if self.closed {
            Err(JoinRefusal::Closed)
        } else if self.locked {
            Err(JoinRefusal::Locked)
        } else if role == Role::Player && self.phase != Phase::Gathering && !self.settings.late_join {
            Err(JoinRefusal::NoLateJoin)
        } else if self.roster.taken(role) >= usize::from(places) {
            Err(JoinRefusal::Full)
        } else {
            Ok(())
        }
    }

    /// Does something with reservations, and notes a change only if the list shows one: a thousand who arrive in a
    /// large lobby are not a thousand changes more.
    fn watching_openness<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.is_open();
        let done = act(self);
        self.changed |= before != self.is_open();
        done
    }

    /// Lets go whoever's deadline has passed.
    fn expire(&mut self, now: Duration) {
        let mut any = false;
        while let Some(player) = self.timers.pop_due(now) {
            any = true;
            if self.watching_openness(|lobby| lobby.roster.unreserve(&player)).is_none() {
                self.remove(&player, LeftReason::LinkLost);
            }
        }
        // Only now: two who leave in the same moment do not start a session for one another.
        if any {
            self.settle();
        }
    }

    /// Takes a member out; the caller settles afterwards.
    fn remove(&mut self, player: &PlayerId, reason: LeftReason) {
        let Some(member) = self.roster.remove(player) else { return };
        self.timers.clear(player);
        if self.host.as_ref() == Some(player) {
            self.host = self.successor();
        }
        self.events.push_back(Event::Left { player: member.player, reason });
        self.changed = true;
    }

    /// Who is the host next: the player who has been here longest, if possible one whose link is up.
    fn successor(&self) -> Option<PlayerId> {
        let connected = self.roster.players().find(|member| member.connected);
        connected.or_else(|| self.roster.players().next()).map(|member| member.player.clone())
    }

    fn has_host_by_right(&self) -> bool {
        self.host.as_ref().and_then(|host| self.roster.member(host)).is_some_and(|member| member.host_by_right)
    }

    /// Draws the conclusions of a change: closes an empty lobby, starts one that is ready, and calls an automatic start
    /// off that has lost its minimum.
    fn settle(&mut self) {
        if self.closed {
            return;
        }
        if self.roster.is_empty() {
            self.closed = true;
            self.start_due = None;
            self.changed = false;
            self.events.push_back(Event::Closed);
            return;
        }
        if !self.has_minimum() {
            self.start_due = None;
        } else if self.settings.start == StartRule::WhenReady
            && self.phase == Phase::Gathering
            && self.roster.players().all(|member| member.ready)
        {
            self.begin();
        }
    }
}

#[cfg(test)]
mod tests;
