//! Taking tickets back while their players play: one open link after the other, by schedule, through the admin API.
//!
//! Each request has a thread of its own, so that a slow answer holds up none that is due, and counts from the moment
//! before its first byte is written.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Seen, record};
use crate::clock::now_us;
use crate::http;
use crate::tickets::ticket_id;

/// Who takes tickets back.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Admin {
    /// Where the admin API listens.
    pub address: SocketAddr,
    /// What it is asked with.
    pub token: String,
}

/// When tickets are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Pace {
    /// From one to the next, in microseconds.
    pub every_us: u64,
    /// For how long after the window was opened. It ends before the window does, so that everybody can be told in time.
    pub for_us: u64,
}

/// When a revocation was asked for, as the thread notes that asks.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicU64>);

impl Sent {
    /// How long ago that was; `None` before it was sent.
    pub fn since(&self, now: u64) -> Option<u64> {
        let sent = self.0.load(Ordering::Acquire);
        (sent > 0).then(|| now.saturating_sub(sent))
    }
}

/// How a player stands that is not to stay.
#[derive(Clone, Debug)]
pub enum Revoked {
    /// Its ticket is being taken back.
    Asked(Sent),
    /// It was told, and tries the ticket once more.
    Retrying,
}

/// Takes tickets back on schedule.
pub struct Revoker {
    admin: Admin,
    every: u64,
    next_at: u64,
    until: u64,
    asked: u64,
    answered: Sender<Result<u64, String>>,
    answers: Receiver<Result<u64, String>>,
}

impl Revoker {
    /// Begins now.
    pub fn new(admin: &Admin, pace: Pace, first: u64, now: u64) -> Self {
        let (answered, answers) = channel();
        let every = pace.every_us.max(1);
        // Processes that begin together do not ask together.
        let next_at = now + mix(first) % every;
        Self { admin: admin.clone(), every, next_at, until: now + pace.for_us, asked: 0, answered, answers }
    }

    /// When the next is due.
    pub fn next_at(&self) -> u64 {
        if self.next_at < self.until { self.next_at } else { u64::MAX }
    }

    /// Whether one is due; then the next is so only after a while. Says where to begin to look for a player, so that a run
    /// can be repeated.
    pub fn poll_due(&mut self, now: u64, players: usize) -> Option<usize> {
        if self.next_at() > now {
            return None;
        }
        self.next_at += self.every;
        self.asked += 1;
        Some((mix(self.asked) % (players as u64).max(1)) as usize)
    }

    /// Takes a player's ticket back: by turns this one, and all that the player has.
    pub fn ask(&self, player: &str, ticket: &str) -> Sent {
        let by_ticket = self.asked.is_multiple_of(2);
        let body = match ticket_id(ticket).filter(|_| by_ticket) {
            Some(jti) => json!({ "jti": jti }),
            None => json!({ "player": player }),
        };
        let sent = Sent::default();
        let (admin, answered, noted) = (self.admin.clone(), self.answered.clone(), sent.clone());
        let thread = std::thread::Builder::new().spawn(move || {
            let note = || noted.0.store(now_us(), Ordering::Release);
            let answer = http::post(admin.address, "/v1/revocations", &admin.token, &body.to_string(), note);
            // Nobody reads it any more once the window is closed.
            let _ = answered.send(judge(answer).map(|()| noted.since(now_us()).unwrap_or_default()));
        });
        if let Err(error) = thread {
            let _ = self.answered.send(Err(format!("no thread: {error}")));
        }
        sent
    }

    /// What the API has answered so far.
    pub fn take_answers(&self, seen: &mut Seen) {
        for answer in self.answers.try_iter() {
            match answer {
                Ok(micros) => record(&mut seen.revoke_answer, micros),
                Err(why) => seen.fail(format!("revocation: {why}")),
            }
        }
    }
}

impl Seen {
    /// Notes that a player was told that its ticket was taken back.
    pub fn told_revoked(&mut self, sent: &Sent, now: u64) {
        match sent.since(now) {
            Some(micros) => record(&mut self.revoked, micros),
            None => self.fail("revoked before it was asked for"),
        }
    }

    /// Notes that a player was not told by the end of the window: it waited at least until then.
    pub fn never_told_revoked(&mut self, sent: &Sent, now: u64) {
        if let Some(micros) = sent.since(now) {
            self.untold += 1;
            record(&mut self.revoked, micros);
        }
    }
}

/// An answer that says that exactly this player went.
fn judge(answer: Option<(u16, String)>) -> Result<(), String> {
    let (status, body) = answer.ok_or("no answer")?;
    if status != 200 {
        return Err(format!("status {status}"));
    }
    let body: serde_json::Value = serde_json::from_str(&body).map_err(|_| "an answer that is no JSON")?;
    match body.get("sent_away").and_then(serde_json::Value::as_u64) {
        Some(1) => Ok(()),
        other => Err(format!("sent away {other:?} players")),
    }
}

/// Neighbouring numbers end up far apart.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn revocations_are_due_by_schedule_and_end_in_time() {
        let admin = Admin { address: "127.0.0.1:1".parse().unwrap(), token: "t".into() };
        let mut revoker = Revoker::new(&admin, Pace { every_us: 50, for_us: 1_000 }, 0, 10_000);
        let mut places: Vec<usize> = Vec::new();
        for now in 10_000..13_000 {
            places.extend(std::iter::from_fn(|| revoker.poll_due(now, 2_000)));
        }
        assert!((19..=21).contains(&places.len()), "{places:?}");
        assert_eq!(revoker.next_at(), u64::MAX);
        places.sort();
        places.dedup();
        assert!(places.len() > 15 && places.iter().all(|place| *place < 2_000), "{places:?}");
    }

    #[test]
    fn an_answer_counts_when_one_player_went() {
        let of = |status: u16, body: &str| judge(Some((status, body.into())));
        assert_eq!(of(200, r#"{"sent_away":1,"kept":"disk"}"#), Ok(()));
        assert!(of(200, r#"{"sent_away":0}"#).unwrap_err().contains("Some(0)"));
        assert_eq!(of(507, "{}").unwrap_err(), "status 507");
        assert_eq!(judge(None).unwrap_err(), "no answer");
    }

    #[test]
    fn a_time_counts_from_when_the_request_was_sent() {
        let sent = Sent::default();
        let mut seen = Seen::default();
        seen.never_told_revoked(&sent, 5_000);
        assert_eq!((sent.since(5_000), seen.untold), (None, 0));
        sent.0.store(1_000, Ordering::Release);
        seen.told_revoked(&sent, 4_000);
        seen.never_told_revoked(&sent, 9_000);
        assert_eq!((seen.revoked.len(), seen.revoked.min(), seen.untold), (2, 3_000, 1));
    }
}
