//! The node's clock: time since it started, the only form in which pure rooms ever see it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::ticket::UnixSeconds;

/// Counts from the start of the node, and never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the node started.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment a time stands for, to sleep until.
    pub fn instant(&self, at: Duration) -> Instant {
        self.start + at
    }

    /// The wall clock, which tickets are judged by.
    #[allow(clippy::disallowed_methods)]
    pub fn unix(&self) -> UnixSeconds {
        UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}
