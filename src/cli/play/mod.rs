//! `muster play`: joins as a player whose hands are a random walk, alone or with bots, and shows what it sees.
//!
//! Owns: the flags, the run from the first ticket to the last word. Must not know: the protocol; it stands on the client.

mod pilot;
mod render;
mod show;

use std::collections::VecDeque;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::client::{
    Closed, ConnectError, Connector, Event, Join, Target, TicketSource, Transport, TransportChoice, Trust, http,
};
use pilot::Pilot;
use show::{Figures, Summary};

/// What `muster play` takes.
#[derive(Clone, Debug, Args)]
pub struct PlayArgs {
    /// The server
    #[arg(long, value_name = "URL", default_value = "muster://127.0.0.1:7777")]
    url: String,
    /// Play with this ticket instead of fetching one
    #[arg(long, value_name = "JWT", conflicts_with = "ticket_url", hide_env_values = true, env = "MUSTER_TICKET")]
    ticket: Option<String>,
    /// Where tickets are fetched, one for each player [default: /dev/ticket of the server, on this machine]
    #[arg(long, value_name = "URL")]
    ticket_url: Option<String>,
    /// Send this header in place of a ticket, where the server's backend knows players by it; may be given several times
    #[arg(long, value_name = "NAME: VALUE", conflicts_with_all = ["ticket", "ticket_url"], value_parser = read_header)]
    header: Vec<(String, String)>,
    /// Use this transport alone
    #[arg(long, value_enum, conflicts_with = "prefer")]
    transport: Option<TransportName>,
    /// Try this transport first, the other one if it fails or is slow
    #[arg(long, value_enum, default_value = "webtransport")]
    prefer: TransportName,
    /// Believe certificates that the authorities in this PEM file have signed; a certificate that signed itself is one
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_hash")]
    ca: Option<PathBuf>,
    /// Believe the certificate with this SHA-256 hash, as `serve` prints it
    #[arg(long, value_name = "HEX", value_parser = read_hash)]
    certificate_hash: Option<[u8; 32]>,
    /// Where to go: quick:GAME, lobby:ID, code:ABCDEF or session:ID
    #[arg(long, value_name = "WISH", default_value = "quick:arena")]
    join: Join,
    /// That many more players in this process, each with a ticket of its own
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=5_000))]
    bots: u16,
    /// Leave after this time; without it, at Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Write a line of JSON each second, and a summary at the end
    #[arg(long)]
    json: bool,
    /// The name shown to others, where tickets are fetched
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// A transport as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TransportName {
    Websocket,
    Webtransport,
}

impl From<TransportName> for Transport {
    fn from(name: TransportName) -> Self {
        match name {
            TransportName::Websocket => Self::WebSocket,
            TransportName::Webtransport => Self::WebTransport,
        }
    }
}

/// Why playing came to a bad end: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayError(String);

impl fmt::Display for PlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlayError {}

/// 64 hexadecimal digits.
fn read_hash(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "a SHA-256 hash is 64 hexadecimal digits".to_owned();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut hash = [0; 32];
    if pairs.len() != hash.len() || !rest.is_empty() {
        return Err(wrong());
    }
    for (byte, pair) in hash.iter_mut().zip(pairs) {
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(wrong);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Ok(hash)
}

/// `Name: value`. What is wrong is said without the value, which is a secret.
fn read_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl PlayArgs {
    /// The whole command, on a runtime of its own.
    pub(super) fn command(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
        runtime.block_on(self.run()).map_err(Failure::failed)
    }

    /// Plays until the time is over, Ctrl-C, or the server ends it.
    ///
    /// # Errors
    /// [`PlayError`] when nobody could play, or the server ended it with a refusal.
    ///
    /// # Cancel safety
    /// Dropping the future cuts the links.
    pub async fn run(self) -> Result<(), PlayError> {
        if self.bots > 0 && !self.header.is_empty() {
            return Err(PlayError("the headers say who one player is: leave --bots away".into()));
        }
        if self.bots > 0 && self.ticket.is_some() {
            return Err(PlayError("bots need a ticket each: leave --ticket away, or leave --bots away".into()));
        }
        let connector = self.connector()?;
        let name = self.name.clone().unwrap_or_else(|| format!("player-{:04x}", random() as u16));
        let engine = connector.clone().ticket(self.tickets(&name)?).connect_engine().await;
        let engine = engine.map_err(|error| self.explain(&error))?;
        let pilot = Pilot::new(engine);
        let mut bots = Bots::default();
        for index in 1..=self.bots {
            let connector = connector.clone().ticket(self.tickets(&format!("{name}-bot-{index}"))?);
            bots.players.spawn(fly_bot(connector, BOT_GAP * index.into(), bots.leave.clone()));
        }
        self.fly(pilot, bots).await
    }

    fn connector(&self) -> Result<Connector, PlayError> {
        let choice = match self.transport {
            Some(only) => TransportChoice::Only(only.into()),
            None => TransportChoice::Any { prefer: self.prefer.into() },
        };
        let mut connector = Connector::new(&self.url).join(self.join.clone()).transport(choice);
        for (name, value) in &self.header {
            connector = connector.header(name, value);
        }
        Ok(match (&self.ca, self.certificate_hash) {
            (Some(file), _) => {
                let pem = std::fs::read(file)
                    .map_err(|error| PlayError(format!("{}: {error}; give --ca a PEM file", file.display())))?;
                connector.trust(Trust::Authorities(pem))
            }
            (None, Some(hash)) => connector.certificate_hash(hash),
            (None, None) => connector,
        })
    }

    /// The given ticket, or one from the ticket URL whenever it is needed.
    fn tickets(&self, name: &str) -> Result<TicketSource, PlayError> {
        if !self.header.is_empty() {
            return Ok(TicketSource::None);
        }
        if let Some(ticket) = &self.ticket {
            return Ok(ticket.trim().into());
        }
        let (target, path) = match &self.ticket_url {
            Some(url) => ticket_target(url)?,
            None => match Target::parse(&self.url) {
                Ok(target) if target.is_loopback() => (target, "/dev/ticket".into()),
                Ok(_) => {
                    let why =
                        "only a development server on this machine hands tickets out: give --ticket or --ticket-url";
                    return Err(PlayError(why.into()));
                }
                Err(error) => return Err(PlayError(error.to_string())),
            },
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}sub={0}&name={0}", percent_encoded(name));
        Ok(TicketSource::from_fn(move || {
            let (target, path) = (target.clone(), path.clone());
            async move {
                let body = http::get(&target, &path).await.map_err(|error| error.to_string())?;
                read_ticket(&body).ok_or_else(|| format!("{} gave something else", target.authority()))
            }
        }))
    }

    /// The player that is shown; bots fly beside it.
    async fn fly(self, mut pilot: Pilot, mut bots: Bots) -> Result<(), PlayError> {
        let began = Instant::now();
        let screen = std::io::stdout().is_terminal() && !self.json;
        let mut redraw = tokio::time::interval(if screen { REDRAW } else { Duration::from_secs(1) });
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        redraw.reset();
        let end = self.seconds.map(|seconds| began + Duration::from_secs(seconds.into()));
        let mut interrupts = std::pin::pin!(tokio::signal::ctrl_c());
        let mut recent = VecDeque::from([(began, 0)]);
        let mut outcome = Ok(());
        loop {
            tokio::select! {
                event = pilot.next() => match event {
                    Some(Event::Closed(Closed::Left)) | None => break,
                    Some(Event::Closed(why)) => {
                        outcome = Err(PlayError(why.to_string()));
                        break;
                    }
                    Some(_) => {}
                },
                Some(bot) = bots.players.join_next() => bots.handle_end(bot, &mut pilot),
                _ = &mut interrupts => break,
                () = until(end) => break,
                _ = redraw.tick() => {
                    recent.push_back((Instant::now(), pilot.stats().snapshots));
                    if recent.len() > RATE_WINDOW {
                        recent.pop_front();
                    }
                    let figures = Figures::of(&pilot, began.elapsed(), rate(&recent), &bots);
                    let text = match (self.json, screen) {
                        (true, _) => figures.json(),
                        (_, true) => figures.screen(&pilot),
                        (_, false) => figures.log(&pilot),
                    };
                    if !put(&text) {
                        break;
                    }
                }
            }
        }
        bots.leave.cancel();
        pilot.leave().await;
        // Each says goodbye within a second; whoever does not is cut off.
        let farewell = async { while bots.players.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        let summary = Summary::of(&pilot, began.elapsed(), bots.failed);
        put(&if self.json { summary.json() } else { summary.line() });
        outcome
    }

    /// What to do about an error at the start.
    fn explain(&self, error: &ConnectError) -> PlayError {
        let nobody = match error {
            ConnectError::Unreachable { .. } => true,
            ConnectError::NoTicket(why) => why.contains("cannot reach"),
            _ => false,
        };
        if nobody && Target::parse(&self.url).is_ok_and(|target| target.is_loopback()) {
            let (url, serve) = (&self.url, "muster serve --dev (from the sources: cargo run --release -- serve --dev)");
            return PlayError(format!("no server answers at {url}; start one with: {serve}"));
        }
        if matches!(error, ConnectError::Timeout { .. }) && self.transport == Some(TransportName::Webtransport) {
            return PlayError(format!("{error}; over WebSocket it may work: leave --transport away"));
        }
        PlayError(error.to_string())
    }
}

/// The players that nobody watches.
#[derive(Debug, Default)]
struct Bots {
    players: JoinSet<Result<(), String>>,
    leave: CancellationToken,
    failed: usize,
}

impl Bots {
    /// One has ended: the first that failed says why.
    fn handle_end(&mut self, end: Result<Result<(), String>, tokio::task::JoinError>, pilot: &mut Pilot) {
        let why = match end {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        if self.failed == 0 {
            // Nobody may be reading.
            let _ = writeln!(std::io::stderr(), "muster: a bot gave up: {why}");
        }
        self.failed += 1;
        pilot.note = format!("a bot gave up: {why}");
    }
}

async fn fly_bot(connector: Connector, after: Duration, leave: CancellationToken) -> Result<(), String> {
    let arriving = async {
        tokio::time::sleep(after).await;
        connector.connect_engine().await
    };
    let engine = tokio::select! {
        engine = arriving => engine.map_err(|error| error.to_string())?,
        () = leave.cancelled() => return Ok(()),
    };
    let mut pilot = Pilot::new(engine);
    loop {
        tokio::select! {
            event = pilot.next() => match event {
                Some(Event::Closed(Closed::Left)) | None => return Ok(()),
                Some(Event::Closed(why)) => return Err(why.to_string()),
                Some(_) => {}
            },
            () = leave.cancelled() => {
                pilot.leave().await;
                return Ok(());
            }
        }
    }
}

/// Snapshots per second over the last few looks.
fn rate(recent: &VecDeque<(Instant, u64)>) -> f64 {
    let (Some((from, first)), Some((to, last))) = (recent.front(), recent.back()) else {
        return 0.0;
    };
    let seconds = to.saturating_duration_since(*from).as_secs_f64();
    if seconds > 0.0 { last.saturating_sub(*first) as f64 / seconds } else { 0.0 }
}

/// Waits for a moment, or for ever.
async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Writes to standard output; `false` when nobody reads any more, as after `| head`.
fn put(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Splits the URL of tickets into where to ask and for what.
fn ticket_target(url: &str) -> Result<(Target, String), PlayError> {
    let bad = || PlayError(format!("--ticket-url {url:?}: expected http://HOST:PORT/PATH"));
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let target = Target::parse(&format!("http://{authority}")).map_err(|_| bad())?;
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if plain { Ok((target, if path.is_empty() { "/".into() } else { path.into() })) } else { Err(bad()) }
}

/// A ticket alone, or JSON with one in `ticket`.
fn read_ticket(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Told {
        ticket: String,
    }
    if let Ok(told) = serde_json::from_slice::<Told>(body) {
        return Some(told.ticket);
    }
    let text = std::str::from_utf8(body).ok()?.trim();
    (text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A number that nobody has to be unable to guess.
fn random() -> u64 {
    getrandom::u64().unwrap_or(1)
}

/// Bots arrive one after the other, slower than the rate at which a server takes links from one address.
const BOT_GAP: Duration = Duration::from_millis(25);
/// How long bots may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the screen is redrawn.
const REDRAW: Duration = Duration::from_millis(200);
/// Looks over which the rate is taken.
const RATE_WINDOW: usize = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        play: PlayArgs,
    }

    fn parse(flags: &str) -> Result<PlayArgs, clap::Error> {
        let flags = std::iter::once("play").chain(flags.split_whitespace());
        Command::try_parse_from(flags).map(|command| command.play)
    }

    #[test]
    fn the_flags_of_the_manual_are_taken() {
        let play = parse("").unwrap();
        assert_eq!((play.url.as_str(), play.join.to_string()), ("muster://127.0.0.1:7777", "quick:arena".into()));
        let play = parse("--transport websocket --join code:ABCDEF --bots 20 --seconds 30 --json --name Ada").unwrap();
        assert_eq!(play.transport, Some(TransportName::Websocket));
        assert_eq!((play.bots, play.seconds, play.json), (20, Some(30), true));
        assert!(parse("--prefer websocket").is_ok());
        for bad in ["--transport tcp", "--join arena", "--seconds 0", "--transport websocket --prefer websocket"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ticket_is_read_from_json_or_plain() {
        assert_eq!(read_ticket(br#"{"ticket":"a.b.c","sub":"x"}"#), Some("a.b.c".into()));
        assert_eq!(read_ticket(b"a.b.c\n"), Some("a.b.c".into()));
        assert_eq!(read_ticket(b"<html>"), None);
        assert_eq!(read_ticket(b""), None);
    }

    #[test]
    fn the_place_of_tickets_is_a_plain_http_url() {
        let (target, path) = ticket_target("http://127.0.0.1:7777/dev/ticket?game=arena").unwrap();
        assert_eq!((target.authority().as_str(), path.as_str()), ("127.0.0.1:7777", "/dev/ticket?game=arena"));
        for bad in ["127.0.0.1", "https://a/b", "http://a/b c", "http:///x"] {
            assert!(ticket_target(bad).is_err(), "{bad}");
        }
        assert_eq!(percent_encoded("Ä b&c"), "%C3%84%20b%26c");
    }

    #[tokio::test]
    async fn without_a_server_one_line_says_how_to_start_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let flags = format!("--url muster://{address} --ticket-url http://{address}/dev/ticket");
        let error = parse(&flags).unwrap().run().await.unwrap_err().to_string();
        assert!(error.contains("muster serve --dev") && !error.contains('\n'), "{error}");
        let error = parse("--ticket a.b.c --bots 2").unwrap().run().await.unwrap_err().to_string();
        assert!(error.contains("ticket each"), "{error}");
    }
}
