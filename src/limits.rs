//! Every hard bound: its default, its unit, and what happens at it. And the token bucket that rates are held with.
//!
//! Owns: numbers. Must not know: who is held to them.

use std::time::Duration;

use serde::Deserialize;

/// The bounds of one node. Every field can be set in the configuration under `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Links at the same time. Over it: HTTP 503, `overloaded` (1013).
    pub links: usize,
    /// Links that have not shown a ticket yet, in all; never more than a quarter of the files that the process may have
    /// open. Over it: HTTP 503, `overloaded` (1013).
    pub pending_links: usize,
    /// Links that have not shown a ticket yet, per address (IPv6: per /64). Over it: HTTP 429, `too-fast` (4429).
    pub pending_per_address: usize,
    /// New links per second and address; a burst of twice this passes. Over it: HTTP 429, `too-fast` (4429).
    pub connects_per_second: u32,
    /// Lobbies at the same time. Over it: `overloaded` (1013).
    pub lobbies: usize,
    /// Members of one lobby, whatever it was created with.
    pub lobby_capacity: u16,
    /// Bytes of one message of a client. Over it: Goodbye `message-too-big` (4413), or `frame-too-big` (1009).
    pub message_bytes: usize,
    /// Fragments of one WebSocket message. Over it: close `frame-too-big` (1009).
    pub fragments: usize,
    /// Bytes of a ticket, checked before it is decoded. Over it: `bad-ticket` (4401).
    pub ticket_bytes: usize,
    /// Bytes of a game's settings in a lobby. Over it: the request is refused.
    pub settings_bytes: usize,
    /// Control messages per second and link; a burst of four times this passes. Over it: the message is dropped and
    /// answered; over it for `flood_grace`: Goodbye `too-fast` (4429).
    pub messages_per_second: u32,
    /// How long a link may be over its rate before it is closed.
    #[serde(with = "crate::limits::seconds")]
    pub flood_grace: Duration,
    /// Input messages taken per tick of the session; what a second allows may come at once, as after a stall. Over it: the
    /// message is dropped; over it for `flood_grace`: Goodbye `too-fast` (4429).
    pub inputs_per_tick: u32,
    /// Bytes of reliable messages that wait for one link. Over it: the link is closed `slow-reader` (4008); the seat stays.
    pub queue_bytes: usize,
    /// Bytes of reliable messages kept for a resume. Over it: the resume is a fresh start.
    pub resume_bytes: usize,
    /// Time for a TLS or QUIC handshake, for the first byte of a request, and for its headers, for each of these.
    #[serde(with = "crate::limits::seconds")]
    pub handshake: Duration,
    /// Time for the first message of a link whose request carried no ticket. Over it: Goodbye `ticket-timeout` (4408).
    #[serde(with = "crate::limits::seconds")]
    pub first_message: Duration,
    /// A link that says nothing at all for this long is closed `heartbeat-lost` (4009); the seat stays.
    #[serde(with = "crate::limits::seconds")]
    pub heartbeat: Duration,
    /// How long a place waits for a lost link.
    #[serde(with = "crate::limits::seconds")]
    pub grace: Duration,
    /// How long before the end that its ticket sets (`session_exp`) a player is asked for a fresh one; half of the time
    /// that is left, where that is less. At the end without one: Goodbye `ticket-expired` (4401); the seat waits `grace`.
    #[serde(with = "crate::limits::seconds")]
    pub renewal_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: 60_000,
            pending_links: 4_096,
            pending_per_address: 20,
            connects_per_second: 50,
            lobbies: 20_000,
            lobby_capacity: 1_000,
            message_bytes: 4_096,
            fragments: 16,
            ticket_bytes: 2_048,
            settings_bytes: 1_024,
            messages_per_second: 10,
            flood_grace: Duration::from_secs(3),
            inputs_per_tick: 2,
            queue_bytes: 256 * 1_024,
            resume_bytes: 32 * 1_024,
            handshake: Duration::from_secs(5),
            first_message: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
            grace: Duration::from_secs(15),
            renewal_window: Duration::from_secs(60),
        }
    }
}

/// Durations in a configuration are seconds, whole or with a fraction.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    /// Reads a number of seconds.
    ///
    /// # Errors
    /// When it is negative, not finite, or over a day.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        if (0.0..=86_400.0).contains(&seconds) {
            Ok(Duration::from_secs_f64(seconds))
        } else {
            Err(D::Error::custom("expected seconds between 0 and 86400"))
        }
    }
}

/// Lets through `rate` per second, and at most `burst` at once. Time comes in as a value and never goes back.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Thousandths of a token.
    level: u64,
    /// Milliseconds on the caller's clock.
    at: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(burst: u32, now: Duration) -> Self {
        Self { level: u64::from(burst) * 1_000, at: now.as_millis() as u64 }
    }

    /// Takes one token if there is one. `now` is the time since any fixed moment.
    pub fn take(&mut self, rate: u32, burst: u32, now: Duration) -> bool {
        let now = now.as_millis() as u64;
        let gained = now.saturating_sub(self.at).saturating_mul(u64::from(rate));
        self.level = self.level.saturating_add(gained).min(u64::from(burst) * 1_000);
        self.at = self.at.max(now);
        let enough = self.level >= 1_000;
        if enough {
            self.level -= 1_000;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_passes_its_burst_and_then_its_rate() {
        let at = Duration::from_millis;
        let mut bucket = TokenBucket::full(5, at(0));
        assert_eq!((0..10).filter(|_| bucket.take(10, 5, at(0))).count(), 5);
        assert_eq!((1..=1_000).filter(|ms| bucket.take(10, 5, at(*ms))).count(), 10);
        assert!(!bucket.take(10, 5, at(0)), "time that goes back gains nothing");
    }
}
