//! Counting what players see: the window, second by second, and what was due within it.

use std::sync::atomic::Ordering;

use super::{AFTER, Micros, OPEN, Second, Seen, Shared, micros, record};
use crate::frames::SnapshotHead;

/// What one group of players has seen so far.
pub struct Tally {
    /// The figures.
    pub seen: Seen,
    tick: u8,
    /// When the window was opened; `None` while it is not open.
    opened: Option<u64>,
    over: bool,
    seconds: u64,
    age: Micros,
    count: u64,
}

/// What a player keeps of its snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// The newest tick it has seen.
    pub tick: u32,
    last_arrival: u64,
    /// Since when what is due for it counts; `None` without a seat, and outside of the window.
    from: Option<u64>,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Same,
    /// The window is open: whoever has a seat counts from now.
    Opened,
    /// It is closed: nobody counts any more.
    Closed,
}

impl Tally {
    /// Nothing yet, at so many ticks per second.
    pub fn new(tick: u8) -> Self {
        Self { seen: Seen::default(), tick, opened: None, over: false, seconds: 0, age: micros(), count: 0 }
    }

    /// Whether the window is open.
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Follows the watcher. At [`Turn::Closed`] every player's [`Watch`] is to be stopped.
    pub fn follow(&mut self, shared: &Shared, now: u64) -> Turn {
        let stopped = shared.stop.load(Ordering::Relaxed);
        match (self.opened, shared.phase.load(Ordering::Relaxed)) {
            (None, OPEN) if !self.over => {
                self.opened = Some(now);
                Turn::Opened
            }
            (Some(_), phase) if phase == AFTER || stopped => {
                self.opened = None;
                self.over = true;
                Turn::Closed
            }
            (Some(opened), _) => {
                while now >= opened + (self.seconds + 1) * 1_000_000 {
                    self.end_second();
                }
                Turn::Same
            }
            _ => Turn::Same,
        }
    }

    fn end_second(&mut self) {
        self.seconds += 1;
        self.seen.seconds.push(Second {
            snapshots: std::mem::take(&mut self.count),
            age_p50_us: self.age.value_at_quantile(0.5),
            age_p99_us: self.age.value_at_quantile(0.99),
        });
        self.age.reset();
    }

    /// A player has a seat.
    pub fn start(&self, watch: &mut Watch, now: u64) {
        watch.from = self.opened.map(|_| now);
    }

    /// A player has no seat any more, or the window is closed.
    pub fn stop(&mut self, watch: &mut Watch, now: u64) {
        watch.last_arrival = 0;
        if let Some(from) = watch.from.take() {
            self.seen.due += now.saturating_sub(from) as f64 * f64::from(self.tick) / 1e6;
        }
    }

    /// A player got a snapshot.
    pub fn snapshot(&mut self, watch: &mut Watch, head: SnapshotHead, shared: &Shared, now: u64) {
        let last = std::mem::replace(&mut watch.last_arrival, now);
        watch.tick = head.tick;
        if watch.from.is_none() || self.opened.is_none() {
            return;
        }
        self.seen.snapshots += 1;
        self.count += 1;
        shared.snapshots.fetch_add(1, Ordering::Relaxed);
        if last > 0 {
            let period = 1_000_000 / u64::from(self.tick.max(1));
            record(&mut self.seen.jitter, now.saturating_sub(last).abs_diff(period));
        }
        if let Some(age) = shared.age_us(head.time_us, now) {
            record(&mut self.seen.age, age);
            record(&mut self.age, age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_falls_into_the_window_counts() {
        let shared = Shared::new();
        shared.saw_clock(0, 0);
        let mut tally = Tally::new(20);
        let mut watch = Watch::default();
        let head = |tick| SnapshotHead { tick, time_us: u64::from(tick) * 50_000 };
        let step = |tally: &mut Tally, watch: &mut Watch, tick: u32| {
            let now = u64::from(tick) * 50_000 + 1_000;
            match tally.follow(&shared, now) {
                Turn::Opened => tally.start(watch, now),
                Turn::Closed => tally.stop(watch, now),
                Turn::Same => {}
            }
            tally.snapshot(watch, head(tick), &shared, now);
        };
        (0..10).for_each(|tick| step(&mut tally, &mut watch, tick));
        shared.phase.store(OPEN, Ordering::Relaxed);
        (10..50).for_each(|tick| step(&mut tally, &mut watch, tick));
        shared.phase.store(AFTER, Ordering::Relaxed);
        (50..60).for_each(|tick| step(&mut tally, &mut watch, tick));
        assert_eq!((tally.seen.snapshots, tally.seen.due.round()), (40, 40.0));
        assert_eq!((tally.seen.age.max(), tally.seen.jitter.max()), (1_000, 1));
        assert_eq!(tally.seen.seconds.len(), 1);
    }
}
