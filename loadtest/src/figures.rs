//! What comes out of one measurement, and what many of them say together.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::{Micros, Second, Seen};
use crate::options::Subject;

/// A distribution in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quantiles {
    /// How many.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// The greatest.
    pub max: u64,
    /// For plots: the value at each of [`STEPS`] equal steps of the quantile, from 0 to 1.
    pub curve: Vec<u64>,
}

impl From<&Micros> for Quantiles {
    fn from(micros: &Micros) -> Self {
        if micros.is_empty() {
            return Self::default();
        }
        let at = |quantile| micros.value_at_quantile(quantile);
        Self {
            count: micros.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros.max(),
            curve: (0..=STEPS).map(|step| at(step as f64 / STEPS as f64)).collect(),
        }
    }
}

/// Points of a plotted distribution.
pub const STEPS: usize = 100;

/// One subject, measured once.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What was measured.
    pub subject: &'static str,
    /// Players that were asked for.
    pub players: usize,
    /// Players that had a seat when the window opened.
    pub seated: u64,
    /// The window's length in seconds.
    pub seconds: f64,
    /// From the scheduled arrival until the transport stood.
    pub connect_us: Quantiles,
    /// From the request with the ticket to Welcome.
    pub welcome_us: Quantiles,
    /// The same, of players who came within the window before forged tickets did.
    pub calm_us: Quantiles,
    /// The same, of players who came among forged tickets.
    pub flooded_us: Quantiles,
    /// From the request with the ticket to the seat.
    pub seat_us: Quantiles,
    /// Storm: from the loss of the links until each was back.
    pub back_us: Quantiles,
    /// Revocations: from the request to the Goodbye of the player who is in.
    pub revoked_us: Quantiles,
    /// From the same request to its answer.
    pub revoke_answer_us: Quantiles,
    /// Age of the state on arrival.
    pub age_us: Quantiles,
    /// Distance of the time between two snapshots from the tick.
    pub jitter_us: Quantiles,
    /// Snapshots that came.
    pub snapshots: u64,
    /// Share of those that were due.
    pub delivered: f64,
    /// How late ticks began, by the server's own histogram: median and 99th percentile.
    pub lateness_p50_us: Option<f64>,
    /// The 99th percentile.
    pub lateness_p99_us: Option<f64>,
    /// Ticks that the server gave up.
    pub ticks_skipped: Option<f64>,
    /// Bytes that came, per player and second, with framing and without that of IP and below.
    pub bytes_in_per_player_second: f64,
    /// Bytes sent, per player and second.
    pub bytes_out_per_player_second: f64,
    /// Inputs sent.
    pub inputs: u64,
    /// Inputs that the tester's own sockets did not take.
    pub inputs_shed: u64,
    /// The server's processor seconds for a million delivered snapshots.
    pub server_cpu_per_million: Option<f64>,
    /// The server's share of a core.
    pub server_core: Option<f64>,
    /// Resident bytes of the server for each link.
    pub resident_per_link: Option<f64>,
    /// The tester's share of a core.
    pub own_core: f64,
    /// Links that were lost though nobody asked for it.
    pub lost: u64,
    /// Players who left and were followed by others.
    pub turnover: u64,
    /// Forged tickets that were refused.
    pub forged_refused: u64,
    /// Forged tickets that were let in: must be 0.
    pub forged_accepted: u64,
    /// Players who were not told by the end of the window that their tickets had been revoked: must be 0.
    pub untold: u64,
    /// Revoked tickets that were tried once more and refused.
    pub revoked_refused: u64,
    /// Revoked tickets that were let in: must be 0.
    pub revoked_accepted: u64,
    /// Failures by reason.
    pub failures: BTreeMap<String, u64>,
    /// The window, second by second.
    pub timeline: Vec<Second>,
}

impl Figures {
    /// Whether the tester rather than the server set the figures.
    pub fn tester_was_the_bottleneck(&self) -> bool {
        self.own_core > BUSY
    }

    /// Takes what the players saw.
    pub fn new(subject: Subject, players: usize, seated: u64, seconds: f64, seen: &Seen) -> Self {
        let per_player_second = |bytes: u64| bytes as f64 / (seated.max(1) as f64) / seconds.max(0.001);
        Self {
            subject: subject.name(),
            players,
            seated,
            seconds,
            connect_us: (&seen.connect).into(),
            welcome_us: (&seen.welcome).into(),
            calm_us: (&seen.calm).into(),
            flooded_us: (&seen.flooded).into(),
            seat_us: (&seen.seat).into(),
            back_us: (&seen.back).into(),
            revoked_us: (&seen.revoked).into(),
            revoke_answer_us: (&seen.revoke_answer).into(),
            age_us: (&seen.age).into(),
            jitter_us: (&seen.jitter).into(),
            snapshots: seen.snapshots,
            delivered: if seen.due > 0.0 { seen.snapshots as f64 / seen.due } else { 0.0 },
            lateness_p50_us: None,
            lateness_p99_us: None,
            ticks_skipped: None,
            bytes_in_per_player_second: per_player_second(seen.bytes_in),
            bytes_out_per_player_second: per_player_second(seen.bytes_out),
            inputs: seen.inputs,
            inputs_shed: seen.inputs_shed,
            server_cpu_per_million: None,
            server_core: None,
            resident_per_link: None,
            own_core: 0.0,
            lost: seen.lost,
            turnover: seen.turnover,
            forged_refused: seen.forged_refused,
            forged_accepted: seen.forged_accepted,
            untold: seen.untold,
            revoked_refused: seen.revoked_refused,
            revoked_accepted: seen.revoked_accepted,
            failures: seen.failures.clone(),
            timeline: seen.seconds.clone(),
        }
    }
}

/// The median; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values.get(middle.checked_sub(1)?)? + upper) / 2.0) }
}

/// A core that is busier than this sets the figures.
pub const BUSY: f64 = 0.85;
