//! Whom the host has removed from a lobby.

use std::collections::{HashSet, VecDeque};

use crate::ids::PlayerId;

/// The players who may not come back. Bounded: past [`MAX_BANS`] the oldest is forgotten, so that a host who goes on
/// removing players cannot fill the server's memory.
#[derive(Debug, Default)]
pub(super) struct Bans {
    players: HashSet<PlayerId>,
    order: VecDeque<PlayerId>,
}

impl Bans {
    /// Whether the player may not come back.
    pub(super) fn contains(&self, player: &PlayerId) -> bool {
        self.players.contains(player)
    }

    /// Remembers the player.
    pub(super) fn insert(&mut self, player: PlayerId) {
        if !self.players.insert(player.clone()) {
            return;
        }
        self.order.push_back(player);
        if self.order.len() > MAX_BANS
            && let Some(oldest) = self.order.pop_front()
        {
            self.players.remove(&oldest);
        }
    }
}

/// The most players that a lobby keeps out.
const MAX_BANS: usize = 1_024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_oldest_ban_is_forgotten_past_the_bound() {
        let player = |n: usize| PlayerId::new(&format!("p{n}")).unwrap();
        let mut bans = Bans::default();
        for n in 0..=MAX_BANS {
            bans.insert(player(n));
            bans.insert(player(n));
        }
        assert!(!bans.contains(&player(0)));
        assert!((1..=MAX_BANS).all(|n| bans.contains(&player(n))));
        assert_eq!((bans.players.len(), bans.order.len()), (MAX_BANS, MAX_BANS));
    }
}
