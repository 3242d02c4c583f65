//! Sessions with an end: a player is asked in time for a fresh ticket, shows it on the link it has, or goes.
//!
//! Owns: when to ask and when it is over, and that one fresh ticket of a player is judged at a time. Must not know: what
//! makes a ticket good; whoever takes the [`Renewal`]s decides that.
//!
//! The end is a moment of the wall clock (`session_exp`). It becomes one of the node's own clock when the ticket is taken,
//! and from then on a wall clock that jumps neither ends a session nor prolongs one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::link::LinkId;
use super::{Arrival, Hub, JoinFault, Timer, Turn};
use crate::ids::PlayerId;
use crate::ticket::Ticket;
use crate::wire::{Code, Refusal, Renewed, ServerMessage};

/// How long a player may stay by its ticket, and how far its renewal has come.
#[derive(Debug, Default)]
pub struct Stay {
    /// When it is over; `None`: the ticket sets no end.
    ends: Option<Duration>,
    /// When the hub looks at it next: to ask, or to end it.
    timer: Option<Duration>,
    /// A fresh ticket was asked for and has not been taken yet.
    wanted: bool,
    /// The renewal that is being judged.
    judged: Option<u64>,
}

/// A fresh ticket of a player who is here, waiting to be judged.
#[derive(Debug)]
pub struct Renewal {
    /// Who showed it.
    pub player: PlayerId,
    /// The ticket, unread.
    pub ticket: Ticket,
    /// Tells this renewal from one of an earlier stay of the same player.
    number: u64,
}

/// The way of renewals to whoever judges them.
pub(super) struct Renewals {
    sender: mpsc::Sender<Renewal>,
    receiver: Mutex<Option<mpsc::Receiver<Renewal>>>,
}

impl Default for Renewals {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Stay {
    /// When the hub looks at it next.
    pub fn timer(&self) -> Option<Duration> {
        self.timer
    }

    /// Whether the end has come.
    pub fn is_over(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    fn left_ms(&self, now: Duration) -> Option<u32> {
        self.ends.map(|ends| u32::try_from(ends.saturating_sub(now).as_millis()).unwrap_or(u32::MAX))
    }
}

impl Hub {
    /// The fresh tickets that players show. Each is to be answered with [`Self::settle_renewal`]. Until somebody takes
    /// them they wait, [`WAITING`] at most; past that players are told `overloaded`. `None` when they were taken before.
    pub(crate) fn take_renewals(&self) -> Option<mpsc::Receiver<Renewal>> {
        self.0.renewals.receiver.lock().take()
    }

    /// Whether a ticket for `arrival` may take the place of the one that its player is here by. It may change what the
    /// player can do next, not what it is or where it is: who plays goes on playing, in a lobby that both tickets open.
    ///
    /// # Errors
    /// [`JoinFault::Forbidden`] when it may not; [`JoinFault::NotFound`] when the player has gone.
    pub(crate) fn check_renewal(&self, renewal: &Renewal, arrival: &Arrival) -> Result<(), JoinFault> {
        let state = self.0.state.lock();
        let presence = state.players.get(&renewal.player).ok_or(JoinFault::NotFound)?;
        if presence.stay.judged != Some(renewal.number) {
            return Err(JoinFault::NotFound);
        }
        let stays =
            presence.lobby.and_then(|id| state.lobbies.get(&id).map(|entry| entry.is_open_to(&arrival.grants, id)));
        if arrival.player == renewal.player && arrival.role == presence.role && stays != Some(false) {
            Ok(())
        } else {
            Err(JoinFault::Forbidden)
        }
    }

    /// Takes the verdict on a fresh ticket and tells the player. The name stays as it was.
    pub(crate) fn settle_renewal(&self, renewal: &Renewal, verdict: Result<Arrival, (Code, &'static str)>) {
        self.turn(|turn| {
            let player = &renewal.player;
            let Some(presence) = turn.state.players.get_mut(player) else { return };
            if presence.stay.judged.take_if(|number| *number == renewal.number).is_none() {
                return;
            }
            let refusal = match verdict {
                Ok(Arrival { grants, ticket, .. }) => {
                    presence.grants = grants;
                    presence.ticket = ticket;
                    turn.hub.0.metrics.renewals.inc();
                    turn.begin_stay(player);
                    None
                }
                Err((code, reason)) => Some(Refusal { code: code.number(), reason: reason.to_owned() }),
            };
            turn.tell_renewed(player, refusal);
        });
    }

    /// Takes a fresh ticket from a link's player. One that came too fast comes without.
    ///
    /// # Errors
    /// The code to close a link with that is no longer its player's.
    pub(super) fn renew(&self, player: &PlayerId, link: LinkId, ticket: Option<Ticket>) -> Result<(), Code> {
        self.turn(|turn| {
            let Some(presence) = turn.state.players.get(player) else { return Err(Code::Left) };
            if presence.link.as_ref().is_none_or(|current| current.id != link) {
                return Err(Code::Replaced);
            }
            if let Err((code, reason)) = turn.hand_over(player, ticket) {
                turn.hub.0.metrics.refusals.of(code).inc();
                turn.tell_renewed(player, Some(Refusal { code: code.number(), reason: reason.to_owned() }));
            }
            Ok(())
        })
    }
}

impl Turn<'_> {
    /// Gives a fresh ticket to whoever judges it.
    fn hand_over(&mut self, player: &PlayerId, ticket: Option<Ticket>) -> Result<(), (Code, &'static str)> {
        let ticket = ticket.ok_or((Code::TooFast, Code::TooFast.slug()))?;
        let number = self.state.next_renewal;
        let Some(presence) = self.state.players.get_mut(player) else { return Ok(()) };
        if presence.stay.judged.is_some() {
            return Err((Code::TooFast, "renewal-pending"));
        }
        let renewal = Renewal { player: player.clone(), ticket, number };
        self.hub.0.renewals.sender.try_send(renewal).map_err(|_| (Code::Overloaded, Code::Overloaded.slug()))?;
        presence.stay.judged = Some(number);
        self.state.next_renewal += 1;
        Ok(())
    }

    /// Counts the stay anew by the ticket that the player is here by.
    pub(super) fn begin_stay(&mut self, player: &PlayerId) {
        let (now, wall) = (self.now, self.hub.0.clock.unix());
        let Some(presence) = self.state.players.get_mut(player) else { return };
        let left = presence.ticket.session_expires_at.map(|end| Duration::from_secs(end.0.saturating_sub(wall.0)));
        let left = left.filter(|left| *left < FOR_EVER);
        let ends = left.map(|left| now + left);
        // Asking at once would be asking for ever, where a backend's sessions are shorter than the window.
        let timer = ends.zip(left).map(|(ends, left)| ends - self.hub.0.limits.renewal_window.min(left / 2));
        let old = presence.stay.timer;
        presence.stay = Stay { ends, timer, ..Stay::default() };
        self.set_timer(old, timer, Timer::Ticket(player.clone()));
    }

    pub(super) fn handle_ticket_timeout(&mut self, player: &PlayerId) {
        let now = self.now;
        let Some(presence) = self.state.players.get_mut(player) else { return };
        presence.stay.timer = None;
        if presence.stay.is_over(now) {
            return self.end_stay(player);
        }
        presence.stay.wanted = true;
        presence.stay.timer = presence.stay.ends;
        let ends = presence.stay.ends;
        self.set_timer(None, ends, Timer::Ticket(player.clone()));
        self.ask(player);
    }

    /// After a link came up: ends what is over, and repeats what may not have been heard.
    pub(super) fn ask_again(&mut self, player: &PlayerId) {
        if self.state.players.get(player).is_some_and(|presence| presence.stay.is_over(self.now)) {
            self.end_stay(player);
        } else {
            self.ask(player);
        }
    }

    fn ask(&mut self, player: &PlayerId) {
        let Some(presence) = self.state.players.get(player) else { return };
        let Some(within_ms) = presence.stay.left_ms(self.now) else { return };
        // Without a link nobody would hear it; it is said when one is there again.
        if presence.stay.wanted && presence.stay.judged.is_none() && presence.link.is_some() {
            self.send(player, &ServerMessage::TicketWanted { within_ms });
        }
    }

    /// The link goes and nothing resumes it; the seat waits for the grace, for the same player with a fresh ticket.
    fn end_stay(&mut self, player: &PlayerId) {
        let Some(presence) = self.state.players.get_mut(player) else { return };
        if let Some(digest) = presence.resume.take() {
            self.state.resumes.remove(&digest);
        }
        self.cut_for(player, Code::BadTicket, TICKET_EXPIRED);
    }

    fn tell_renewed(&mut self, player: &PlayerId, refusal: Option<Refusal>) {
        let Some(presence) = self.state.players.get(player) else { return };
        let ends_in_ms = presence.stay.left_ms(self.now);
        self.send(player, &ServerMessage::Renewed(Renewed { refusal, ends_in_ms }));
    }
}

/// An end that is further off is none: ten years, which a clock can count.
const FOR_EVER: Duration = Duration::from_secs(315_360_000);
/// Fresh tickets that wait to be judged; more are refused.
const WAITING: usize = 1_024;
/// As admission says it of a ticket that is genuine and too old.
const TICKET_EXPIRED: &str = "ticket-expired";
