//! What is shown of a player: a screen, lines, or JSON.
//!
//! Owns: the layout. Must not know: where it is written to.

use std::time::Duration;

use serde::Serialize;

use super::Bots;
use super::pilot::Pilot;
use super::render::{render_state, scores};
use crate::wire::LobbyStatus;

/// The figures of one moment.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    seconds: f64,
    transport: &'static str,
    round_trip_ms: Option<f64>,
    tick: u32,
    state_age_ms: Option<f64>,
    snapshots_per_second: f64,
    lobby: Option<String>,
    players: usize,
    resumes: u32,
    bots: usize,
    bots_failed: usize,
}

impl Figures {
    pub(super) fn of(pilot: &Pilot, elapsed: Duration, snapshots_per_second: f64, bots: &Bots) -> Self {
        let stats = pilot.stats();
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        Self {
            seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            transport: stats.transport.map_or("none", |transport| transport.as_str()),
            round_trip_ms: stats.round_trip.map(ms),
            tick: pilot.snapshot.as_ref().map_or(0, |snapshot| snapshot.tick.0),
            state_age_ms: pilot.snapshot.as_ref().map(|snapshot| ms(snapshot.age)),
            snapshots_per_second: (snapshots_per_second * 10.0).round() / 10.0,
            lobby: pilot.lobby.as_ref().map(|lobby| lobby.code.to_string()),
            players: match (&pilot.roster, &pilot.lobby) {
                (Some(roster), _) => roster.seats.len(),
                (None, Some(lobby)) => lobby.members.len(),
                (None, None) => 0,
            },
            resumes: stats.resumes,
            bots: bots.players.len(),
            bots_failed: bots.failed,
        }
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        json_line(self)
    }

    /// One line of text.
    pub(super) fn line(&self) -> String {
        let Self { transport, tick, snapshots_per_second, players, .. } = self;
        let ms = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.1} ms"));
        let lobby = self.lobby.as_deref().unwrap_or("-");
        format!(
            "{transport}  round trip {}  tick {tick}  state age {}  {snapshots_per_second:.1} snapshots/s  lobby {lobby}  {players} players\n",
            ms(self.round_trip_ms),
            ms(self.state_age_ms),
        )
    }

    /// [`Self::line`], and why the link is down if it is.
    pub(super) fn log(&self, pilot: &Pilot) -> String {
        let mut text = self.line();
        if pilot.stats().transport.is_none() {
            text += &format!("  {}\n", plain(&pilot.note));
        }
        text
    }

    /// The whole screen: the cursor goes home, each line clears its rest, and the end what is below.
    pub(super) fn screen(&self, pilot: &Pilot) -> String {
        let text = format!("{}{}", self.line(), self.body(pilot));
        let mut out = String::from("\x1b[H");
        for line in text.lines() {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        out
    }

    fn body(&self, pilot: &Pilot) -> String {
        let mut text = String::new();
        if let Some(lobby) = &pilot.lobby {
            let doing = match lobby.status {
                LobbyStatus::Gathering => "gathering",
                LobbyStatus::Playing(_) => "playing",
            };
            let (name, code, game) = (plain(&lobby.name), lobby.code, &lobby.game);
            let (members, capacity) = (lobby.members.len(), lobby.capacity);
            text += &format!("lobby {name}  code {code}  {game}  {doing}  {members} of {capacity}\n");
        }
        if !pilot.note.is_empty() {
            text += &format!("{}\n", plain(&pilot.note));
        }
        match (&pilot.seated, &pilot.snapshot) {
            (Some(seated), Some(snapshot)) => {
                text += &render_state(seated.game.as_str(), &seated.settings, seated.seat, &snapshot.state);
                text += &self.seats(pilot, &scores(seated.game.as_str(), &snapshot.state));
            }
            _ => text += &members(pilot),
        }
        text + "Ctrl-C leaves\n"
    }

    /// The players of the session with letter and score.
    fn seats(&self, pilot: &Pilot, scores: &[(crate::ids::SeatId, u16)]) -> String {
        let mut text = String::new();
        for seat in pilot.roster.iter().flat_map(|roster| &roster.seats).take(LISTED) {
            let own = pilot.me.as_ref() == Some(&seat.player);
            let mark = if own { '@' } else { char::from(b'A' + (seat.seat.0 % 26) as u8) };
            let score = scores.iter().find(|(of, _)| *of == seat.seat);
            let score = score.map_or(String::new(), |(_, score)| format!("  {score}"));
            let lost = if seat.connected { "" } else { "  (link lost)" };
            text += &format!("  {mark} {}{score}{lost}\n", plain(&seat.name));
        }
        text
    }
}

fn members(pilot: &Pilot) -> String {
    let mut text = String::new();
    for member in pilot.lobby.iter().flat_map(|lobby| &lobby.members).take(LISTED) {
        let ready = if member.ready { "ready" } else { "not ready" };
        text += &format!("  {}  {ready}\n", plain(&member.name));
    }
    text
}

/// What is left to say at the end.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    summary: bool,
    player: Option<String>,
    seconds: f64,
    snapshots: u64,
    snapshots_stale: u64,
    bytes_received: u64,
    inputs_shed: u64,
    resumes: u32,
    state_age_p50_ms: u128,
    state_age_p99_ms: u128,
    round_trip_ms: Option<f64>,
    bots_failed: usize,
}

impl Summary {
    pub(super) fn of(pilot: &Pilot, elapsed: Duration, bots_failed: usize) -> Self {
        let stats = pilot.stats();
        Self {
            summary: true,
            player: pilot.me.as_ref().map(|player| player.as_str().to_owned()),
            seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
            snapshots: stats.snapshots,
            snapshots_stale: stats.snapshots_stale,
            bytes_received: stats.bytes_received,
            inputs_shed: stats.inputs_shed,
            resumes: stats.resumes,
            state_age_p50_ms: pilot.age_at(0.5).as_millis(),
            state_age_p99_ms: pilot.age_at(0.99).as_millis(),
            round_trip_ms: stats.round_trip.map(|time| (time.as_secs_f64() * 10_000.0).round() / 10.0),
            bots_failed,
        }
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        json_line(self)
    }

    /// One line of text.
    pub(super) fn line(&self) -> String {
        let Self { seconds, snapshots, state_age_p50_ms, state_age_p99_ms, resumes, .. } = self;
        format!(
            "left after {seconds:.1} s: {snapshots} snapshots, state age {state_age_p50_ms} ms (p50) {state_age_p99_ms} ms (p99), {resumes} resumes\n"
        )
    }
}

fn json_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// Text of others without what could move the cursor or turn the line round.
fn plain(text: &str) -> String {
    let turns =
        |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).collect()
}

/// Players that are listed on the screen.
const LISTED: usize = 12;
