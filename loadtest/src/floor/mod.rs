//! What the kernel alone costs: servers that do nothing but move the bytes.

pub mod bare;
pub mod seal;
pub mod udp;
pub mod websocket;
pub mod webtransport;

use std::time::Duration;

/// When each session of a floor ticks: evenly over the period, as muster does it.
#[derive(Debug)]
pub struct Spread {
    period: Duration,
    sessions: Vec<Due>,
    /// When the first of them is due; `None` without any.
    next: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Duration,
    tick: u32,
}

impl Spread {
    /// No session yet.
    pub fn new(hz: u8) -> Self {
        Self { period: Duration::from_secs(1) / u32::from(hz.max(1)), sessions: Vec::new(), next: None }
    }

    /// Makes room for one more session, which ticks for the first time within a period from now.
    pub fn add(&mut self, now: Duration) {
        let at = muster::ticker::schedule::first_tick(now, self.sessions.len() as u64, self.period);
        self.sessions.push(Due { at, tick: 1 });
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// When the next one is due; `None` without any.
    pub fn next_due(&self) -> Option<Duration> {
        self.next
    }

    /// Tells of every session that is due now: its number, its tick and when that was due. It is due again a period
    /// later.
    pub fn take_due(&mut self, now: Duration, mut tick: impl FnMut(usize, u32, Duration)) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        for (session, due) in self.sessions.iter_mut().enumerate() {
            if due.at <= now {
                tick(session, due.tick, due.at);
                due.at += self.period;
                due.tick += 1;
            }
        }
        self.next = self.sessions.iter().map(|session| session.at).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_ticks_once_a_period() {
        let mut spread = Spread::new(20);
        (0..10).for_each(|_| spread.add(Duration::ZERO));
        let mut ticks = [0; 10];
        for now in (0..1_000).map(Duration::from_millis) {
            spread.take_due(now, |session, _, _| ticks[session] += 1);
        }
        assert_eq!(ticks, [20; 10]);
        assert!(spread.next_due().is_some_and(|at| at >= Duration::from_millis(950)));
    }
}
