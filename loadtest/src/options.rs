//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::preset::Row;

/// Simulates thousands of players and reports what they saw.
#[derive(Clone, Debug, Parser)]
#[command(name = "muster-loadtest", version, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What a child of the tester does.
    #[command(subcommand)]
    pub role: Option<Role>,
    /// What the tester itself does.
    #[command(flatten)]
    pub options: Options,
}

/// What the tester starts as children of its own.
#[derive(Clone, Debug, Subcommand)]
pub enum Role {
    /// Lets players play, as the tester says.
    #[command(hide = true)]
    Players,
    /// Serves muster with the game of the measurements.
    #[command(hide = true)]
    Serve(ServeArgs),
    /// Serves the kernel's floor for WebSocket.
    #[command(hide = true)]
    FloorWebsocket(FloorArgs),
    /// Serves the kernel's floor for WebTransport.
    #[command(hide = true)]
    FloorWebtransport(FloorArgs),
    /// Serves the bare server for handshakes.
    #[command(hide = true)]
    Bare(ServeArgs),
    /// The same over TLS.
    #[command(hide = true)]
    BareTls(ServeArgs),
}

/// For the child that serves muster.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Key that tickets are checked with.
    #[arg(long)]
    pub keys: PathBuf,
    /// File with the token of the admin API, which there is with it; revocations are kept beside it.
    #[arg(long)]
    pub admin_token: Option<PathBuf>,
    /// What the game is like.
    #[command(flatten)]
    pub floor: FloorArgs,
}

/// For every child.
#[derive(Clone, Debug, Args)]
pub struct FloorArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: std::net::SocketAddr,
    /// Core to stay on.
    #[arg(long)]
    pub core: Option<usize>,
    /// Bytes of state.
    #[arg(long)]
    pub state_bytes: usize,
    /// Players of one session.
    #[arg(long)]
    pub per_session: u16,
    /// Ticks per second.
    #[arg(long)]
    pub tick: u8,
}

/// What is measured, and how.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Players at the same time [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub players: Option<u32>,
    /// Players of one session
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub per_session: u16,
    /// How players come [default: websocket]
    #[arg(long, value_enum)]
    pub transport: Option<Way>,
    /// WebSocket over TLS
    #[arg(long)]
    pub tls: bool,
    /// Ticks per second of the spawned server: 5, 10, 15, 20, 30, 40, 60, 100 or 128
    #[arg(long, default_value_t = 20)]
    pub tick: u8,
    /// Inputs per second and player; 0 only listens [default: the tick rate]
    #[arg(long)]
    pub input_rate: Option<u32>,
    /// Bytes of state in each snapshot of the spawned server
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=8_000))]
    pub state_bytes: u32,
    /// How long is measured, once everybody is seated [default: 30s; 5s for --scenario figures]
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// How long everybody plays before that
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub warmup: Duration,
    /// Arrivals per second, by schedule, whatever the answers [default: 500/s]
    #[arg(long, value_parser = rate)]
    pub ramp: Option<u32>,
    /// Start a server as a child, on a core of its own where there are two
    #[arg(long, conflicts_with = "url")]
    pub spawn: bool,
    /// Server to measure: muster://HOST:PORT
    #[arg(long)]
    pub url: Option<String>,
    /// Private key to sign tickets with (PEM or JWK), for --url; without it the server's /dev/ticket is asked
    #[arg(long, value_name = "FILE", requires = "url")]
    pub key: Option<PathBuf>,
    /// Game to join at --url
    #[arg(long, default_value = "arena")]
    pub game: String,
    /// What the players do [default: steady; figures when --spawn stands alone]
    #[arg(long, value_enum)]
    pub scenario: Option<Scenario>,
    /// Rows of --scenario figures to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "url")]
    pub rows: Vec<Row>,
    /// Share of each row's players and handshakes, to try --scenario figures out
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub scale: f64,
    /// Measure the kernel's floor too, in the same rounds
    #[arg(long)]
    pub floor: bool,
    /// Rounds; the figures are medians over them [default: 1; 5 for --scenario figures]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,
    /// Measure these side by side, instead of --transport, --tls and --floor
    #[arg(long, value_enum, value_delimiter = ',')]
    pub compare: Vec<Subject>,
    /// Handshakes one after the other, and four times as many 64 at once, for --scenario handshake
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub handshakes: u32,
    /// How tickets are signed, with --spawn
    #[arg(long, value_enum, default_value_t = TicketKind::Eddsa)]
    pub tickets: TicketKind,
    /// Processes that the players are shared out over, on cores of their own where there are some left
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub processes: u16,
    /// Tickets taken back per second, by schedule, for --scenario revoke
    #[arg(long, default_value = "20/s", value_parser = rate)]
    pub revocations: u32,
    /// JSON file for the report
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// HTML page for the report
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No progress bars
    #[arg(long)]
    pub quiet: bool,
    /// Core of the spawned server
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core of the players
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
}

/// How players come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// All over WebSocket.
    Websocket,
    /// All over WebTransport.
    Webtransport,
    /// Every other one over WebTransport.
    Mix,
}

/// One thing that is measured beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Subject {
    /// muster over plain WebSocket.
    Websocket,
    /// muster over WebSocket and TLS.
    WebsocketTls,
    /// muster over WebTransport.
    Webtransport,
    /// muster, half of the players over each.
    Mix,
    /// The kernel's floor for WebSocket.
    FloorWebsocket,
    /// The kernel's floor for WebTransport.
    FloorWebtransport,
    /// For handshakes: fastwebsockets and one HS256 token.
    Bare,
    /// The same over TLS.
    BareTls,
}

impl Subject {
    /// As it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Websocket => "muster, WebSocket",
            Self::WebsocketTls => "muster, WebSocket over TLS",
            Self::Webtransport => "muster, WebTransport",
            Self::Mix => "muster, both transports",
            Self::FloorWebsocket => "floor, WebSocket",
            Self::FloorWebtransport => "floor, WebTransport",
            Self::Bare => "bare fastwebsockets",
            Self::BareTls => "bare fastwebsockets over TLS",
        }
    }

    /// Whether it is the kernel alone.
    pub fn is_floor(self) -> bool {
        matches!(self, Self::FloorWebsocket | Self::FloorWebtransport)
    }
}

/// What the players do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Every figure of docs/performance.md, one row after the other.
    Figures,
    /// Everybody arrives, plays, and stays.
    Steady,
    /// More and more players, until ticks are late or snapshots missing.
    Ramp,
    /// All links drop at once, and all come back.
    Storm,
    /// One in ten stops reading.
    SlowReaders,
    /// Players leave and others come; halfway ten times as many begin to come with forged tickets.
    Forged,
    /// Players leave and others come, all the time.
    Churn,
    /// One open link after the other is revoked, by the admin API.
    Revoke,
    /// Only handshakes: one after the other, and 64 at once, beside a bare server.
    Handshake,
}

/// How tickets are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TicketKind {
    /// A shared secret.
    Hs256,
    /// Ed25519.
    Eddsa,
    /// ECDSA on P-256.
    Es256,
    /// RSA of 2,048 bits.
    Rs256,
}

impl Options {
    /// Players at the same time.
    pub fn players(&self) -> usize {
        self.players.unwrap_or(1_000) as usize
    }

    /// Arrivals per second.
    pub fn arrivals_per_second(&self) -> f64 {
        f64::from(self.ramp.unwrap_or(500))
    }

    /// How long is measured.
    pub fn window(&self) -> Duration {
        self.duration.unwrap_or(if self.scenario() == Scenario::Figures { FIGURES_WINDOW } else { WINDOW })
    }

    /// How often everything is measured.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.scenario() == Scenario::Figures { FIGURES_ROUNDS } else { 1 })
    }

    /// What the players do: everything that is published when nothing says otherwise.
    pub fn scenario(&self) -> Scenario {
        let says_nothing = self.players.is_none()
            && self.transport.is_none()
            && self.input_rate.is_none()
            && self.compare.is_empty()
            && !self.floor
            && !self.tls;
        match self.scenario {
            Some(scenario) => scenario,
            None if self.spawn && (says_nothing || !self.rows.is_empty()) => Scenario::Figures,
            None => Scenario::Steady,
        }
    }

    /// Inputs per second and player.
    pub fn inputs_per_second(&self) -> u32 {
        self.input_rate.unwrap_or(u32::from(self.tick))
    }

    /// What is to be measured side by side, each once a round.
    pub fn subjects(&self) -> Vec<Subject> {
        if !self.compare.is_empty() {
            return self.compare.clone();
        }
        if self.scenario() == Scenario::Handshake {
            return vec![
                Subject::Websocket,
                Subject::Bare,
                Subject::WebsocketTls,
                Subject::BareTls,
                Subject::Webtransport,
            ];
        }
        let (muster, floor) = match (self.transport.unwrap_or(Way::Websocket), self.tls) {
            (Way::Websocket, false) => (Subject::Websocket, Subject::FloorWebsocket),
            (Way::Websocket, true) => (Subject::WebsocketTls, Subject::FloorWebsocket),
            (Way::Webtransport, _) => (Subject::Webtransport, Subject::FloorWebtransport),
            (Way::Mix, _) => (Subject::Mix, Subject::FloorWebsocket),
        };
        if self.floor { vec![muster, floor] } else { vec![muster] }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err("expected a number and ms, s or m, as in 30s".into()),
    };
    let seconds = number.parse::<f64>().map_err(|_| "expected a number and ms, s or m, as in 30s")? * scale;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("expected at most a day".into())
    }
}

fn scale(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|scale| (0.001..=1.0).contains(scale)).ok_or_else(|| "expected 0.001 to 1".into())
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().ok().filter(|rate| *rate > 0).ok_or_else(|| "expected how many per second, as in 500/s".into())
}

const WINDOW: Duration = Duration::from_secs(30);
const FIGURES_WINDOW: Duration = Duration::from_secs(5);
const FIGURES_ROUNDS: u32 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_and_rates_are_read_with_their_units() {
        assert_eq!(duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert!(duration("a").is_err() && duration("-1s").is_err() && duration("3h").is_err());
        assert_eq!(rate("500/s"), Ok(500));
        assert!(rate("0/s").is_err() && rate("x").is_err());
    }

    #[test]
    fn every_figure_is_measured_when_nothing_else_is_asked_for() {
        let read = |arguments: &[&str]| Cli::parse_from(["x", "--spawn"].iter().chain(arguments)).options;
        let bare = read(&[]);
        assert_eq!((bare.scenario(), bare.rounds(), bare.window()), (Scenario::Figures, 5, FIGURES_WINDOW));
        assert_eq!(read(&["--rounds=2", "--duration=1s"]).scenario(), Scenario::Figures);
        assert_eq!(read(&["--rows=websocket,ramp"]).scenario(), Scenario::Figures);
        for other in ["--players=5", "--tls", "--floor", "--input-rate=0", "--compare=mix", "--transport=mix"] {
            let options = read(&[other]);
            assert_eq!((options.scenario(), options.rounds(), options.window()), (Scenario::Steady, 1, WINDOW));
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["x", "--spawn", "--floor", "--tls"]);
        assert_eq!(cli.options.subjects(), [Subject::WebsocketTls, Subject::FloorWebsocket]);
        assert_eq!(cli.options.inputs_per_second(), 20);
    }
}
