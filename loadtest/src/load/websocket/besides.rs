//! What players do besides playing, by schedule or when told: they drop, leave, come with forged tickets.

use std::sync::atomic::Ordering;

use muster::codec;

use super::{Crowd, Forgery, Player, State, write};
use crate::frames::{self, BINARY};
use crate::load::FORGED_FOR_ONE;

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
}
