//! The times at which one session ticks, on an absolute timeline.
//!
//! Owns: which ticks are due. Must not know: the clock (time comes in as the duration since the node started), what a
//! tick does. The n-th tick is due at `start + n / hz` seconds, computed from `n` and never summed up, so that there
//! is no drift. What is late is caught up with, [`MAX_CATCH_UP`] ticks at a time; what is later than that is skipped
//! and counted, on the same timeline, so that a session never runs hot to make up for a long stall.

use std::time::Duration;

/// The most ticks that are run at once.
pub const MAX_CATCH_UP: u32 = 5;

/// The timeline of one session.
#[derive(Clone, Debug)]
pub struct Schedule {
    hz: u64,
    start: Duration,
    /// The place on the timeline of the next tick, from 0.
    next: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickPlan {
    /// How many ticks to run, 0 to [`MAX_CATCH_UP`].
    pub run: u32,
    /// How many ticks were due and will never be run.
    pub skipped: u64,
    /// How long ago the first tick that has not been run yet was due; zero when none is.
    pub lateness: Duration,
    /// When the last tick of this plan was due.
    pub due: Duration,
}

impl Schedule {
    /// A timeline whose first tick is due at `start`. A rate outside 1 to 128 ticks per second is taken for the
    /// nearest one inside.
    pub fn new(hz: u8, start: Duration) -> Self {
        Self { hz: u64::from(hz.clamp(1, 128)), start, next: 0 }
    }

    /// When the next tick is due.
    pub fn next_due(&self) -> Duration {
        self.due(self.next)
    }

    /// Takes what is due at `now` off the timeline and says what to do about it.
    pub fn advance(&mut self, now: Duration) -> TickPlan {
        let next_due = self.next_due();
        let Some(lateness) = now.checked_sub(next_due) else {
            return TickPlan { run: 0, skipped: 0, lateness: Duration::ZERO, due: next_due };
        };
        let newest = self.newest_due(now).max(self.next);
        let count = newest - self.next + 1;
        let run = count.min(u64::from(MAX_CATCH_UP));
        self.next = newest + 1;
        TickPlan { run: run as u32, skipped: count - run, lateness, due: self.due(newest) }
    }

    fn due(&self, n: u64) -> Duration {
        let (seconds, rest) = (n / self.hz, n % self.hz);
        self.start.saturating_add(Duration::new(seconds, (rest * NANOS / self.hz) as u32))
    }

    /// The largest `n` with `due(n) <= now`, for a `now` that is not before the start.
    fn newest_due(&self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.start);
        // due(n) rounds down, so n is due within the nanosecond in which it falls: compare with the end of that one.
        let within = (u64::from(since.subsec_nanos()) + 1) * self.hz - 1;
        since.as_secs().saturating_mul(self.hz).saturating_add(within / NANOS).min(u64::MAX - 1)
    }
}

/// When the `index`-th session that begins at `now` ticks first: at the next moment of the node's timeline that is its own in
/// every period. Counted from `now` instead, sessions would tick wherever chance had them begin.
pub fn first_tick(now: Duration, index: u64, period: Duration) -> Duration {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let period = nanos(period).max(1);
    let (into, own) = (nanos(now) % period, nanos(phase(index, Duration::from_nanos(period))));
    now + Duration::from_nanos((own + period - into) % period)
}

/// Where in its period the `index`-th session ticks, so that any number of sessions are spread evenly over it: each
/// falls into the largest gap the others left (multiples of the golden ratio).
fn phase(index: u64, period: Duration) -> Duration {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let part = u128::from(index.wrapping_mul(GOLDEN));
    let nanos = (part * (period.as_nanos() & u128::from(u64::MAX))) >> 64;
    Duration::from_nanos(nanos as u64)
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const START: Duration = Duration::from_millis(17);

    #[test]
    fn an_hour_at_60_and_at_128_hz_does_not_drift() {
        for hz in [60, 128, 1, 7] {
            let mut schedule = Schedule::new(hz, START);
            let mut ticks = 0;
            while schedule.next_due() < START + Duration::from_secs(3_600) {
                let due = schedule.next_due();
                let exact = u128::from(ticks) * u128::from(NANOS) / u128::from(hz);
                assert_eq!((due - START).as_nanos(), exact);
                assert_eq!(schedule.advance(due), TickPlan { run: 1, skipped: 0, lateness: Duration::ZERO, due });
                ticks += 1u64;
            }
            assert_eq!(ticks, 3_600 * u64::from(hz));
            assert_eq!(schedule.next_due(), START + Duration::from_secs(3_600));
        }
    }

    #[test]
    fn a_tick_is_not_due_a_nanosecond_early() {
        for n in 0..1_000 {
            let mut schedule = Schedule::new(60, START);
            schedule.next = n;
            let due = schedule.next_due();
            let early = schedule.advance(due.checked_sub(Duration::from_nanos(1)).unwrap());
            assert_eq!((early.run, early.skipped), (0, 0));
            assert_eq!(schedule.advance(due).run, 1);
            assert_eq!(schedule.advance(due).run, 0, "and is run once");
            schedule.next = n.saturating_sub(2);
            assert_eq!(u64::from(schedule.advance(due).run), n.min(2) + 1, "nor a nanosecond late behind others");
        }
    }

    #[test]
    fn a_stall_of_100_ms_is_caught_up_with() {
        let mut schedule = Schedule::new(20, Duration::ZERO);
        assert_eq!(schedule.advance(Duration::ZERO).run, 1);
        let plan = schedule.advance(Duration::from_millis(150));
        assert_eq!((plan.run, plan.skipped), (3, 0));
        assert_eq!(plan.lateness, Duration::from_millis(100));
        assert_eq!(plan.due, Duration::from_millis(150));
        assert_eq!(schedule.next_due(), Duration::from_millis(200));
    }

    #[test]
    fn a_stall_of_10_s_is_skipped_and_counted() {
        let mut schedule = Schedule::new(60, START);
        assert_eq!(schedule.advance(START).run, 1);
        let plan = schedule.advance(START + Duration::from_secs(10));
        assert_eq!((plan.run, plan.skipped), (5, 595));
        assert_eq!(plan.due, START + Duration::from_secs(10));
        assert_eq!(schedule.next_due(), START + Duration::from_secs(10) + Duration::from_nanos(16_666_666));
    }

    #[test]
    fn every_place_on_the_timeline_is_run_or_skipped_once() {
        let mut schedule = Schedule::new(128, START);
        let (mut now, mut seen) = (Duration::ZERO, 0);
        for step in 0..10_000u64 {
            now += Duration::from_nanos(phase(step, Duration::from_millis(60)).as_nanos() as u64);
            let plan = schedule.advance(now);
            seen += u64::from(plan.run) + plan.skipped;
            assert_eq!(schedule.next, seen);
            assert!(schedule.next_due() > now && plan.run <= MAX_CATCH_UP);
        }
    }

    #[test]
    fn time_that_goes_back_and_absurd_times_do_no_harm() {
        let mut schedule = Schedule::new(0, START);
        assert_eq!(schedule.advance(Duration::from_secs(5)).run, 5);
        assert_eq!(schedule.advance(Duration::ZERO).run, 0);
        let plan = schedule.advance(Duration::MAX);
        assert_eq!(plan.run, 5);
    }

    #[test]
    fn sessions_that_begin_at_any_time_share_a_period_evenly() {
        let period = Duration::from_millis(50);
        let mut now = Duration::from_secs(7);
        let mut within: Vec<u128> = (1..=200)
            .map(|index| {
                // They begin in a hurry, and whenever players come.
                now += Duration::from_micros(index * 7_919 % 3_001);
                let first = first_tick(now, index, period);
                assert!(first >= now && first < now + period, "the next one");
                first.as_nanos() % period.as_nanos()
            })
            .collect();
        within.sort_unstable();
        let gaps = within.windows(2).map(|two| two[1] - two[0]);
        let largest = gaps.max().unwrap();
        assert!(largest < 3 * period.as_nanos() / 200, "{largest} ns without a tick");
    }

    #[test]
    fn sessions_are_spread_over_the_period() {
        let period = Duration::from_millis(50);
        let mut phases: Vec<Duration> = (0..100).map(|index| phase(index, period)).collect();
        phases.sort();
        assert!(phases.iter().all(|phase| *phase < period));
        let widest = phases.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(widest < period * 2 / 100, "the widest gap between 100 sessions is {widest:?}");
    }
}
