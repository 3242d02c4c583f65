//! The rows: what each of them runs, and which figures it answers for.

use std::time::Duration;

use clap::ValueEnum;

use super::lines::{Line, Unit};
use crate::figures::Figures;
use crate::options::{Options, Scenario, Subject, TicketKind};
use crate::report::Report;

/// What is measured in one go, in the same rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Row {
    /// WebSocket that only listens, beside the floor.
    WebsocketReceive,
    /// WebSocket with inputs, plain and over TLS, beside the floor.
    Websocket,
    /// WebTransport with inputs, beside WebSocket and its floor.
    Webtransport,
    /// The same, which only listens.
    WebtransportReceive,
    /// Handshakes of every transport with HS256, beside a bare server.
    Handshake,
    /// Handshakes with EdDSA, beside the same bare server.
    HandshakeEddsa,
    /// Players on one core, beside the floor.
    Ramp,
    /// One open link after the other is revoked.
    Revoke,
}

impl Row {
    /// In the order in which they are measured.
    pub const ALL: [Self; 8] = [
        Self::WebsocketReceive,
        Self::Websocket,
        Self::Webtransport,
        Self::WebtransportReceive,
        Self::Handshake,
        Self::HandshakeEddsa,
        Self::Ramp,
        Self::Revoke,
    ];

    /// As `--rows` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebsocketReceive => "websocket-receive",
            Self::Websocket => "websocket",
            Self::Webtransport => "webtransport",
            Self::WebtransportReceive => "webtransport-receive",
            Self::Handshake => "handshake",
            Self::HandshakeEddsa => "handshake-eddsa",
            Self::Ramp => "ramp",
            Self::Revoke => "revoke",
        }
    }

    /// As people read it.
    pub fn title(self) -> &'static str {
        match self {
            Self::WebsocketReceive => "WebSocket, receive-only, beside the floor",
            Self::Websocket => "WebSocket with inputs, plain and over TLS, beside the floor",
            Self::Webtransport => "WebTransport with inputs, beside WebSocket and its floor",
            Self::WebtransportReceive => "WebTransport, receive-only, beside WebSocket and its floor",
            Self::Handshake => "handshakes with HS256 tickets, beside a bare server",
            Self::HandshakeEddsa => "handshakes with EdDSA tickets, beside the same bare server",
            Self::Ramp => "players on one core, receive-only, beside the floor (once)",
            Self::Revoke => "WebSocket, one open link after the other is revoked",
        }
    }

    /// The options of this row: those of the whole run, with what makes the row.
    pub fn options(self, whole: &Options) -> Options {
        let (players, arrivals, listens, subjects) = match self {
            Self::WebsocketReceive => (2_000, 500, true, vec![Subject::Websocket, Subject::FloorWebsocket]),
            Self::Websocket => {
                (1_000, 500, false, vec![Subject::Websocket, Subject::WebsocketTls, Subject::FloorWebsocket])
            }
            Self::Webtransport => {
                (700, 200, false, vec![Subject::Websocket, Subject::Webtransport, Subject::FloorWebtransport])
            }
            Self::WebtransportReceive => {
                (900, 200, true, vec![Subject::Websocket, Subject::Webtransport, Subject::FloorWebtransport])
            }
            Self::Handshake => {
                (1, 500, true, vec![Subject::Websocket, Subject::Bare, Subject::WebsocketTls, Subject::Webtransport])
            }
            Self::HandshakeEddsa => (1, 500, true, vec![Subject::Websocket, Subject::Bare]),
            Self::Ramp => (1_500, 500, true, vec![Subject::Websocket, Subject::FloorWebsocket]),
            Self::Revoke => (2_000, 500, false, vec![Subject::Websocket]),
        };
        let scaled = |count: u32, least: u32| ((f64::from(count) * whole.scale) as u32).max(least);
        Options {
            players: Some(scaled(players, u32::from(whole.per_session))),
            ramp: Some(whole.ramp.unwrap_or(arrivals)),
            input_rate: match self {
                // As many inputs as 500 players have: what is in question is not whether one core carries 2,000.
                Self::Revoke => Some(5),
                _ if listens => Some(0),
                _ => None,
            },
            compare: subjects,
            scenario: Some(match self {
                Self::Handshake | Self::HandshakeEddsa => Scenario::Handshake,
                Self::Ramp => Scenario::Ramp,
                Self::Revoke => Scenario::Revoke,
                _ => Scenario::Steady,
            }),
            tickets: if self == Self::Handshake { TicketKind::Hs256 } else { TicketKind::Eddsa },
            handshakes: scaled(whole.handshakes, 10),
            rounds: Some(whole.rounds()),
            duration: Some(whole.window()),
            ..whole.clone()
        }
    }

    /// About how long a row with these options takes.
    pub fn estimate(self, own: &Options) -> Duration {
        let subjects = own.compare.len() as u32;
        let arrivals = |players: usize| Duration::from_secs_f64(players as f64 / own.arrivals_per_second());
        let once = |players: usize| arrivals(players) + own.warmup + own.window() + Duration::from_secs(1);
        match self {
            Self::Handshake | Self::HandshakeEddsa => {
                (Duration::from_millis(3) * own.handshakes + Duration::from_secs(1)) * subjects * own.rounds()
            }
            // About ten steps, up to more than twice the players.
            Self::Ramp => once(own.players() * 3 / 2) * subjects * 10,
            _ => (once(own.players()) * subjects + Duration::from_secs(1)) * own.rounds(),
        }
    }

    /// The figures that this row answers for, from its report.
    pub fn lines(self, own: &Options, report: &Report) -> Vec<Line> {
        use Subject::{Bare, FloorWebsocket, FloorWebtransport, Websocket, WebsocketTls, Webtransport};
        let seen = Seen { report, players: own.players() };
        match self {
            Self::WebsocketReceive => {
                let mut lines =
                    vec![seen.cpu("WebSocket, receive-only, over the floor", Websocket, FloorWebsocket, 1.10)];
                lines.extend(seen.quality("WebSocket, receive-only", Websocket, FloorWebsocket));
                lines
            }
            Self::Websocket => {
                let mut lines = vec![
                    seen.cpu("WebSocket with inputs, over the floor", Websocket, FloorWebsocket, 1.15),
                    seen.cpu("WebSocket over TLS, over plain, with inputs", WebsocketTls, Websocket, 1.25),
                ];
                lines.extend(seen.quality("WebSocket with inputs", Websocket, FloorWebsocket));
                lines.push(seen.memory("WebSocket", Websocket, 10.0));
                lines.push(seen.memory("WebSocket over TLS", WebsocketTls, 16.0));
                lines
            }
            Self::Webtransport => {
                let mut lines =
                    vec![seen.cpu("WebTransport over WebSocket, with inputs", Webtransport, Websocket, 2.1)];
                lines.extend(seen.quality("WebTransport with inputs", Webtransport, FloorWebtransport));
                lines.push(seen.memory("WebTransport", Webtransport, 72.0));
                lines
            }
            Self::WebtransportReceive => {
                let mut lines =
                    vec![seen.cpu("WebTransport over WebSocket, receive-only", Webtransport, Websocket, 2.1)];
                lines.extend(seen.quality("WebTransport, receive-only", Webtransport, FloorWebtransport));
                lines
            }
            Self::Handshake => vec![
                seen.handshake("handshake to a seat, HS256, over a bare server", Websocket, Bare, 1.3),
                seen.handshake("handshake over TLS, over plain", WebsocketTls, Websocket, 2.8),
                seen.handshake("WebTransport handshake, over the TLS one", Webtransport, WebsocketTls, 2.0),
                seen.handshakes_per_second("WebTransport handshakes a second, 64 at once", Webtransport, 2_500.0),
            ],
            Self::HandshakeEddsa => {
                vec![seen.handshake("handshake to a seat, EdDSA, over a bare HS256 server", Websocket, Bare, 1.8)]
            }
            Self::Ramp => vec![seen.carried("players on one core, receive-only, over the floor's", Websocket, 0.9)],
            Self::Revoke => seen.revoked(Websocket).into(),
        }
    }
}

/// A row's report, asked for its figures.
struct Seen<'a> {
    report: &'a Report,
    players: usize,
}

impl Seen<'_> {
    fn of(&self, subject: Subject) -> impl Iterator<Item = &Figures> {
        self.report.measurements.iter().filter(move |figures| figures.subject == subject.name())
    }

    /// Server CPU per delivered snapshot.
    fn cpu(&self, what: &str, subject: Subject, over: Subject, aim: f64) -> Line {
        let pair = |ratio: &&crate::report::Ratio| ratio.subject == subject.name() && ratio.over == over.name();
        let rounds = self.report.ratios.iter().find(pair).map(|ratio| ratio.rounds.clone()).unwrap_or_default();
        Line::at_most(what, Unit::Times, aim, rounds, self.players)
    }

    /// Whether the snapshots come, and come in time.
    fn quality(&self, what: &str, subject: Subject, floor: Subject) -> [Line; 3] {
        let delivered = self.of(subject).map(|one| one.delivered * 100.0).collect();
        let idle = self.report.idle_timers_us.iter();
        let late = self.of(subject).zip(idle).filter_map(|(one, idle)| Some(one.lateness_p99_us? - idle.p99 as f64));
        let jitter = self.of(subject).zip(self.of(floor));
        let jitter = jitter.map(|(one, floor)| one.jitter_us.p99 as f64 - floor.jitter_us.p99 as f64);
        [
            Line::at_least(&format!("snapshots delivered, {what}"), Unit::Percent, 99.9, delivered, self.players),
            Line::at_most(
                &format!("p99 tick lateness over the idle timer's, {what}"),
                Unit::Milliseconds,
                1.0,
                late.map(|us| us / 1e3).collect(),
                self.players,
            ),
            Line::at_most(
                &format!("p99 jitter over the floor's, {what}"),
                Unit::Milliseconds,
                1.0,
                jitter.map(|us| us / 1e3).collect(),
                self.players,
            ),
        ]
    }

    /// How soon a revoked player is out, for good, and whether the others notice.
    fn revoked(&self, subject: Subject) -> [Line; 3] {
        let p99 = self.of(subject).filter(|one| one.revoked_us.count > 0).map(|one| one.revoked_us.p99 as f64 / 1e3);
        let refused = self.of(subject).filter(|one| one.revoked_us.count > 0).map(|one| {
            // Of those that were answered before the window closed.
            let answered = one.revoked_refused + one.revoked_accepted;
            one.revoked_refused as f64 / answered.max(1) as f64 * 100.0
        });
        let delivered = self.of(subject).map(|one| one.delivered * 100.0);
        let players = self.players;
        [
            Line::at_most(
                "revocation of one of 2,000 open links, p99",
                Unit::Milliseconds,
                1_000.0,
                p99.collect(),
                players,
            ),
            Line::at_least(
                "revoked tickets refused when tried again",
                Unit::Percent,
                100.0,
                refused.collect(),
                players,
            ),
            Line::at_least("snapshots delivered to the others", Unit::Percent, 99.9, delivered.collect(), players),
        ]
    }

    fn memory(&self, what: &str, subject: Subject, aim: f64) -> Line {
        let rounds = self.of(subject).filter_map(|one| Some(one.resident_per_link? / 1_024.0)).collect();
        Line::at_most(&format!("resident memory per link, {what}"), Unit::Kibibytes, aim, rounds, self.players)
    }

    /// Server CPU per handshake.
    fn handshake(&self, what: &str, subject: Subject, over: Subject, aim: f64) -> Line {
        let pair = |ratio: &&crate::report::Ratio| ratio.subject == subject.name() && ratio.over == over.name();
        let ratio = self.report.handshake_ratios.iter().find(pair);
        Line::at_most(what, Unit::Times, aim, ratio.map(|ratio| ratio.rounds.clone()).unwrap_or_default(), 1)
    }

    fn handshakes_per_second(&self, what: &str, subject: Subject, aim: f64) -> Line {
        let rounds = self.report.handshakes.iter().filter(|one| one.subject == subject.name());
        Line::at_least(what, Unit::PerSecond, aim, rounds.map(|one| one.per_second).collect(), 64)
    }

    /// Players that one core carries, over what the floor does.
    fn carried(&self, what: &str, subject: Subject, aim: f64) -> Line {
        let of = |subject: Subject| self.report.ceilings.iter().find(|one| one.subject == subject.name());
        let (own, floor) = (of(subject), of(Subject::FloorWebsocket));
        let ratio = own.zip(floor).filter(|(_, floor)| floor.players > 0);
        let ratio = ratio.map(|(own, floor)| own.players as f64 / floor.players as f64);
        let mut line =
            Line::at_least(what, Unit::Times, aim, ratio.into_iter().collect(), own.map_or(0, |own| own.players));
        match floor {
            Some(floor) if floor.tester_was_the_bottleneck => line.doubt("the tester was at its end, not the floor"),
            Some(floor) if floor.broke.is_none() => line.doubt("the steps ended before the floor did"),
            _ => {}
        }
        line
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_row_is_picked_by_its_name_and_takes_the_whole_runs_options() {
        use clap::Parser as _;
        let read =
            |arguments: &[&str]| crate::options::Cli::parse_from(["x", "--spawn"].iter().chain(arguments)).options;
        for row in Row::ALL {
            assert_eq!(Row::from_str(row.name(), false).unwrap(), row);
            let own = row.options(&read(&["--rounds=2", "--duration=1s", "--scale=0.02", "--tick=10"]));
            assert_eq!((own.rounds(), own.window(), own.tick), (2, Duration::from_secs(1), 10));
            assert!(own.players() >= 10 && own.players() <= 40 && own.handshakes == 10);
            assert!(own.scenario() != Scenario::Figures);
        }
        let whole: Duration = Row::ALL.iter().map(|row| row.estimate(&row.options(&read(&[])))).sum();
        assert!((15 * 60..25 * 60).contains(&whole.as_secs()), "{whole:?}");
    }
}
