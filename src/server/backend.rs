//! What the HTTP interface tells about the node.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::keys::Keys;
use crate::certificate::CertificateStore;
use crate::http::{Backend, CertificateFacts, DevTicket, DevTicketWish, LobbyEntry, LobbyQuery};
use crate::hub::Hub;
use crate::ids::{GameName, PlayerId};
use crate::lobby::ListFilter;
use crate::wire::Code;

/// Answers from the node's own tables.
pub struct NodeBackend {
    pub hub: Hub,
    pub certificates: Option<CertificateStore>,
    pub keys: Arc<Keys>,
}

impl Backend for NodeBackend {
    fn lobbies(&self, query: &LobbyQuery) -> Vec<LobbyEntry> {
        let game = match query.game.as_deref().map(GameName::new) {
            None => None,
            Some(Ok(game)) => Some(game),
            Some(Err(_)) => return Vec::new(),
        };
        let found = self.hub.list(&ListFilter { game, open: query.open_only });
        let entry = |lobby: crate::wire::LobbySummary| LobbyEntry {
            id: lobby.id.to_string(),
            game: lobby.game.to_string(),
            name: lobby.name,
            players: lobby.players,
            capacity: lobby.capacity,
            playing: lobby.playing,
            open: lobby.open,
        };
        found.into_iter().take(query.most).map(entry).collect()
    }

    fn ready(&self) -> bool {
        !self.hub.is_draining()
    }

    fn certificate(&self) -> Option<CertificateFacts> {
        let identity = self.certificates.as_ref()?.current();
        Some(CertificateFacts {
            hash: identity.hash(),
            not_after: identity.not_after(),
            usable_by_browsers: identity.hash_usable_by_browsers(),
        })
    }

    fn dev_ticket(&self, wish: &DevTicketWish) -> Result<DevTicket, Code> {
        let sub = match &wish.sub {
            Some(sub) => sub.clone(),
            None => made_up_player(),
        };
        PlayerId::new(&sub).map_err(|_| Code::Malformed)?;
        let claims = [("name", &wish.name), ("game", &wish.game), ("lobby", &wish.lobby), ("role", &wish.role)];
        let more: Map<String, Value> = claims
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value.clone()?))))
            .collect();
        let now = self.hub.clock().unix();
        let ticket = self.keys.mint(&sub, more, now).ok_or(Code::NotFound)?.map_err(|_| Code::Malformed)?;
        let expires_at = now.plus(self.keys.lifetime()).0;
        Ok(DevTicket { ticket: ticket.reveal().to_owned(), sub, expires_at })
    }
}

/// `player-` and five letters: enough that two tabs are two players.
fn made_up_player() -> String {
    let mut random = [0; 8];
    // Without randomness everybody would be the same player, who takes over from the last: visible, and only development.
    let _ = getrandom::fill(&mut random);
    let code = crate::ids::JoinCode::from_random(u64::from_ne_bytes(random));
    format!("player-{}", code.as_str().to_lowercase())
}
