//! What a lobby is created with.

use std::time::Duration;

use crate::ids::GameName;
use crate::text::LobbyName;

/// What a lobby is created with; it does not change afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LobbySettings {
    /// The game to play.
    pub game: GameName,
    /// The name in the list.
    pub name: LobbyName,
    /// Whether the list shows it and quick play may fill it.
    pub public: bool,
    /// Places for players. At least 1: [`super::Lobby::new`] raises 0.
    pub capacity: u16,
    /// Places for spectators, beside those for players. 0 means that nobody watches.
    pub spectators: u16,
    /// Players needed to start. [`super::Lobby::new`] brings it into 1 to `capacity`.
    pub min_players: u16,
    /// The game's settings, in the game's own encoding. The lobby does not read them.
    pub settings: Vec<u8>,
    /// What starts a session.
    pub start: StartRule,
    /// Whether players may join while a session runs.
    pub late_join: bool,
}

/// What starts a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartRule {
    /// The host starts, or it starts when all players are ready; in both cases only with the minimum.
    WhenReady,
    /// It starts by itself once the minimum is there, and again after each session: quick play. Readiness is shown
    /// and has no effect; the host may start earlier.
    Automatic {
        /// From the moment the minimum is met.
        after_minimum: Duration,
        /// From the end of a session; never earlier than this, however many arrive.
        after_session: Duration,
    },
}
