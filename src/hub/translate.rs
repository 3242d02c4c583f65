//! The pure rooms' pictures of themselves, as the wire shows them.

use crate::ids::SessionTag;
use crate::lobby::{self, Phase, Role};
use crate::session::Seats;
use crate::wire::{LobbyStatus, LobbySummary, LobbyView, Member, Roster, SeatInfo, WireRole};

pub fn summary(summary: &lobby::LobbySummary) -> LobbySummary {
    LobbySummary {
        id: summary.id,
        game: summary.game.clone(),
        name: summary.name.as_str().to_owned(),
        players: summary.players,
        capacity: summary.capacity,
        playing: summary.playing,
        open: summary.open,
    }
}

pub fn view(view: &lobby::LobbyView) -> LobbyView {
    LobbyView {
        id: view.id,
        code: view.code,
        game: view.game.clone(),
        name: view.name.as_str().to_owned(),
        public: view.public,
        locked: view.locked,
        capacity: view.capacity,
        min_players: view.min_players,
        host: view.host.clone(),
        status: match view.phase {
            Phase::Gathering | Phase::Starting => LobbyStatus::Gathering,
            Phase::Playing(session) => LobbyStatus::Playing(session),
        },
        members: view
            .members
            .iter()
            .map(|member| Member {
                player: member.player.clone(),
                name: member.name.as_str().to_owned(),
                role: match member.role {
                    Role::Player => WireRole::Player,
                    Role::Spectator => WireRole::Spectator,
                },
                ready: member.ready,
                connected: member.connected,
            })
            .collect(),
    }
}

pub fn roster(tag: SessionTag, seats: &Seats) -> Roster {
    let seated = seats.roster().map(|view| SeatInfo {
        seat: view.seat,
        player: view.player.id.clone(),
        name: view.player.name.to_string(),
        connected: view.connected,
    });
    Roster { tag, seats: seated.collect(), spectators: seats.spectators() }
}
