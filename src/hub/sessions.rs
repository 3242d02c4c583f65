//! Sessions: seating players when a lobby starts one, and taking everybody back when it is over.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::link::{LinkId, Route};
use super::{State, Turn, translate};
use crate::game::Player;
use crate::ids::{InputSeq, LobbyId, PlayerId, SessionId, SessionTag};
use crate::lobby::Role;
use crate::session::{Seats, Simulation};
use crate::ticker::schedule::first_tick;
use crate::ticker::{Outcome, SessionRun};
use crate::wire::{Code, EndReason, Roster, Seated, ServerMessage, SessionEnded};

/// A session that runs, as the hub knows it: who sits where, and the way to its task.
pub struct Running {
    run: Arc<SessionRun>,
    seats: Seats,
}

impl Running {
    /// The session.
    pub fn id(&self) -> SessionId {
        self.run.id()
    }

    /// Who sits where.
    pub fn roster(&self) -> Roster {
        translate::roster(self.run.tag(), &self.seats)
    }

    /// A seat's link is lost; the seat waits.
    pub fn lose_link(&mut self, player: &PlayerId, link: LinkId, grace_ends: Duration) {
        self.run.detach(link.0);
        if let Some(seat) = self.seats.seat_of(player) {
            self.seats.lost(player, grace_ends);
            self.run.mailbox(|mailbox| mailbox.push_absent(seat));
        }
    }
}

impl Turn<'_> {
    pub(super) fn start_session(&mut self, id: LobbyId, players: &[PlayerId], spectators: &[PlayerId]) {
        let State { lobbies, sessions, random, next_tag, .. } = &mut *self.state;
        let Some(entry) = lobbies.get_mut(&id) else { return };
        let settings = entry.lobby.settings();
        let seed = random.next_u64();
        let created =
            self.hub.0.registry.game(&settings.game).map(|kind| (kind.info(), kind.create(&settings.settings, seed)));
        let Some((info, Ok(game))) = created else {
            tracing::error!(game = %settings.game, lobby = %id, "a game could not be begun");
            entry.lobby.handle_session_failed(self.now);
            return;
        };
        let session = SessionId((u128::from(random.next_u64()) << 64) | u128::from(random.next_u64()));
        let tag = SessionTag(*next_tag);
        *next_tag = next_tag.wrapping_add(1);
        let places = settings.capacity.min(*info.players.end());
        let run = Arc::new(SessionRun::new(session, tag, info.tick_hz, places, Arc::clone(&self.hub.0.metrics)));
        entry.session = Some(Running { run: Arc::clone(&run), seats: Seats::new(places, settings.spectators) });
        entry.lobby.handle_session_started(session);
        sessions.insert(session, id);
        self.hub.0.metrics.sessions_allocated.inc();
        self.hub.0.metrics.sessions.inc();
        players.iter().for_each(|player| self.seat(id, player, Role::Player));
        spectators.iter().for_each(|player| self.seat(id, player, Role::Spectator));
        let simulation = Simulation::new(game, places, run.hz());
        let hub = self.hub.clone();
        let period = Duration::from_secs(1) / u32::from(run.hz());
        let start = first_tick(self.now, u64::from(tag.0), period);
        tokio::spawn(async move {
            let clock = hub.0.clock;
            let outcome = run.drive(simulation, start, clock).await;
            hub.turn(|turn| turn.handle_session_over(id, session, outcome));
        });
    }

    pub(super) fn seat_late(&mut self, id: LobbyId, player: &PlayerId, role: Role) {
        self.seat(id, player, role);
    }

    /// Gives a member a seat, or a place to watch, and leads its link there.
    fn seat(&mut self, id: LobbyId, player: &PlayerId, role: Role) {
        let now = self.now;
        let State { lobbies, players, .. } = &mut *self.state;
        let Some(session) = lobbies.get_mut(&id).and_then(|entry| entry.session.as_mut()) else { return };
        let Some(presence) = players.get_mut(player) else { return };
        let here = presence.link.is_some();
        let taken = match role {
            Role::Player => {
                let rating = presence.grants.rating.map(|rating| rating as i32);
                let player = Player { id: player.clone(), name: presence.name.as_str().into(), rating };
                // A member whose link is lost just now finds its seat reserved for as long as its place waits.
                let until = presence.grace_ends.unwrap_or(now + self.hub.0.limits.grace);
                session.seats.reserve(player.clone(), until).map(|seat| {
                    session.run.mailbox(|mailbox| mailbox.push_join(seat, player));
                    Some(seat)
                })
            }
            Role::Spectator => session.seats.watch(player).map(|()| None),
        };
        let Ok(seat) = taken else {
            tracing::warn!(player = %player.in_log(), lobby = %id, "the session has no seat left for a member of its lobby");
            return;
        };
        presence.seat = seat;
        presence.was_seated |= seat.is_some();
        if here && seat.is_some() && session.seats.claim(player, now).is_err() {
            tracing::error!(player = %player.in_log(), lobby = %id, "a seat that was just reserved is not there");
        }
        self.tell_seat(player, id);
        self.lead_link(player, id);
    }

    /// After a link came back: leads it to the seat, and tells the seat where the client does not know.
    pub(super) fn rejoin_session(&mut self, player: &PlayerId, id: LobbyId, tell: bool) {
        let Some(session) = self.state.lobbies.get_mut(&id).and_then(|entry| entry.session.as_mut()) else { return };
        if let Some(seat) = session.seats.seat_of(player) {
            if session.seats.back(player, self.now).is_err() {
                return;
            }
            session.run.mailbox(|mailbox| mailbox.push_present(seat));
        } else if !session.seats.is_spectator(player) {
            return;
        }
        if tell {
            self.tell_seat(player, id);
        }
        self.lead_link(player, id);
    }

    /// Frees whatever a player has in its lobby's session.
    pub(super) fn unseat(&mut self, id: LobbyId, player: &PlayerId) {
        let link = self.state.players.get_mut(player).and_then(|presence| {
            presence.seat = None;
            presence.link.clone()
        });
        let Some(session) = self.state.lobbies.get_mut(&id).and_then(|entry| entry.session.as_mut()) else { return };
        if let Some(seat) = session.seats.seat_of(player) {
            session.run.mailbox(|mailbox| mailbox.push_leave(seat));
        }
        session.seats.release(player);
        if let Some(link) = link {
            session.run.detach(link.id.0);
            link.set_route(None, &self.hub.0.limits);
        }
        if session.seats.held() == 0 {
            session.run.stop();
        }
    }

    /// The lobby is gone and its session with it.
    pub(super) fn forget_session(&mut self, session: Running) {
        if self.state.sessions.remove(&session.id()).is_some() {
            self.hub.0.metrics.sessions.dec();
        }
        session.run.stop();
    }

    fn handle_session_over(&mut self, id: LobbyId, session: SessionId, outcome: Outcome) {
        let now = self.now;
        let Some(entry) = self.state.lobbies.get_mut(&id) else { return };
        if entry.session.as_ref().is_none_or(|running| running.id() != session) {
            return;
        }
        let Some(running) = entry.session.take() else { return };
        let members: Vec<PlayerId> = entry.lobby.members().map(|member| member.player.clone()).collect();
        entry.lobby.handle_session_ended(session, now);
        self.forget_session(running);
        let (reason, result) = match &outcome {
            Outcome::Finished(result) => (EndReason::Finished, result.clone()),
            Outcome::Crashed(said) => {
                self.hub.0.metrics.game_panics.inc();
                tracing::error!(%session, lobby = %id, said, "a game panicked; its session is over");
                (EndReason::Crashed, Vec::new())
            }
            Outcome::Stopped => (EndReason::Abandoned, Vec::new()),
        };
        self.broadcast(id, &ServerMessage::Ended(SessionEnded { session, reason, result }));
        for player in &members {
            if let Some(presence) = self.state.players.get_mut(player) {
                presence.seat = None;
                if let Some(link) = &presence.link {
                    link.set_route(None, &self.hub.0.limits);
                }
            }
            if reason == EndReason::Crashed {
                self.cut(player, Code::SessionCrashed);
            }
        }
        self.drive_lobby(id);
    }

    fn tell_seat(&mut self, player: &PlayerId, id: LobbyId) {
        let Some(entry) = self.state.lobbies.get(&id) else { return };
        let Some(session) = &entry.session else { return };
        let seat = session.seats.seat_of(player);
        let last_input = seat.map_or(InputSeq(0), |seat| session.run.mailbox(|mailbox| mailbox.last_input(seat)));
        let seated = Seated {
            session: session.id(),
            tag: session.run.tag(),
            lobby: id,
            game: entry.lobby.settings().game.clone(),
            seat,
            tick_hz: session.run.hz(),
            settings: entry.lobby.settings().settings.clone(),
            last_input,
        };
        let roster = session.roster();
        self.send(player, &ServerMessage::Seated(seated));
        self.send(player, &ServerMessage::Roster(roster));
    }

    fn lead_link(&mut self, player: &PlayerId, id: LobbyId) {
        let Some(session) = self.state.lobbies.get(&id).and_then(|entry| entry.session.as_ref()) else { return };
        let Some(link) = self.state.players.get(player).and_then(|presence| presence.link.clone()) else { return };
        let route = session.seats.seat_of(player).map(|seat| Route { run: Arc::clone(&session.run), seat });
        link.set_route(route, &self.hub.0.limits);
        session.run.attach(link.id.0, Arc::clone(&link.outlet));
    }
}
