//! Who holds which seat of a session, who watches, and until when an empty seat waits for its holder.
//!
//! Owns: the seat table and its deadlines. Must not know: the game, links, the clock (time comes in as the duration
//! since the node started). A player has at most one place, a seat at most one holder.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::game::Player;
use crate::ids::{PlayerId, SeatId};

/// The places of one session.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<Option<Holder>>,
    by_player: BTreeMap<PlayerId, SeatId>,
    spectators: BTreeSet<PlayerId>,
    max_spectators: u16,
}

/// A seat as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeatView<'a> {
    /// The seat.
    pub seat: SeatId,
    /// Who holds it.
    pub player: &'a Player,
    /// Whether the holder is there; else the seat waits.
    pub connected: bool,
}

/// A seat that waited in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freed {
    /// The seat, now free.
    pub seat: SeatId,
    /// Who held it.
    pub player: PlayerId,
    /// Whether the holder had ever claimed it.
    pub had_claimed: bool,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// All seats are held, or as many watch as may.
    #[error("no place is free")]
    Full,
    /// The player holds no seat here, or held it too long ago.
    #[error("the player holds no seat here")]
    NotHeld,
    /// The player holds a seat, and so cannot watch.
    #[error("the player holds a seat")]
    Seated,
}

#[derive(Debug)]
struct Holder {
    player: Player,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Not claimed yet.
    Reserved {
        until: Duration,
    },
    Here,
    /// Claimed, and the link was lost.
    Away {
        until: Duration,
    },
}

impl Seats {
    /// A table with so many seats and room for so many spectators, all free.
    pub fn new(seats: u16, max_spectators: u16) -> Self {
        Self {
            seats: (0..seats).map(|_| None).collect(),
            by_player: BTreeMap::new(),
            spectators: BTreeSet::new(),
            max_spectators,
        }
    }

    /// Keeps the lowest free seat for a player until `until`. A player who holds a seat keeps that one as it is; one
    /// who watches stops watching.
    ///
    /// # Errors
    /// [`NoSeat::Full`].
    pub fn reserve(&mut self, player: Player, until: Duration) -> Result<SeatId, NoSeat> {
        if let Some(seat) = self.by_player.get(&player.id) {
            return Ok(*seat);
        }
        let free = self.seats.iter_mut().zip(0..).find(|(place, _)| place.is_none());
        let (place, number) = free.ok_or(NoSeat::Full)?;
        let seat = SeatId(number);
        self.spectators.remove(&player.id);
        self.by_player.insert(player.id.clone(), seat);
        *place = Some(Holder { player, presence: Presence::Reserved { until } });
        Ok(seat)
    }

    /// The player sits down on the seat it holds. Again is no different from once. A seat whose deadline is `now` or
    /// earlier is lost, whether [`handle_timeout`](Self::handle_timeout) has been called or not.
    ///
    /// # Errors
    /// [`NoSeat::NotHeld`].
    pub fn claim(&mut self, player: &PlayerId, now: Duration) -> Result<SeatId, NoSeat> {
        let (seat, holder) = self.holder(player).ok_or(NoSeat::NotHeld)?;
        if holder.presence.deadline().is_some_and(|until| until <= now) {
            return Err(NoSeat::NotHeld);
        }
        holder.presence = Presence::Here;
        Ok(seat)
    }

    /// The player is back on the seat that waited for it. The same as [`claim`](Self::claim), except that a seat that
    /// was never claimed stays as it is.
    ///
    /// # Errors
    /// [`NoSeat::NotHeld`].
    pub fn back(&mut self, player: &PlayerId, now: Duration) -> Result<SeatId, NoSeat> {
        match self.holder(player) {
            Some((_, Holder { presence: Presence::Reserved { .. }, .. })) => Err(NoSeat::NotHeld),
            _ => self.claim(player, now),
        }
    }

    /// The link of a player was lost: its seat waits until `until`. A seat that was not claimed keeps its deadline.
    /// Returns the seat when it was taken until now.
    pub fn lost(&mut self, player: &PlayerId, until: Duration) -> Option<SeatId> {
        let (seat, holder) = self.holder(player)?;
        let was_here = holder.presence == Presence::Here;
        if was_here {
            holder.presence = Presence::Away { until };
        }
        was_here.then_some(seat)
    }

    /// The player gives its place up, seat or not. Returns the seat, now free.
    pub fn release(&mut self, player: &PlayerId) -> Option<SeatId> {
        self.spectators.remove(player);
        let seat = self.by_player.remove(player)?;
        if let Some(place) = self.seats.get_mut(usize::from(seat.0)) {
            *place = None;
        }
        Some(seat)
    }

    /// The player watches.
    ///
    /// # Errors
    /// [`NoSeat::Full`], or [`NoSeat::Seated`] for a player who holds a seat.
    pub fn watch(&mut self, player: &PlayerId) -> Result<(), NoSeat> {
        if self.by_player.contains_key(player) {
            return Err(NoSeat::Seated);
        }
        if self.spectators.len() >= usize::from(self.max_spectators) && !self.spectators.contains(player) {
            return Err(NoSeat::Full);
        }
        self.spectators.insert(player.clone());
        Ok(())
    }

    /// Frees the seats that have waited long enough, in order of the seats.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<Freed> {
        let mut freed = Vec::new();
        for (place, number) in self.seats.iter_mut().zip(0..) {
            let over = |holder: &mut Holder| holder.presence.deadline().is_some_and(|until| until <= now);
            if let Some(holder) = place.take_if(over) {
                self.by_player.remove(&holder.player.id);
                let had_claimed = matches!(holder.presence, Presence::Away { .. });
                freed.push(Freed { seat: SeatId(number), player: holder.player.id, had_claimed });
            }
        }
        freed
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, if anything waits.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.seats.iter().flatten().filter_map(|holder| holder.presence.deadline()).min()
    }

    /// The seats that are held, in their order.
    pub fn roster(&self) -> impl Iterator<Item = SeatView<'_>> {
        self.seats.iter().zip(0..).filter_map(|(place, number)| {
            let holder = place.as_ref()?;
            let connected = holder.presence == Presence::Here;
            Some(SeatView { seat: SeatId(number), player: &holder.player, connected })
        })
    }

    /// The seat a player holds.
    pub fn seat_of(&self, player: &PlayerId) -> Option<SeatId> {
        self.by_player.get(player).copied()
    }

    /// Whether a player watches.
    pub fn is_spectator(&self, player: &PlayerId) -> bool {
        self.spectators.contains(player)
    }

    /// How many seats are held.
    pub fn held(&self) -> usize {
        self.by_player.len()
    }

    /// How many seats there are.
    pub fn capacity(&self) -> usize {
        self.seats.len()
    }

    /// How many watch.
    pub fn spectators(&self) -> u16 {
        self.spectators.len() as u16
    }

    /// Whether nobody holds a seat or watches.
    pub fn is_empty(&self) -> bool {
        self.by_player.is_empty() && self.spectators.is_empty()
    }

    fn holder(&mut self, player: &PlayerId) -> Option<(SeatId, &mut Holder)> {
        let seat = *self.by_player.get(player)?;
        let holder = self.seats.get_mut(usize::from(seat.0))?.as_mut()?;
        Some((seat, holder))
    }
}

impl Presence {
    fn deadline(self) -> Option<Duration> {
        match self {
            Self::Reserved { until } | Self::Away { until } => Some(until),
            Self::Here => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn id(name: &str) -> PlayerId {
        PlayerId::new(name).unwrap()
    }

    fn player(name: &str) -> Player {
        Player { id: id(name), name: name.into(), rating: None }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_lowest_free_seat_is_given_first_and_again() {
        let mut seats = Seats::new(3, 0);
        for (name, seat) in [("a", 0), ("b", 1), ("c", 2), ("b", 1)] {
            assert_eq!(seats.reserve(player(name), at(5)), Ok(SeatId(seat)));
        }
        assert_eq!(seats.reserve(player("d"), at(5)), Err(NoSeat::Full));
        assert_eq!(seats.release(&id("b")), Some(SeatId(1)));
        assert_eq!(seats.release(&id("b")), None);
        assert_eq!(seats.reserve(player("d"), at(5)), Ok(SeatId(1)));
        assert_eq!(seats.held(), 3);
    }

    #[test]
    fn a_reservation_that_nobody_claims_is_freed_at_its_deadline() {
        let mut seats = Seats::new(2, 0);
        seats.reserve(player("a"), at(5)).unwrap();
        seats.reserve(player("b"), at(9)).unwrap();
        assert_eq!(seats.next_deadline(), Some(at(5)));
        assert_eq!(seats.handle_timeout(at(4)), []);
        assert_eq!(seats.claim(&id("a"), at(5)), Err(NoSeat::NotHeld), "at the deadline it is too late");
        assert_eq!(seats.claim(&id("b"), at(5)), Ok(SeatId(1)));
        let freed = Freed { seat: SeatId(0), player: id("a"), had_claimed: false };
        assert_eq!(seats.handle_timeout(at(5)), [freed]);
        assert_eq!(seats.next_deadline(), None);
        assert_eq!(seats.seat_of(&id("a")), None);
    }

    #[test]
    fn a_seat_outlives_its_link_for_the_grace() {
        let mut seats = Seats::new(2, 0);
        seats.reserve(player("a"), at(5)).unwrap();
        assert_eq!(seats.back(&id("a"), at(1)), Err(NoSeat::NotHeld), "who was never there is not back");
        assert_eq!(seats.lost(&id("a"), at(99)), None, "and cannot be lost");
        seats.claim(&id("a"), at(1)).unwrap();
        assert_eq!(seats.lost(&id("a"), at(20)), Some(SeatId(0)));
        assert_eq!(seats.lost(&id("a"), at(90)), None, "a second loss does not lengthen the grace");
        assert!(!seats.roster().next().unwrap().connected);
        assert_eq!(seats.back(&id("a"), at(19)), Ok(SeatId(0)));
        assert!(seats.roster().next().unwrap().connected);
        assert_eq!(seats.handle_timeout(at(1_000)), []);
        seats.lost(&id("a"), at(2_000)).unwrap();
        assert_eq!(seats.back(&id("a"), at(2_000)), Err(NoSeat::NotHeld));
        assert_eq!(seats.handle_timeout(at(2_000)).len(), 1);
        assert!(seats.is_empty());
    }

    #[test]
    fn spectators_are_bounded_and_hold_no_seat() {
        let mut seats = Seats::new(1, 2);
        seats.watch(&id("a")).unwrap();
        seats.watch(&id("b")).unwrap();
        assert_eq!(seats.watch(&id("b")), Ok(()), "again is no different from once");
        assert_eq!(seats.watch(&id("c")), Err(NoSeat::Full));
        assert_eq!(seats.reserve(player("a"), at(1)), Ok(SeatId(0)));
        assert!(!seats.is_spectator(&id("a")));
        assert_eq!(seats.watch(&id("a")), Err(NoSeat::Seated));
        assert_eq!(seats.reserve(player("b"), at(1)), Err(NoSeat::Full));
        assert!(seats.is_spectator(&id("b")), "who gets no seat goes on watching");
        assert_eq!(seats.release(&id("b")), None);
        assert_eq!((seats.spectators(), seats.held(), seats.capacity()), (0, 1, 1));
    }
}
