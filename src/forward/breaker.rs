//! When a backend that fails is left alone, and when it is tried again.
//!
//! Owns: the count of failures in a row. Pure: time comes in as a value. Invariant: while it is open nobody passes, and then
//! one at a time until one has succeeded.

use std::time::Duration;

/// A circuit breaker: closed lets all pass, open none, half open one.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Failures since the last success.
    failures: u32,
    /// Closed again from this moment, for a probe first.
    open_until: Option<Duration>,
    probing: bool,
}

/// A request that was let through; the breaker is told what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// One of many.
    Free,
    /// The one that finds out whether the backend is well again.
    Probe,
}

impl Breaker {
    /// Failures in a row that open it.
    pub const FAILURES: u32 = 5;
    /// How long nobody passes then.
    pub const OPEN: Duration = Duration::from_secs(5);

    /// Lets a request through, or says when to come back.
    ///
    /// # Errors
    /// The time until it may be tried again.
    pub fn handle_request(&mut self, now: Duration) -> Result<Passage, Duration> {
        match self.open_until {
            None => Ok(Passage::Free),
            Some(until) if now < until => Err(until - now),
            Some(_) if self.probing => Err(PROBE_WAIT),
            Some(_) => {
                self.probing = true;
                Ok(Passage::Probe)
            }
        }
    }

    /// The backend answered, whatever it said.
    pub fn handle_success(&mut self, passage: Passage) {
        // What was sent before it opened and comes back late says nothing of now.
        if passage == Passage::Probe || self.open_until.is_none() {
            *self = Self::default();
        }
    }

    /// The backend did not answer, or not as it must. True when this opens the breaker.
    pub fn handle_failure(&mut self, passage: Passage, now: Duration) -> bool {
        if passage == Passage::Free && self.open_until.is_some() {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let opens = passage == Passage::Probe || self.failures >= Self::FAILURES;
        if opens {
            self.open_until = Some(now + Self::OPEN);
            self.probing = false;
        }
        opens
    }

    /// Whoever asked went away before there was an answer: another may probe.
    pub fn handle_abandoned(&mut self, passage: Passage) {
        if passage == Passage::Probe {
            self.probing = false;
        }
    }

    /// Whether requests are held back.
    pub fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

/// When to come back while somebody else probes.
const PROBE_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for failure in 1..=Breaker::FAILURES {
            assert_eq!(breaker.handle_request(at(0)), Ok(Passage::Free));
            assert_eq!(breaker.handle_failure(Passage::Free, at(0)), failure == Breaker::FAILURES);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_does_not_let_them_add_up() {
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            for _ in 1..Breaker::FAILURES {
                assert!(!breaker.handle_failure(Passage::Free, at(0)));
            }
            breaker.handle_success(Passage::Free);
        }
        assert!(!breaker.is_open());
        assert_eq!(opened().handle_request(at(1_000)), Err(at(4_000)));
    }

    #[test]
    fn after_its_time_one_probes_and_closes_or_opens_it_again() {
        let mut breaker = opened();
        assert_eq!(breaker.handle_request(at(4_999)), Err(at(1)));
        assert_eq!(breaker.handle_request(at(5_000)), Ok(Passage::Probe));
        assert_eq!(breaker.handle_request(at(5_000)), Err(PROBE_WAIT), "one at a time");
        assert!(breaker.handle_failure(Passage::Probe, at(7_000)));
        assert_eq!(breaker.handle_request(at(11_999)), Err(at(1)));
        assert_eq!(breaker.handle_request(at(12_000)), Ok(Passage::Probe));
        breaker.handle_success(Passage::Probe);
        assert_eq!((breaker.is_open(), breaker.handle_request(at(12_000))), (false, Ok(Passage::Free)));
        assert!(!breaker.handle_failure(Passage::Free, at(12_000)), "the count begins anew");
    }

    #[test]
    fn a_probe_that_went_away_makes_room_for_another() {
        let mut breaker = opened();
        assert_eq!(breaker.handle_request(at(5_000)), Ok(Passage::Probe));
        breaker.handle_abandoned(Passage::Probe);
        assert_eq!(breaker.handle_request(at(5_001)), Ok(Passage::Probe));
    }

    #[test]
    fn answers_that_come_late_neither_close_it_nor_hold_it_open() {
        let mut breaker = opened();
        breaker.handle_success(Passage::Free);
        assert!(breaker.is_open());
        assert!(!breaker.handle_failure(Passage::Free, at(4_000)));
        assert_eq!(breaker.handle_request(at(5_000)), Ok(Passage::Probe));
    }
}
