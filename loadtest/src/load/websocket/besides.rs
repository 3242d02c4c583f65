//! What players do besides playing, by schedule or when told: they drop, leave, come with forged tickets.

use std::sync::atomic::Ordering;

use muster::codec;

use super::{Crowd, Forgery, Player, State, write};
use crate::frames::{self, BINARY};
use crate::load::FORGED_FOR_ONE;
use crate::load::revoke::Revoked;

impl Crowd<'_> {
    /// The storm: every link is gone, and every player on its way back at once.
    pub(super) fn drop_all(&mut self, now: u64) {
        for index in 0..self.players.len() {
            let Some(player) = self.players.get_mut(index).filter(|player| player.state == State::Seated) else {
                continue;
            };
            if let Some(socket) = &player.socket {
                // A reset, as when a network fails; an orderly end would be another thing.
                let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
            }
            player.hang_up();
            player.state = State::Away;
            player.resuming = player.resume.is_some();
            player.lost_at = now;
            self.shared.seated.fetch_sub(1, Ordering::Relaxed);
            self.stop_counting(index, now);
        }
        for index in 0..self.players.len() {
            if self.players.get(index).is_some_and(|player| player.state == State::Away && player.lost_at == now) {
                self.set_out(index, now);
            }
        }
    }

    /// Whoever has stayed long enough leaves for good, and somebody new comes in its place.
    pub(super) fn follow_churn(&mut self, now: u64) {
        if !self.tally.is_open() {
            return;
        }
        for index in 0..self.players.len() {
            let Some(player) = self.players.get_mut(index) else { return };
            if player.state != State::Seated || player.leave_at > now {
                continue;
            }
            self.frame.clear();
            let bye = codec::encode(&muster::wire::ClientMessage::Bye);
            frames::put_masked(BINARY, &bye, [1, 2, 3, 4], &mut self.frame);
            // A link that is lost in this moment is left all the same.
            let _ = write(player, &self.frame);
            self.stop_counting(index, now);
            self.shared.seated.fetch_sub(1, Ordering::Relaxed);
            self.tally.seen.turnover += 1;
            let number = self.next_new;
            self.next_new += self.plan.stride;
            if let Some(place) = self.players.get_mut(index) {
                *place = Player::new(number);
            }
            self.set_out(index, now);
        }
    }

    /// One forged ticket after the other, ten for each honest player who comes.
    pub(super) fn follow_forgery(&mut self, now: u64, stay: u64) {
        if !self.tally.is_open() || !self.shared.flood.load(Ordering::Relaxed) {
            return;
        }
        let interval = stay / (FORGED_FOR_ONE * self.plan.players as u64).max(1);
        let mut forgery = self.forged.take().unwrap_or(Forgery { next_at: now, sent: 0 });
        while forgery.next_at <= now {
            let place = self.players.iter().skip(self.plan.players).position(|player| player.state == State::Over);
            let index = match place {
                Some(place) => self.plan.players + place,
                None => {
                    self.players.push(Player::new(0));
                    self.players.len() - 1
                }
            };
            if let Some(player) = self.players.get_mut(index) {
                *player = Player { forged: true, ..Player::new(self.next_new + forgery.sent) };
            }
            self.set_out(index, now);
            forgery.sent += 1;
            forgery.next_at += interval.max(1);
        }
        self.forged = Some(forgery);
    }

    /// One ticket after the other is taken back, of whoever plays.
    pub(super) fn follow_revocations(&mut self, now: u64) {
        while let Some(from) = self.revoker.as_mut().and_then(|revoker| revoker.poll_due(now, self.plan.players)) {
            let plays = |index: &usize| {
                self.players.get(*index).is_some_and(|one| one.state == State::Seated && one.revoked.is_none())
            };
            let Some(index) = (0..self.players.len()).map(|step| (from + step) % self.players.len()).find(plays) else {
                continue;
            };
            // Snapshots are due for the others only.
            self.stop_counting(index, now);
            if let (Some(revoker), Some(player)) = (&self.revoker, self.players.get_mut(index)) {
                let sent = revoker.ask(&self.plan.mint.player(player.number), &player.ticket);
                player.revoked = Some(Revoked::Asked(sent));
            }
        }
    }

    /// A link has ended whose ticket was taken back, or the try to come back with it. Returns whether that was how it
    /// should end.
    pub(super) fn handle_revoked(&mut self, index: usize, why: &str, now: u64) -> bool {
        let Some(player) = self.players.get_mut(index) else { return false };
        match player.revoked.take() {
            Some(Revoked::Asked(sent)) if why.starts_with("revoked") => {
                player.revoked = Some(Revoked::Retrying);
                self.shared.seated.fetch_sub(1, Ordering::Relaxed);
                // Once the window is closed it has been counted among those who were not told.
                if self.tally.is_open() {
                    self.tally.seen.told_revoked(&sent, now);
                }
            }
            Some(Revoked::Retrying) if why.starts_with("bad-ticket") => {
                self.tally.seen.revoked_refused += 1;
                let number = self.next_new;
                self.next_new += self.plan.stride;
                *player = Player::new(number);
            }
            _ => return false,
        }
        self.set_out(index, now);
        true
    }

    /// The window is closed.
    pub(super) fn end_revocations(&mut self, now: u64) {
        let Some(revoker) = self.revoker.take() else { return };
        revoker.take_answers(&mut self.tally.seen);
        for player in &self.players {
            if let Some(Revoked::Asked(sent)) = &player.revoked {
                self.tally.seen.never_told_revoked(sent, now);
            }
        }
    }
}
