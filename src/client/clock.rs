//! The server's clock as seen from here: round trip and offset, from Pings and Pongs.
//!
//! Owns: the filter. The offset is taken from the quickest of the last [`WINDOW`] exchanges, since the quickest waited
//! least in queues on the way and is off by half its own asymmetry at most. Must not know: sockets; time comes in.

use std::collections::VecDeque;
use std::time::Duration;

/// Round trip and clock offset of one link.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Round trip and offset in microseconds, oldest first; at most [`WINDOW`].
    samples: VecDeque<(Duration, i64)>,
    smoothed: Option<Duration>,
    offset_us: Option<i64>,
}

impl Clock {
    /// Takes one exchange: when the Ping went, when its Pong came, and the server's time in it.
    pub fn handle_pong(&mut self, sent: Duration, now: Duration, server_time_us: u64) {
        let round_trip = now.saturating_sub(sent);
        let midway = micros(sent).saturating_add(micros(round_trip) / 2);
        let offset = i64::try_from(server_time_us).unwrap_or(i64::MAX).saturating_sub(midway);
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back((round_trip, offset));
        self.offset_us = self.samples.iter().min_by_key(|(round_trip, _)| *round_trip).map(|(_, offset)| *offset);
        self.smoothed = Some(match self.smoothed {
            None => round_trip,
            Some(smoothed) => (smoothed * 7 + round_trip) / 8,
        });
    }

    /// Takes the time that a Welcome tells, as a first guess until a Pong comes: it is late by the way here.
    pub fn handle_welcome(&mut self, now: Duration, server_time_us: u64) {
        *self = Self::default();
        self.offset_us = Some(i64::try_from(server_time_us).unwrap_or(i64::MAX).saturating_sub(micros(now)));
    }

    /// The smoothed round trip (each new one counts an eighth); `None` before the first Pong.
    pub fn round_trip(&self) -> Option<Duration> {
        self.smoothed
    }

    /// What to add to the client's time to get the server's, in microseconds; `None` before the first Welcome.
    pub fn offset_us(&self) -> Option<i64> {
        self.offset_us
    }

    /// How old something is that the server dated `server_time_us`; zero when it seems to come from the future.
    pub fn age(&self, server_time_us: u64, now: Duration) -> Duration {
        let server_now = micros(now).saturating_add(self.offset_us.unwrap_or(0));
        let age = server_now.saturating_sub(i64::try_from(server_time_us).unwrap_or(i64::MAX));
        Duration::from_micros(u64::try_from(age).unwrap_or(0))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Exchanges that are remembered.
const WINDOW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_offset_comes_from_the_quickest_exchange() {
        let mut clock = Clock::default();
        // The server is 1,000 s ahead. The first Pong was held up for 80 ms on its way back, the second was not.
        clock.handle_pong(MS(0), MS(100), 1_000_010_000);
        assert_eq!(clock.offset_us(), Some(999_960_000));
        clock.handle_pong(MS(200), MS(220), 1_000_210_000);
        assert_eq!(clock.offset_us(), Some(1_000_000_000));
        clock.handle_pong(MS(300), MS(400), 1_000_310_000);
        assert_eq!(clock.offset_us(), Some(1_000_000_000), "a slower one changes nothing");
        assert_eq!(clock.age(1_000_400_000, MS(430)), MS(30));
    }

    #[test]
    fn a_quick_exchange_is_forgotten_in_the_end() {
        let mut clock = Clock::default();
        clock.handle_pong(MS(0), MS(1), 500);
        for _ in 0..WINDOW {
            clock.handle_pong(MS(0), MS(10), 7_005_000);
        }
        assert_eq!(clock.offset_us(), Some(7_000_000));
    }

    #[test]
    fn the_round_trip_is_smoothed_and_nothing_overflows() {
        let mut clock = Clock::default();
        assert_eq!(clock.round_trip(), None);
        clock.handle_pong(MS(0), MS(80), 0);
        clock.handle_pong(MS(0), MS(160), 0);
        assert_eq!(clock.round_trip(), Some(MS(90)));
        clock.handle_pong(Duration::MAX, Duration::ZERO, u64::MAX);
        assert_eq!(clock.age(u64::MAX, Duration::ZERO), Duration::ZERO);
        let _ = clock.age(0, Duration::MAX);
    }
}
