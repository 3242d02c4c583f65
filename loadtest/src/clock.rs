//! Time for the tester: microseconds since the process began, so that every thread counts from the same moment.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Microseconds since the first call in this process.
pub fn now_us() -> u64 {
    now().as_micros() as u64
}

/// The same as a duration.
pub fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    // The one place where the tester reads a clock.
    #[allow(clippy::disallowed_methods)]
    let elapsed = START.get_or_init(Instant::now).elapsed();
    elapsed
}

/// Seconds since 1970, for tickets.
pub fn unix_seconds() -> u64 {
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
