//! When a session starts, who is told to sit in it, and what its end means for the lobby.

use std::time::Duration;

use super::{Event, Lobby, Phase, Role, StartRule};
use crate::ids::SessionId;

impl Lobby {
    /// Learns that the session asked for by [`Event::StartSession`] runs. Whoever has come since is seated late.
    pub fn handle_session_started(&mut self, session: SessionId) {
        if self.phase == Phase::Starting && !self.closed {
            self.phase = Phase::Playing(session);
            self.changed = true;
            self.announce_late();
        }
    }

    /// Learns that the session asked for by [`Event::StartSession`] could not be started: everybody gathers again, and
    /// nobody is ready. An automatic start waits at least [`RETRY_AFTER`].
    pub fn handle_session_failed(&mut self, now: Duration) {
        if self.phase == Phase::Starting {
            self.gather(now, RETRY_AFTER);
        }
    }

    /// Learns that the session is over: everybody is still here, and nobody is ready. The end of any session but the
    /// one that runs means nothing.
    pub fn handle_session_ended(&mut self, session: SessionId, now: Duration) {
        if self.phase == Phase::Playing(session) {
            self.gather(now, Duration::ZERO);
        }
    }
}

impl Lobby {
    /// Whether enough players are here to start.
    pub(super) fn has_minimum(&self) -> bool {
        self.roster.count(Role::Player) >= usize::from(self.settings.min_players)
    }

    /// Sets the time of an automatic start once the minimum is there.
    pub(super) fn arm(&mut self, now: Duration) {
        if let StartRule::Automatic { after_minimum, .. } = self.settings.start
            && self.phase == Phase::Gathering
            && self.start_due.is_none()
            && self.has_minimum()
        {
            self.start_due = Some(now.saturating_add(after_minimum).max(self.rest_until));
        }
    }

    pub(super) fn start_if_due(&mut self, now: Duration) {
        if self.start_due.is_some_and(|due| due <= now) {
            self.begin();
        }
    }

    /// Asks for a session with everybody who is here.
    pub(super) fn begin(&mut self) {
        self.phase = Phase::Starting;
        self.start_due = None;
        self.changed = true;
        let (mut players, mut spectators) = (Vec::new(), Vec::new());
        for member in self.roster.members_mut() {
            member.announced = true;
            match member.role {
                Role::Player => players.push(member.player.clone()),
                Role::Spectator => spectators.push(member.player.clone()),
            }
        }
        self.events.push_back(Event::StartSession { players, spectators });
    }

    /// Asks for a seat for whoever the running session does not know yet.
    pub(super) fn announce_late(&mut self) {
        if !matches!(self.phase, Phase::Playing(_)) {
            return;
        }
        let late_join = self.settings.late_join;
        for member in self.roster.members_mut() {
            // A player can be here unseated: the place was reserved before a session began that takes nobody late.
            if !member.announced && (late_join || member.role == Role::Spectator) {
                member.announced = true;
                self.events.push_back(Event::SeatLate { player: member.player.clone(), role: member.role });
            }
        }
    }

    /// Goes back to gathering.
    fn gather(&mut self, now: Duration, at_least: Duration) {
        if self.closed {
            return;
        }
        self.phase = Phase::Gathering;
        self.changed = true;
        for member in self.roster.members_mut() {
            member.ready = false;
        }
        if let StartRule::Automatic { after_session, .. } = self.settings.start {
            self.rest_until = now.saturating_add(after_session.max(at_least));
            if self.has_minimum() {
                self.start_due = Some(self.rest_until);
            }
        }
        self.start_if_due(now);
    }
}

/// How long an automatic start waits after a session that could not be started, so that it does not try without pause.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);
