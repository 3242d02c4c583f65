//! How long to wait before the next attempt: full jitter, so that players who were lost together do not return together.
//!
//! Owns: the growth of the wait. Must not know: clocks, sockets; randomness comes in as a value.

use std::time::Duration;

/// Waits between attempts: a random share of a bound that doubles from [`Backoff::FIRST`] to [`Backoff::LONGEST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The bound of the first wait.
    pub const FIRST: Duration = Duration::from_millis(250);
    /// The bound that no wait exceeds.
    pub const LONGEST: Duration = Duration::from_secs(30);

    /// How many waits were asked for since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next wait: `random`, taken as a fraction of its range, of the current bound.
    pub fn next_wait(&mut self, random: u64) -> Duration {
        let bound = Self::FIRST.saturating_mul(1_u32.checked_shl(self.attempts.min(16)).unwrap_or(u32::MAX));
        self.attempts = self.attempts.saturating_add(1);
        bound.min(Self::LONGEST).mul_f64(random as f64 / u64::MAX as f64)
    }

    /// Starts over: the link is up again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_from_a_quarter_second_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let longest: Vec<_> = (0..10).map(|_| backoff.next_wait(u64::MAX).as_millis()).collect();
        assert_eq!(longest, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff.attempts(), 10);
        backoff.reset();
        assert_eq!(backoff.next_wait(u64::MAX), Backoff::FIRST);
    }

    #[test]
    fn a_wait_is_any_share_of_its_bound() {
        assert_eq!(Backoff::default().next_wait(0), Duration::ZERO);
        let half = Backoff::default().next_wait(u64::MAX / 2);
        assert!((124..=126).contains(&half.as_millis()), "{half:?}");
        let mut endless = Backoff { attempts: u32::MAX };
        assert_eq!(endless.next_wait(u64::MAX), Backoff::LONGEST);
    }
}
