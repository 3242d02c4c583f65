//! What the machine's own timer does while nothing else is asked of it: no tick can be more punctual.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::figures::Quantiles;
use crate::load::{micros, record};
use crate::machine;

/// How late a thread on a core wakes that sleeps to an absolute schedule, for a second. `None` without a runtime.
pub fn idle_lateness(core: usize) -> Option<Quantiles> {
    let sleeper = std::thread::spawn(move || {
        machine::pin(core);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        runtime.block_on(async {
            let mut late = micros();
            let clock = muster::clock::Clock::start();
            for step in 1..=STEPS {
                // Off the whole milliseconds that the timer rounds up to, as ticks are.
                let due: Instant = clock.instant(STEP * step + Duration::from_micros(u64::from(step) * 37 % 1_000));
                sleep_until(due).await;
                record(&mut late, due.elapsed().as_micros() as u64);
            }
            Some(Quantiles::from(&late))
        })
    });
    sleeper.join().ok().flatten()
}

const STEP: Duration = Duration::from_millis(5);
const STEPS: u32 = 200;
