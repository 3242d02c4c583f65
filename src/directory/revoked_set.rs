//! The revocations in force: a bounded set that answers at once whether a ticket is covered.
//!
//! Owns: look-up and the bound. Must not know: files, links, what time it is.
//!
//! Invariants: what was added covers its tickets until it is forgotten, and is forgotten only once its `until` has
//! come; where there is no room the answer is a refusal. Two of one player, or of everybody, become the wider of both.

use std::collections::BTreeMap;

use super::revocation::{Revocation, Revoked};
use crate::ids::PlayerId;
use crate::ticket::{TicketFacts, TicketId, UnixSeconds};

/// Every revocation in force. 100 to 250 bytes each.
#[derive(Clone, Debug)]
pub struct RevokedSet {
    capacity: usize,
    tickets: BTreeMap<TicketId, UnixSeconds>,
    players: BTreeMap<PlayerId, Span>,
    everything: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    issued_before: UnixSeconds,
    until: UnixSeconds,
}

/// What became of a revocation that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// It is in force.
    New,
    /// It was in force already, for as long and as wide.
    Known,
    /// There is no room, and nothing was forgotten to make some.
    Full,
}

impl RevokedSet {
    /// An empty set of at most `capacity` tickets and players.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, tickets: BTreeMap::new(), players: BTreeMap::new(), everything: None }
    }

    /// Bounds the set from now on; what is in it stays.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Adds one.
    pub fn add(&mut self, revocation: &Revocation) -> Added {
        let full = self.tickets.len() + self.players.len() >= self.capacity;
        let until = revocation.until;
        match &revocation.of {
            Revoked::Everything { issued_before } => {
                let wanted = Span { issued_before: *issued_before, until };
                let wider = self.everything.map_or(wanted, |known| known.wider(wanted));
                if self.everything.replace(wider) == Some(wider) { Added::Known } else { Added::New }
            }
            Revoked::Player { player, issued_before } => {
                let wanted = Span { issued_before: *issued_before, until };
                match self.players.get_mut(player) {
                    Some(known) => {
                        let wider = known.wider(wanted);
                        if std::mem::replace(known, wider) == wider { Added::Known } else { Added::New }
                    }
                    None if full => Added::Full,
                    None => {
                        self.players.insert(player.clone(), wanted);
                        Added::New
                    }
                }
            }
            Revoked::Ticket(jti) => match self.tickets.get_mut(jti) {
                Some(known) if *known >= until => Added::Known,
                Some(known) => {
                    *known = until;
                    Added::New
                }
                None if full => Added::Full,
                None => {
                    self.tickets.insert(jti.clone(), until);
                    Added::New
                }
            },
        }
    }

    /// Whether a ticket of this player is revoked.
    pub fn covers(&self, player: &PlayerId, ticket: &TicketFacts) -> bool {
        let before = |span: &Span| ticket.issued_at < span.issued_before;
        self.everything.as_ref().is_some_and(before)
            || self.players.get(player).is_some_and(before)
            || ticket.jti.as_ref().is_some_and(|jti| self.tickets.contains_key(jti))
    }

    /// Forgets what could no longer matter at `now`; says how many.
    pub fn forget(&mut self, now: UnixSeconds) -> usize {
        let before = self.len();
        self.tickets.retain(|_, until| *until > now);
        self.players.retain(|_, span| span.until > now);
        self.everything = self.everything.filter(|span| span.until > now);
        before - self.len()
    }

    /// How many are in force.
    pub fn len(&self) -> usize {
        self.tickets.len() + self.players.len() + usize::from(self.everything.is_some())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them: everybody's, then the players', then the tickets', each in order of its name.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> {
        let everything = self.everything.iter().map(|span| Revocation {
            of: Revoked::Everything { issued_before: span.issued_before },
            until: span.until,
        });
        let players = self.players.iter().map(|(player, span)| Revocation {
            of: Revoked::Player { player: player.clone(), issued_before: span.issued_before },
            until: span.until,
        });
        let tickets =
            self.tickets.iter().map(|(jti, until)| Revocation { of: Revoked::Ticket(jti.clone()), until: *until });
        everything.chain(players).chain(tickets)
    }
}

impl Span {
    fn wider(self, other: Self) -> Self {
        Self { issued_before: self.issued_before.max(other.issued_before), until: self.until.max(other.until) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::revocation::read_line;
    use super::*;

    fn facts(jti: &str, issued_at: u64) -> TicketFacts {
        let jti = Some(TicketId::new(jti).unwrap());
        TicketFacts { jti, issued_at: UnixSeconds(issued_at), session_expires_at: None }
    }

    fn set(capacity: usize, lines: &[&str]) -> RevokedSet {
        let mut set = RevokedSet::new(capacity);
        lines.iter().for_each(|line| assert_ne!(set.add(&read_line(line).unwrap()), Added::Full));
        set
    }

    #[test]
    fn the_set_covers_what_its_revocations_cover() {
        let lines = [r#"{"player":"ada","issued_before":10}"#, r#"{"jti":"t1"}"#, r#"{"all":true,"issued_before":3}"#];
        let set = set(10, &lines);
        let each: Vec<Revocation> = lines.iter().map(|line| read_line(line).unwrap()).collect();
        for name in ["ada", "bob"] {
            let player = PlayerId::new(name).unwrap();
            for (jti, at) in [("t1", 20), ("t2", 20), ("t2", 10), ("t2", 9), ("t2", 3), ("t2", 2)] {
                let facts = facts(jti, at);
                let expected = each.iter().any(|one| one.covers(&player, &facts));
                assert_eq!(set.covers(&player, &facts), expected, "{name} {jti} {at}");
            }
        }
        assert_eq!(set.iter().count(), set.len());
    }

    #[test]
    fn two_of_one_player_become_the_wider_of_both() {
        let mut set = set(10, &[r#"{"player":"ada","issued_before":10,"until":50}"#]);
        let ada = PlayerId::new("ada").unwrap();
        assert_eq!(set.add(&read_line(r#"{"player":"ada","issued_before":5,"until":90}"#).unwrap()), Added::New);
        assert_eq!(set.add(&read_line(r#"{"player":"ada","issued_before":5,"until":90}"#).unwrap()), Added::Known);
        assert!(set.covers(&ada, &facts("t", 9)));
        assert_eq!((set.forget(UnixSeconds(89)), set.forget(UnixSeconds(90)), set.is_empty()), (0, 1, true));
    }

    #[test]
    fn a_full_set_refuses_and_forgets_nothing() {
        let mut set = set(2, &[r#"{"jti":"a","until":9}"#, r#"{"player":"ada"}"#]);
        assert_eq!(set.add(&read_line(r#"{"jti":"b","until":9}"#).unwrap()), Added::Full);
        assert_eq!(set.add(&read_line(r#"{"player":"bob"}"#).unwrap()), Added::Full);
        assert_eq!(set.add(&read_line(r#"{"jti":"a","until":20}"#).unwrap()), Added::New, "a known one still widens");
        assert_eq!(set.add(&read_line(r#"{"all":true}"#).unwrap()), Added::New, "there is always room for everything");
        assert!(set.covers(&PlayerId::new("bob").unwrap(), &facts("x", 1)));
        assert_eq!(set.forget(UnixSeconds(20)), 1);
        assert_eq!(set.add(&read_line(r#"{"jti":"b"}"#).unwrap()), Added::New);
    }
}
