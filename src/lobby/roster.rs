//! Who is in a lobby, in order of arrival, and who is about to be.
//!
//! Owns: membership, reservations and their counts. Must not know: the rules of joining, hosting or starting.
//!
//! Invariants: nobody is both a member and arriving; the tallies agree with the maps. Looking a player up takes no
//! longer in a lobby of 1,000.

use std::collections::{BTreeMap, HashMap};

use super::Role;
use crate::ids::PlayerId;
use crate::text::DisplayName;

/// Somebody in a lobby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub player: PlayerId,
    /// The name shown.
    pub name: DisplayName,
    /// Plays or watches.
    pub role: Role,
    /// Whether ready to start. Never true of a spectator.
    pub ready: bool,
    /// Whether a link is up; else the place waits.
    pub connected: bool,
    /// Whether the ticket made this player a host, so that it was not mere arrival.
    pub(super) host_by_right: bool,
    /// Whether the session that starts or runs has been told of this member.
    pub(super) announced: bool,
}

/// Members and reservations.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<u64, Member>,
    arrival: HashMap<PlayerId, u64>,
    arrivals: u64,
    present: Tally,
    reserved: HashMap<PlayerId, Role>,
    arriving: Tally,
}

impl Roster {
    pub(super) fn member(&self, player: &PlayerId) -> Option<&Member> {
        self.members.get(self.arrival.get(player)?)
    }

    pub(super) fn member_mut(&mut self, player: &PlayerId) -> Option<&mut Member> {
        self.members.get_mut(self.arrival.get(player)?)
    }

    /// Everybody, in order of arrival.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Everybody, in order of arrival.
    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    /// Those who play, in order of arrival.
    pub(super) fn players(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| member.role == Role::Player)
    }

    /// How many members have this role.
    pub(super) fn count(&self, role: Role) -> usize {
        self.present.of(role)
    }

    /// How many places of this role are taken or reserved.
    pub(super) fn taken(&self, role: Role) -> usize {
        self.present.of(role) + self.arriving.of(role)
    }

    /// Whether nobody is here or about to be.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.reserved.is_empty()
    }

    pub(super) fn is_reserved(&self, player: &PlayerId) -> bool {
        self.reserved.contains_key(player)
    }

    /// Holds a place for somebody who is neither a member nor arriving.
    pub(super) fn reserve(&mut self, player: &PlayerId, role: Role) {
        if self.reserved.insert(player.clone(), role).is_none() {
            self.arriving.add(role);
        }
    }

    /// Gives a reserved place up.
    pub(super) fn unreserve(&mut self, player: &PlayerId) -> Option<Role> {
        let role = self.reserved.remove(player)?;
        self.arriving.sub(role);
        Some(role)
    }

    /// Adds somebody who is not a member yet, as the latest arrival.
    pub(super) fn insert(&mut self, member: Member) {
        self.present.add(member.role);
        self.arrival.insert(member.player.clone(), self.arrivals);
        self.members.insert(self.arrivals, member);
        self.arrivals += 1;
    }

    pub(super) fn remove(&mut self, player: &PlayerId) -> Option<Member> {
        let member = self.members.remove(&self.arrival.remove(player)?)?;
        self.present.sub(member.role);
        Some(member)
    }
}

/// How many there are of each role.
#[derive(Debug, Default)]
struct Tally {
    players: usize,
    spectators: usize,
}

impl Tally {
    fn of(&self, role: Role) -> usize {
        match role {
            Role::Player => self.players,
            Role::Spectator => self.spectators,
        }
    }

    fn slot(&mut self, role: Role) -> &mut usize {
        match role {
            Role::Player => &mut self.players,
            Role::Spectator => &mut self.spectators,
        }
    }

    fn add(&mut self, role: Role) {
        *self.slot(role) += 1;
    }

    fn sub(&mut self, role: Role) {
        let slot = self.slot(role);
        *slot = slot.saturating_sub(1);
    }
}
