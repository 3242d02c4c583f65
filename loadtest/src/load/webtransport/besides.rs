//! What players do besides playing, by schedule or when told: they leave, come with forged tickets, have theirs taken back.

use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use muster::wire::ServerMessage;
use tokio::time::sleep;

use super::{Crowd, End, Player};
use crate::load::revoke::{Revoker, Sent};
use crate::load::{Behaviour, FORGED_FOR_ONE, rest_us, stay_us};

/// Comes with one forged ticket after the other, ten for each honest player who comes, once the flood has begun.
pub(super) async fn forge(crowd: Rc<Crowd>, stay: u64) {
    let each = Duration::from_micros(stay / (FORGED_FOR_ONE * crowd.plan.players as u64).max(1));
    let mut beat = tokio::time::interval(each.max(Duration::from_micros(1)));
    loop {
        beat.tick().await;
        if !crowd.tally.borrow().is_open() || !crowd.shared.flood.load(Ordering::Relaxed) {
            continue;
        }
        let crowd = Rc::clone(&crowd);
        tokio::task::spawn_local(async move {
            let number = crowd.next_number();
            let hello = crowd.hello(crowd.plan.mint.forged(number), None);
            let outcome = crowd.ask(number as usize, &hello).await;
            let mut tally = crowd.tally.borrow_mut();
            match outcome {
                Ok((_, _, ServerMessage::Goodbye(goodbye))) if goodbye.reason == "bad-ticket" => {
                    tally.seen.forged_refused += 1;
                }
                Ok((_, _, ServerMessage::Welcome(_))) => tally.seen.forged_accepted += 1,
                Ok(_) => tally.seen.fail("forged: another answer"),
                Err(End::Failed(why)) => tally.seen.fail(format!("forged: {why}")),
                Err(End::Storm | End::Left | End::Revoked) => {}
            }
        });
    }
}

impl Crowd {
    /// Returns when a player is to leave for good: never, but for churn.
    pub(super) async fn time_to_leave(&self, number: u64) {
        let (Behaviour::Churn(about) | Behaviour::Forged(about)) = self.plan.behaviour else { return pending().await };
        let stay = match self.tally.borrow().is_open() {
            true => stay_us(about, number),
            false => rest_us(about, number),
        };
        // The sender lives as long as the crowd.
        let _ = self.opened.subscribe().wait_for(|opened| *opened).await;
        sleep(Duration::from_micros(stay)).await;
    }

    /// A new ticket, or the one that was taken back.
    pub(super) fn ticket(&self, player: &Player, index: usize) -> String {
        if !matches!(self.plan.behaviour, Behaviour::Revoke(_)) {
            return self.plan.mint.ticket(player.number);
        }
        let mut tickets = self.tickets.borrow_mut();
        let Some(kept) = tickets.get_mut(index) else { return String::new() };
        if !player.retries {
            *kept = (player.number, self.plan.mint.ticket(player.number));
        }
        kept.1.clone()
    }

    /// When a player's ticket began to be taken back.
    pub(super) fn was_revoked(&self, index: usize) -> Option<Sent> {
        self.places.borrow().get(index)?.as_ref()?.revoked.clone()
    }

    /// One ticket after the other is taken back, of whoever plays.
    pub(super) fn follow_revocations(&self, revoker: &mut Revoker, now: u64) {
        let (mut places, tickets) = (self.places.borrow_mut(), self.tickets.borrow());
        while let Some(from) = revoker.poll_due(now, places.len()) {
            let count = places.len();
            let plays = |index: &usize| matches!(places.get(*index), Some(Some(place)) if place.revoked.is_none());
            let Some(index) = (0..count).map(|step| (from + step) % count).find(plays) else { continue };
            if let (Some(Some(place)), Some((number, ticket))) = (places.get_mut(index), tickets.get(index)) {
                // Snapshots are due for the others only.
                self.tally.borrow_mut().stop(&mut place.watch, now);
                place.revoked = Some(revoker.ask(&self.plan.mint.player(*number), ticket));
            }
        }
    }

    /// The window is closed.
    pub(super) fn end_revocations(&self, revoker: &Revoker, now: u64) {
        let mut tally = self.tally.borrow_mut();
        revoker.take_answers(&mut tally.seen);
        for sent in self.places.borrow().iter().flatten().filter_map(|place| place.revoked.as_ref()) {
            tally.seen.never_told_revoked(sent, now);
        }
    }

    /// Who takes tickets back from now on, where that is the scenario.
    pub(super) fn revoker(&self, now: u64) -> Option<Revoker> {
        let (Behaviour::Revoke(pace), Some(admin)) = (self.plan.behaviour, &self.plan.admin) else { return None };
        Some(Revoker::new(admin, pace, self.plan.first, now))
    }
}
