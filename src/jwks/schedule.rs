//! When a key set is fetched: in the background, and when a ticket names a key that is not in it.
//!
//! Owns: the moments. Pure: time comes in as a value, and a fetch goes out as one. Invariants: at most one fetch is under way;
//! fetches that tickets ask for begin at least the pause apart, so that junk cannot make more of them.

use std::time::Duration;

/// When to fetch next.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    pause: Duration,
    /// When the next fetch of the background is due.
    due: Duration,
    /// When a fetch that was asked for last began.
    asked: Option<Duration>,
    /// A fetch that is promised to somebody: it begins at this moment.
    promised: Option<Duration>,
    /// The fetch under way, by its number.
    running: Option<u64>,
    /// Fetches that have begun.
    begun: u64,
    /// Failures in a row.
    failures: u32,
    /// The one under way may be answered with what is out of date: another follows at once.
    again: bool,
}

/// What somebody with an unknown key is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Wait until the fetch with this number is over: it begins after the question.
    Fetch(u64),
    /// None begins soon enough; what is known is all there is.
    None,
}

impl Schedule {
    /// The first fetch is due at once. Tickets make one begin at most every `pause`.
    pub fn new(interval: Duration, pause: Duration, now: Duration) -> Self {
        let (asked, promised, running) = (None, None, None);
        Self { interval, pause, due: now, asked, promised, running, begun: 0, failures: 0, again: false }
    }

    /// A ticket names a key that is not there; its player waits for `patience` at most.
    pub fn handle_unknown(&mut self, now: Duration, patience: Duration) -> Promise {
        // The fetch under way may have been answered before the key was published: it is the next one that counts.
        // The first of all is different: whoever waits for it has nothing to compare with.
        if self.begun == 1 && self.running.is_some() {
            return Promise::Fetch(1);
        }
        if self.promised.is_none() {
            let earliest = self.asked.map_or(now, |asked| asked + self.pause).max(now);
            if earliest > now + patience {
                return Promise::None;
            }
            self.promised = Some(earliest);
        }
        Promise::Fetch(self.begun + 1)
    }

    /// The operator says that the keys have changed: one fetch begins now, whatever the pause.
    pub fn handle_reload(&mut self, now: Duration) {
        self.due = now;
        self.again = self.running.is_some();
    }

    /// Begins a fetch if one is due.
    pub fn poll_fetch(&mut self, now: Duration) -> Option<u64> {
        let promised = self.promised.is_some_and(|at| at <= now);
        if self.running.is_some() || !(promised || self.due <= now) {
            return None;
        }
        // A fetch of the background serves those who were promised one, too, and costs them nothing of their rate.
        if promised {
            self.asked = Some(now);
        }
        self.promised = None;
        self.begun += 1;
        self.running = Some(self.begun);
        self.running
    }

    /// The fetch under way is over.
    pub fn handle_outcome(&mut self, now: Duration, loaded: bool) {
        self.running = None;
        self.failures = if loaded { 0 } else { self.failures.saturating_add(1) };
        let wait =
            if loaded { self.interval } else { self.interval.min(RETRY * 2_u32.saturating_pow(self.failures - 1)) };
        self.due = if std::mem::take(&mut self.again) { now } else { now + wait };
    }

    /// When [`Self::poll_fetch`] is to be called next; None while a fetch is under way.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.running.is_some() {
            return None;
        }
        Some(self.promised.map_or(self.due, |at| at.min(self.due)))
    }
}

/// After a failure the next try comes after this, doubled each time, and never later than the interval.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One whose first fetch was over at 100 ms.
    fn loaded() -> Schedule {
        let mut schedule = Schedule::new(at(300_000), at(10_000), at(0));
        assert_eq!(schedule.poll_fetch(at(0)), Some(1));
        schedule.handle_outcome(at(100), true);
        schedule
    }

    #[test]
    fn the_background_fetches_at_once_and_then_at_its_interval() {
        let mut schedule = loaded();
        assert_eq!(schedule.next_deadline(), Some(at(300_100)));
        assert_eq!(schedule.poll_fetch(at(300_099)), None);
        assert_eq!(schedule.poll_fetch(at(300_100)), Some(2));
        assert_eq!((schedule.poll_fetch(at(300_100)), schedule.next_deadline()), (None, None), "one at a time");
    }

    #[test]
    fn failures_are_tried_again_later_and_later_and_never_past_the_interval() {
        let mut schedule = loaded();
        let mut now = at(300_100);
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert!(schedule.poll_fetch(now).is_some());
            schedule.handle_outcome(now, false);
            assert_eq!(schedule.next_deadline(), Some(now + Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
        }
        assert!(schedule.poll_fetch(now).is_some());
        schedule.handle_outcome(now, true);
        assert_eq!(schedule.next_deadline(), Some(now + at(300_000)));
    }

    #[test]
    fn unknown_keys_make_one_fetch_and_junk_makes_no_more_of_them() {
        let mut schedule = loaded();
        assert_eq!(schedule.handle_unknown(at(1_000), PATIENCE), Promise::Fetch(2));
        assert_eq!(schedule.handle_unknown(at(1_000), PATIENCE), Promise::Fetch(2), "they wait together");
        assert_eq!(schedule.poll_fetch(at(1_000)), Some(2));
        schedule.handle_outcome(at(1_050), true);
        let mut begun = 0;
        for now in (1_050..61_000).step_by(10) {
            let _ = schedule.handle_unknown(at(now), PATIENCE);
            if schedule.poll_fetch(at(now)).is_some() {
                begun += 1;
                schedule.handle_outcome(at(now), true);
            }
        }
        assert_eq!(begun, 5, "one every ten seconds in a minute of junk");
    }

    #[test]
    fn the_operator_has_it_fetched_at_once_and_after_the_one_under_way() {
        let mut schedule = loaded();
        schedule.handle_reload(at(1_000));
        assert_eq!(schedule.next_deadline(), Some(at(1_000)));
        assert_eq!(schedule.poll_fetch(at(1_000)), Some(2));
        // This one may have been answered before the keys changed.
        schedule.handle_reload(at(1_010));
        schedule.handle_outcome(at(1_050), true);
        assert_eq!(schedule.poll_fetch(at(1_050)), Some(3));
        schedule.handle_outcome(at(1_100), true);
        assert_eq!(schedule.next_deadline(), Some(at(301_100)), "and then as ever");
    }

    #[test]
    fn in_the_pause_it_is_refused_at_once_unless_the_end_is_near_enough_to_wait_for() {
        let mut schedule = loaded();
        assert_eq!(schedule.handle_unknown(at(1_000), PATIENCE), Promise::Fetch(2));
        assert_eq!(schedule.poll_fetch(at(1_000)), Some(2));
        schedule.handle_outcome(at(1_050), true);
        assert_eq!(schedule.handle_unknown(at(8_999), PATIENCE), Promise::None);
        assert_eq!(schedule.handle_unknown(at(9_000), PATIENCE), Promise::Fetch(3));
        assert_eq!(schedule.next_deadline(), Some(at(11_000)));
        assert_eq!(schedule.poll_fetch(at(10_999)), None);
        assert_eq!(schedule.poll_fetch(at(11_000)), Some(3));
    }

    #[test]
    fn a_fetch_that_began_before_the_question_does_not_answer_it() {
        let mut schedule = loaded();
        assert_eq!(schedule.poll_fetch(at(300_100)), Some(2));
        assert_eq!(schedule.handle_unknown(at(300_150), PATIENCE), Promise::Fetch(3));
        schedule.handle_outcome(at(300_200), true);
        assert_eq!(schedule.poll_fetch(at(300_200)), Some(3));
    }

    #[test]
    fn while_nothing_was_ever_loaded_the_first_fetch_is_waited_for() {
        let mut schedule = Schedule::new(at(300_000), at(10_000), at(0));
        assert_eq!(schedule.poll_fetch(at(0)), Some(1));
        assert_eq!(schedule.handle_unknown(at(10), PATIENCE), Promise::Fetch(1));
        schedule.handle_outcome(at(20), false);
        assert_eq!(schedule.next_deadline(), Some(at(1_020)), "nobody was promised another");
    }

    #[test]
    fn a_fetch_of_the_background_serves_those_who_wait_and_keeps_their_rate() {
        let mut schedule = loaded();
        assert_eq!(schedule.handle_unknown(at(295_000), PATIENCE), Promise::Fetch(2));
        assert_eq!(schedule.poll_fetch(at(295_000)), Some(2));
        schedule.handle_outcome(at(295_000), true);
        assert_eq!(schedule.handle_unknown(at(304_000), PATIENCE), Promise::Fetch(3));
        assert_eq!(schedule.next_deadline(), Some(at(305_000)));
    }
}
