//! One deadline for each player, in one table: the lapse of a reservation, or the end of a lost link's grace.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::ids::PlayerId;

/// Deadlines by player and by time. A player has at most one, since nobody is both a member and arriving.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_player: HashMap<PlayerId, Duration>,
    by_time: BTreeSet<(Duration, PlayerId)>,
}

impl Timers {
    /// Sets the player's deadline in place of any other.
    pub(super) fn set(&mut self, player: &PlayerId, at: Duration) {
        self.clear(player);
        self.by_player.insert(player.clone(), at);
        self.by_time.insert((at, player.clone()));
    }

    /// Forgets the player's deadline, if there is one.
    pub(super) fn clear(&mut self, player: &PlayerId) {
        if let Some((player, at)) = self.by_player.remove_entry(player) {
            self.by_time.remove(&(at, player));
        }
    }

    /// The nearest deadline.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the nearest deadline out if it is `now` or earlier. Those of one moment come in order of the ids.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<PlayerId> {
        if self.next()? > now {
            return None;
        }
        let (_, player) = self.by_time.pop_first()?;
        self.by_player.remove(&player);
        Some(player)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_newer_deadline_replaces_the_older_one() {
        let (ada, bob) = (PlayerId::new("ada").unwrap(), PlayerId::new("bob").unwrap());
        let at = Duration::from_secs;
        let mut timers = Timers::default();
        timers.set(&ada, at(1));
        timers.set(&bob, at(2));
        timers.set(&ada, at(3));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop_due(at(1)), None);
        assert_eq!(timers.pop_due(at(3)), Some(bob));
        timers.clear(&ada);
        assert_eq!(timers.pop_due(at(9)), None);
        assert!(timers.by_player.is_empty() && timers.by_time.is_empty());
    }
}
