//! Whether links are looked at when one of them speaks, or once a millisecond.
//!
//! Owns: the count of events, and the two rates between which it decides. Must not know: sockets, clocks. Pure.
//!
//! To be woken for a single message costs more than to read it. Where many links play, something comes every few
//! microseconds; whoever looks once a millisecond finds many at a time, and is woken for none of them. Nobody waits longer
//! for it than a tick's own timer is exact, and a tick takes what came before it either way. As network drivers do it
//! (interrupt moderation; Linux's NAPI).

use std::time::{Duration, Instant};

/// Decides how often links are looked at.
#[derive(Debug, Default)]
pub(in crate::transport) struct Pace {
    timed: bool,
    since: Option<Instant>,
    events: usize,
}

impl Pace {
    /// Whether to look after [`ROUND`], rather than at the next event.
    pub(in crate::transport) fn is_timed(&self) -> bool {
        self.timed
    }

    /// So many links were ready just now.
    pub(in crate::transport) fn note(&mut self, events: usize, now: Instant) {
        self.events += events;
        let since = *self.since.get_or_insert(now);
        let span = now.saturating_duration_since(since);
        if span < WINDOW {
            return;
        }
        let a_second = self.events as f64 / span.as_secs_f64();
        self.timed = a_second >= if self.timed { SLOW } else { FAST };
        (self.since, self.events) = (Some(now), 0);
    }
}

/// The wait between two looks. tokio's timers, and `epoll_wait` under them, know whole milliseconds: a shorter wait ends at
/// the next of them, which is where ticks begin too.
pub(in crate::transport) const ROUND: Duration = Duration::from_micros(1);
/// Decided once in so long.
const WINDOW: Duration = Duration::from_millis(20);
/// Events a second above which links are looked at by the clock: those of 250 who play at 20 Hz.
const FAST: f64 = 5_000.0;
/// And below which they are looked at when they speak.
const SLOW: f64 = 2_500.0;

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    /// Notes `events` every `every` for a tenth of a second.
    fn run(pace: &mut Pace, now: &mut Instant, every: Duration, events: usize) {
        let end = *now + Duration::from_millis(100);
        while *now < end {
            *now += every;
            pace.note(events, *now);
        }
    }

    #[test]
    fn many_who_speak_are_looked_at_by_the_clock_until_few_do() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        run(&mut pace, &mut now, Duration::from_millis(1), 4);
        assert!(!pace.is_timed(), "4,000 a second");
        run(&mut pace, &mut now, Duration::from_micros(100), 1);
        assert!(pace.is_timed(), "10,000 a second");
        run(&mut pace, &mut now, Duration::from_millis(1), 4);
        assert!(pace.is_timed(), "4,000 a second, once by the clock");
        run(&mut pace, &mut now, Duration::from_millis(1), 0);
        assert!(!pace.is_timed(), "silence");
    }

    #[test]
    fn one_burst_after_a_long_silence_changes_nothing() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.note(0, now);
        now += Duration::from_secs(10);
        pace.note(128, now);
        assert!(!pace.is_timed());
    }
}
