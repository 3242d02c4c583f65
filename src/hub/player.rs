//! A player's presence on the node: it begins with an admitted ticket and outlives its links by the grace time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::link::{Link, LinkId};
use super::log::{Missed, ReliableLog};
use super::renewal::Stay;
use super::{Hub, JoinFault, Target, Timer, Turn};
use crate::ids::{LobbyId, PlayerId, SeatId};
use crate::lobby::{ListFilter, Role};
use crate::metrics::Resume;
use crate::outbox::Outlet;
use crate::text::DisplayName;
use crate::ticket::{Grants, TicketFacts};
use crate::wire::{Code, ResumeOutcome, ResumePoint, ResumeToken, ServerMessage, Welcome, encode_server};

use super::Attached;

/// What the node holds of a player.
pub struct Presence {
    pub name: DisplayName,
    pub grants: Arc<Grants>,
    pub role: Role,
    /// By what it is here.
    pub ticket: TicketFacts,
    /// Which of the node's arrivals this is.
    pub arrival: u64,
    /// When it arrived.
    pub since: Duration,
    /// How long it may stay by that.
    pub stay: Stay,
    pub link: Option<Arc<Link>>,
    /// While no link is up: when the place is given up.
    pub grace_ends: Option<Duration>,
    pub lobby: Option<LobbyId>,
    /// Where it sits in its lobby's session.
    pub seat: Option<SeatId>,
    /// Whether it has sat anywhere since its arrival.
    pub was_seated: bool,
    pub log: ReliableLog,
    /// The newest request carried out.
    pub last_request: u32,
    /// SHA-256 of the token that resumes.
    pub resume: Option<[u8; 32]>,
    pub watching: Option<ListFilter>,
    /// The lobby's version that was sent last.
    pub seen_version: u64,
}

/// Who arrives with a verified ticket.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Who.
    pub player: PlayerId,
    /// The name shown to others.
    pub name: DisplayName,
    /// What the ticket allows.
    pub grants: Arc<Grants>,
    /// Plays or watches.
    pub role: Role,
    /// By what it comes.
    pub ticket: TicketFacts,
}

/// What a link that comes up means.
enum Coming {
    Arrived,
    Back(ResumePoint),
}

/// A place that was given, waiting for its link.
pub struct Place {
    hub: Hub,
    player: PlayerId,
    /// The arrival it was given to; a later one of the same player is somebody else's ticket.
    arrival: u64,
    coming: Coming,
    /// Where it was reserved.
    lobby: Option<LobbyId>,
}

/// Why a resume is refused. One answer for all reasons, since the token is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody waits for this resume token")]
pub struct NoSuchPlace;

impl Hub {
    /// Holds a place for an arrival that is on its way.
    ///
    /// # Errors
    /// [`JoinFault`] says why there is none.
    pub(crate) fn reserve(&self, arrival: &Arrival, target: &Target) -> Result<LobbyId, JoinFault> {
        self.turn(|turn| turn.reserve(arrival, target))
    }

    /// Gives back a place that was held.
    pub(crate) fn cancel(&self, player: &PlayerId, lobby: LobbyId) {
        self.turn(|turn| turn.cancel(player, lobby));
    }

    /// Makes an arrival present. A newer login takes over from an older one: its link is closed, its place is kept when
    /// the new one wants the same.
    pub(crate) fn arrive(&self, arrival: Arrival, lobby: Option<LobbyId>) -> Place {
        let player = arrival.player.clone();
        let arrival = self.turn(|turn| turn.arrive(arrival, lobby));
        Place { hub: self.clone(), player, arrival, coming: Coming::Arrived, lobby }
    }

    /// Finds whose place a resume token is for, and uses the token up.
    ///
    /// # Errors
    /// [`NoSuchPlace`] when there is none: unknown, used before, or the grace is over.
    pub(crate) fn resume(&self, point: &ResumePoint) -> Result<Place, NoSuchPlace> {
        let digest = digest(&point.token);
        self.turn(|turn| {
            let player = turn.state.resumes.remove(&digest).ok_or(NoSuchPlace)?;
            let presence = turn.state.players.get_mut(&player).ok_or(NoSuchPlace)?;
            presence.resume = None;
            let arrival = presence.arrival;
            // The link that is to come has the time of a handshake; an old one that still seems up is replaced.
            turn.cut(&player, Code::Replaced);
            turn.wait_for_link(&player);
            Ok(Place { hub: self.clone(), player, arrival, coming: Coming::Back(point.clone()), lobby: None })
        })
    }
}

impl Place {
    /// Gives the place its link: queues the Welcome and what belongs behind it, and writes them as one.
    pub fn attach(self, outlet: Arc<dyn Outlet>) -> Attached {
        let Self { hub, player, arrival, coming, lobby } = self;
        let link = hub.turn(|turn| {
            let id = LinkId(turn.state.next_link);
            turn.state.next_link += 1;
            let link = Arc::new(Link::new(id, player.clone(), outlet, &hub.0.limits, turn.now));
            turn.attach(&player, &link, arrival, coming, lobby);
            link
        });
        hub.0.links.fetch_add(1, Ordering::Relaxed);
        hub.0.metrics.links.of(link.outlet.transport()).inc();
        Attached::new(hub, link)
    }

    /// Gives the place back before it has a link: its ticket turned out to be revoked.
    pub(crate) fn give_up(self) {
        self.hub.turn(|turn| {
            if turn.state.players.get(&self.player).is_some_and(|presence| presence.arrival == self.arrival) {
                turn.cut(&self.player, Code::Forbidden);
                turn.depart(&self.player);
            }
            if let Some(lobby) = self.lobby {
                turn.cancel(&self.player, lobby);
            }
        });
    }
}

impl Turn<'_> {
    fn arrive(&mut self, arrival: Arrival, lobby: Option<LobbyId>) -> u64 {
        let Arrival { player, name, grants, role, ticket } = arrival;
        self.cut(&player, Code::Replaced);
        let (before_lobby, before_role) = match self.state.players.get(&player) {
            Some(before) => (before.lobby, before.role),
            None => (None, role),
        };
        let moves = lobby.is_some() && before_lobby != lobby;
        if before_lobby.is_some() && (moves || before_role != role) {
            self.leave_lobby(&player);
            if before_lobby == lobby {
                // The same lobby in another role: a place of that kind, if there is one; else it is refused at the link.
                let arrival = Arrival {
                    player: player.clone(),
                    name: name.clone(),
                    grants: Arc::clone(&grants),
                    role,
                    ticket: ticket.clone(),
                };
                let _ = lobby.map(|id| self.reserve(&arrival, &Target::Lobby(id)));
            }
        }
        let old = self.state.players.remove(&player);
        if let Some(old) = &old {
            self.forget_resume(old);
            self.state.watchers.remove(&player);
            self.set_timer(old.grace_ends, None, Timer::Grace(player.clone()));
            self.set_timer(old.stay.timer(), None, Timer::Ticket(player.clone()));
        } else {
            self.hub.0.metrics.players.inc();
        }
        let number = self.state.next_arrival;
        self.state.next_arrival += 1;
        let presence = Presence {
            name,
            grants,
            role,
            ticket,
            arrival: number,
            since: self.now,
            stay: Stay::default(),
            link: None,
            grace_ends: None,
            lobby: old.as_ref().and_then(|old| old.lobby),
            seat: old.as_ref().and_then(|old| old.seat),
            was_seated: old.as_ref().is_some_and(|old| old.seat.is_some()),
            log: ReliableLog::default(),
            last_request: 0,
            resume: None,
            watching: None,
            seen_version: 0,
        };
        self.state.players.insert(player.clone(), Box::new(presence));
        self.begin_stay(&player);
        self.wait_for_link(&player);
        number
    }

    fn attach(&mut self, player: &PlayerId, link: &Arc<Link>, arrival: u64, coming: Coming, lobby: Option<LobbyId>) {
        let metrics = &self.hub.0.metrics;
        if self.hub.is_draining() {
            // Admitted a moment before: told like everybody else.
            let goodbye = super::encode_goodbye(Code::Draining, Some(super::DRAIN_RETRY));
            return link.close(Code::Draining, &goodbye, metrics);
        }
        if self.state.players.get(player).is_some_and(|presence| presence.arrival != arrival) {
            // Of two logins at the same time the later one stands, whichever link is up first: the earlier ticket may
            // have been revoked since.
            return link.close(Code::Replaced, &super::encode_goodbye(Code::Replaced, None), metrics);
        }
        self.cut(player, Code::Replaced);
        let token = self.new_resume_token(player);
        let limits = &self.hub.0.limits;
        let Some(presence) = self.state.players.get_mut(player) else {
            // The grace ended between admission and here.
            return link.close(Code::Overloaded, &super::encode_goodbye(Code::Overloaded, None), metrics);
        };
        presence.link = Some(Arc::clone(link));
        if presence.was_seated {
            link.was_seated_before();
        }
        let grace = presence.grace_ends.take();
        let missed = match &coming {
            Coming::Arrived => None,
            Coming::Back(point) => Some(presence.log.missed(point.received)),
        };
        let (outcome, counted) = match &missed {
            Some(Missed::Messages(_)) => (ResumeOutcome::Resumed, presence.log.sent()),
            Some(Missed::TooMuch) => {
                presence.log.forget();
                (ResumeOutcome::Restarted, presence.log.sent())
            }
            None => (ResumeOutcome::Arrived, 0),
        };
        let welcome = ServerMessage::Welcome(Welcome {
            player: player.clone(),
            name: presence.name.as_str().to_owned(),
            resume: token,
            outcome,
            counted,
            last_request: presence.last_request,
            server_time_us: self.now.as_micros() as u64,
            heartbeat_ms: (limits.heartbeat / 3).as_millis() as u32,
            grace_ms: limits.grace.as_millis() as u32,
            max_message: limits.message_bytes as u32,
        });
        self.set_timer(grace, None, Timer::Grace(player.clone()));
        self.send_encoded(player, &encode_server(&welcome), false);
        match outcome {
            ResumeOutcome::Arrived => {}
            ResumeOutcome::Resumed => drop(self.hub.0.metrics.resumes.of(Resume::Resumed).inc()),
            ResumeOutcome::Restarted => drop(self.hub.0.metrics.resumes.of(Resume::Restarted).inc()),
        }
        if let Some(Missed::Messages(messages)) = &missed {
            for message in messages {
                self.send_encoded(player, message, false);
            }
        }
        self.take_place(player, lobby, outcome);
        self.ask_again(player);
    }

    /// Puts a player whose link came up where it belongs, and tells it where that is unless it knows.
    fn take_place(&mut self, player: &PlayerId, reserved: Option<LobbyId>, outcome: ResumeOutcome) {
        let Some(presence) = self.state.players.get(player) else { return };
        match (presence.lobby, reserved) {
            (Some(lobby), _) => {
                self.handle_link_back(player, lobby);
                if outcome != ResumeOutcome::Resumed {
                    self.send_view(player, lobby);
                }
                self.rejoin_session(player, lobby, outcome != ResumeOutcome::Resumed);
            }
            (None, Some(lobby)) => self.enter_lobby(player, lobby),
            (None, None) => {}
        }
    }

    /// A link is lost: the place waits for the grace time.
    pub(super) fn handle_link_lost(&mut self, player: &PlayerId, link: LinkId) {
        let now = self.now;
        let grace_ends = now + self.hub.0.limits.grace;
        let Some(presence) = self.state.players.get_mut(player) else { return };
        if presence.link.as_ref().is_none_or(|current| current.id != link) {
            return;
        }
        presence.link = None;
        let old = presence.grace_ends.replace(grace_ends);
        let lobby = presence.lobby;
        self.set_timer(old, Some(grace_ends), Timer::Grace(player.clone()));
        if let Some(lobby) = lobby {
            self.lose_link_in_lobby(player, lobby, link, grace_ends);
        }
    }

    pub(super) fn handle_grace_end(&mut self, player: &PlayerId) {
        if self.state.players.get(player).is_some_and(|presence| presence.link.is_none()) {
            self.depart(player);
        }
    }

    /// A player goes for good: out of its lobby, its session and the tables.
    pub(super) fn depart(&mut self, player: &PlayerId) {
        self.leave_lobby(player);
        let Some(presence) = self.state.players.remove(player) else { return };
        self.hub.0.metrics.players.dec();
        self.forget_resume(&presence);
        self.state.watchers.remove(player);
        self.set_timer(presence.grace_ends, None, Timer::Grace(player.clone()));
        self.set_timer(presence.stay.timer(), None, Timer::Ticket(player.clone()));
    }

    fn wait_for_link(&mut self, player: &PlayerId) {
        let until = self.now + self.hub.0.limits.grace.max(self.hub.0.reservation);
        let Some(presence) = self.state.players.get_mut(player) else { return };
        let old = presence.grace_ends.replace(until);
        self.set_timer(old, Some(until), Timer::Grace(player.clone()));
    }

    fn new_resume_token(&mut self, player: &PlayerId) -> ResumeToken {
        let mut token = ResumeToken([0; 32]);
        // The secret comes from the operating system, not from the hub's own generator.
        if getrandom::fill(&mut token.0).is_err() {
            return token;
        }
        if let Some(presence) = self.state.players.get_mut(player) {
            let digest = digest(&token);
            let old = presence.resume.replace(digest);
            if let Some(old) = old {
                self.state.resumes.remove(&old);
            }
            self.state.resumes.insert(digest, player.clone());
        }
        token
    }

    fn forget_resume(&mut self, presence: &Presence) {
        if let Some(digest) = presence.resume {
            self.state.resumes.remove(&digest);
        }
    }
}

fn digest(token: &ResumeToken) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &token.0);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
