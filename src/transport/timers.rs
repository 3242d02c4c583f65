//! When each connection is to be looked at again.
//!
//! Owns: one heap for all of them, which is lazy. Must not know: what the deadlines are for. Pure.
//!
//! Deadlines move with every packet, nearly always to a later time. So an entry stays where it is until its time
//! has come, and only then is its connection asked when it really wants to be called. An entry is pushed only for an
//! earlier time than the one that stands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The entry that stands for one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::transport) struct Alarm(Option<Instant>);

/// The deadlines of all connections.
#[derive(Debug, Default)]
pub(in crate::transport) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Timers {
    /// Makes sure that connection `index` is called at `at` or before.
    pub(in crate::transport) fn set(&mut self, index: usize, alarm: &mut Alarm, at: Option<Instant>) {
        let Some(at) = at else { return };
        if alarm.0.is_none_or(|standing| at < standing) {
            alarm.0 = Some(at);
            self.heap.push(Reverse((at, index)));
        }
    }

    /// The next entry whose time has come. One that is not [its connection's](Alarm::rings) own is to be ignored.
    pub(in crate::transport) fn pop(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// The time of the earliest entry.
    pub(in crate::transport) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

impl Alarm {
    /// Whether the entry that was popped is the one that stands; then none stands any more.
    pub(in crate::transport) fn rings(&mut self, at: Instant) -> bool {
        let rings = self.0 == Some(at);
        if rings {
            self.0 = None;
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_that_moves_later_costs_no_entry_and_one_that_moves_earlier_replaces_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        timers.set(7, &mut alarm, Some(at(50)));
        timers.set(7, &mut alarm, Some(at(90)));
        timers.set(7, &mut alarm, None);
        assert_eq!(timers.heap.len(), 1);
        timers.set(7, &mut alarm, Some(at(20)));
        assert_eq!((timers.heap.len(), timers.next()), (2, Some(at(20))));
        assert_eq!(timers.pop(at(19)), None);
        assert_eq!(timers.pop(at(20)), Some((at(20), 7)));
        assert!(alarm.rings(at(20)));
        assert_eq!(timers.pop(at(60)), Some((at(50), 7)));
        assert!(!alarm.rings(at(50)), "it was replaced");
        assert_eq!(timers.next(), None);
    }
}
