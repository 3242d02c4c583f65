//! Showing a fresh ticket on the link one has, when the server asks for it: what is wanted, and what is to be sent.
//!
//! Owns: the state of one renewal. Must not know: where tickets come from, clocks. Its `Debug` shows nothing of a ticket.

use std::fmt;
use std::time::Duration;

use super::backoff::Backoff;

/// How far a renewal has come on this link.
#[derive(Default)]
pub(super) struct Renewal {
    stage: Stage,
    backoff: Backoff,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// The server asked, or has refused what it was shown.
    Wanted,
    /// Somebody is getting a ticket.
    Getting,
    /// It goes out next.
    Ready(String),
    /// The server has it, or will.
    Shown,
}

impl Renewal {
    /// The server asks. What is under way goes on.
    pub(super) fn handle_wanted(&mut self) {
        if matches!(self.stage, Stage::Idle) {
            self.stage = Stage::Wanted;
        }
    }

    /// The server has taken a ticket: no other is needed.
    pub(super) fn handle_taken(&mut self) {
        *self = Self::default();
    }

    /// The server has refused a ticket, or there was none to be had: another one is tried.
    pub(super) fn handle_refused(&mut self) {
        self.stage = Stage::Wanted;
    }

    /// The link is gone: the server asks again over the next one.
    pub(super) fn handle_loss(&mut self) {
        self.stage = Stage::Idle;
    }

    /// A ticket to show.
    pub(super) fn handle_ticket(&mut self, ticket: String) {
        self.stage = Stage::Ready(ticket);
    }

    /// Whether a ticket is to be got now.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.stage, Stage::Wanted)
    }

    /// How long to wait before a ticket is got, when one is to be got now: not at all the first time.
    pub(super) fn poll_want(&mut self, random: u64) -> Option<Duration> {
        if !self.is_wanted() {
            return None;
        }
        self.stage = Stage::Getting;
        let first = self.backoff.attempts() == 0;
        let wait = self.backoff.next_wait(random);
        Some(if first { Duration::ZERO } else { wait })
    }

    /// The ticket that goes out now.
    pub(super) fn poll_ticket(&mut self) -> Option<String> {
        match std::mem::take(&mut self.stage) {
            Stage::Ready(ticket) => {
                self.stage = Stage::Shown;
                Some(ticket)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Idle => "Idle",
            Stage::Wanted => "Wanted",
            Stage::Getting => "Getting",
            Stage::Ready(_) => "Ready([redacted])",
            Stage::Shown => "Shown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_got_once_however_often_the_server_asks_and_later_each_time_it_is_refused() {
        let mut renewal = Renewal::default();
        assert_eq!(renewal.poll_want(u64::MAX), None);
        renewal.handle_wanted();
        assert_eq!(renewal.poll_want(u64::MAX), Some(Duration::ZERO));
        renewal.handle_wanted();
        assert_eq!(renewal.poll_want(u64::MAX), None, "one is being got");
        renewal.handle_ticket("a.b.c".into());
        assert!(!format!("{renewal:?}").contains("a.b.c"));
        assert_eq!(renewal.poll_ticket().as_deref(), Some("a.b.c"));
        renewal.handle_wanted();
        assert_eq!((renewal.poll_ticket(), renewal.poll_want(u64::MAX)), (None, None), "one is shown");
        renewal.handle_refused();
        assert_eq!(renewal.poll_want(u64::MAX), Some(Backoff::FIRST * 2));
        renewal.handle_taken();
        assert_eq!(renewal.poll_want(u64::MAX), None);
    }

    #[test]
    fn over_the_next_link_the_server_asks_again() {
        let mut renewal = Renewal::default();
        renewal.handle_wanted();
        renewal.handle_ticket("a.b.c".into());
        renewal.handle_loss();
        assert_eq!((renewal.poll_ticket(), renewal.poll_want(0)), (None, None));
        renewal.handle_wanted();
        assert!(renewal.poll_want(0).is_some());
    }
}
