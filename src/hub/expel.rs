//! Sending players away for good: their ticket was revoked, or an operator removes them.
//!
//! Whoever is sent away loses its link, its place and its resume token in one turn, so that there is no moment at which
//! it could come back.

use bytes::Bytes;

use super::{Hub, Turn};
use crate::directory::{Revocation, Revoked};
use crate::ids::PlayerId;
use crate::ticket::TicketFacts;
use crate::wire::{Code, Goodbye, ServerMessage, encode_server};

impl Hub {
    /// Sends everybody away who is here by a ticket that this revocation covers; answers how many went. Record it
    /// first: who arrives after this has looked is found by admission's second question.
    ///
    /// # Cancel safety
    /// Those who went stay away, the others are still here.
    pub async fn revoke(&self, revocation: &Revocation) -> usize {
        if let Revoked::Player { player, .. } = &revocation.of {
            let goodbye = goodbye_revoked();
            return usize::from(self.turn(|turn| turn.expel_if(player, &goodbye, &|p, t| revocation.covers(p, t))));
        }
        self.revoke_where(|player, ticket| revocation.covers(player, ticket)).await
    }

    /// As [`Self::revoke`], for whatever `covers` says. It is asked under the hub's lock: answer from memory.
    ///
    /// # Cancel safety
    /// As [`Self::revoke`].
    pub async fn revoke_where(&self, covers: impl Fn(&PlayerId, &TicketFacts) -> bool) -> usize {
        let found: Vec<PlayerId> = {
            let state = self.0.state.lock();
            let covered = state.players.iter().filter(|(player, presence)| covers(player, &presence.ticket));
            covered.map(|(player, _)| player.clone()).collect()
        };
        let goodbye = goodbye_revoked();
        let mut gone = 0;
        for some in found.chunks(AT_ONCE) {
            // Asked again: between two turns a player may have come back with a ticket that is good.
            let went =
                |turn: &mut Turn<'_>| some.iter().filter(|player| turn.expel_if(player, &goodbye, &covers)).count();
            gone += self.turn(went);
            // Sessions tick on the same threads.
            tokio::task::yield_now().await;
        }
        gone
    }

    /// Sends a player away, with [`Code::Kicked`]. Whether it was here. A new ticket lets it in again.
    pub fn kick(&self, player: &PlayerId) -> bool {
        self.turn(|turn| {
            let here = turn.state.players.contains_key(player);
            turn.cut(player, Code::Kicked);
            turn.depart(player);
            here
        })
    }
}

impl Turn<'_> {
    fn expel_if(
        &mut self,
        player: &PlayerId,
        goodbye: &Bytes,
        covers: &impl Fn(&PlayerId, &TicketFacts) -> bool,
    ) -> bool {
        let Some(presence) = self.state.players.get(player).filter(|presence| covers(player, &presence.ticket)) else {
            return false;
        };
        if let Some(link) = presence.link.clone() {
            link.close(Code::Forbidden, goodbye, &self.hub.0.metrics);
            self.handle_link_lost(player, link.id);
        }
        self.depart(player);
        self.hub.0.metrics.players_revoked.inc();
        true
    }
}

fn goodbye_revoked() -> Bytes {
    let goodbye = Goodbye { code: Code::Forbidden.number(), reason: REVOKED.to_owned(), retry_after_ms: None };
    encode_server(&ServerMessage::Goodbye(goodbye))
}

/// The reason in the Goodbye of a player whose ticket was revoked.
const REVOKED: &str = "revoked";

/// Players who are sent away in one turn of the hub: about a millisecond.
const AT_ONCE: usize = 64;
