//! What the players go to: a server that the tester starts, or one that is there.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muster::ticket::Algorithm;
use muster::wire::PLAY_PATH;

use crate::child::{Ready, Running};
use crate::fault::Fault;
use crate::load::revoke::{Admin, Pace};
use crate::load::{Behaviour, Crowd, Plan};
use crate::machine::Process;
use crate::options::{Options, Scenario, Subject, TicketKind};
use crate::serve::REVOCATIONS;
use crate::tickets::{KeyFile, Mint};
use crate::{game, http, tls};

/// A server, and how to get in.
pub struct Target {
    child: Option<Running>,
    /// Where it listens.
    pub address: SocketAddr,
    authority: String,
    certificate: Option<[u8; 32]>,
    game: String,
    mint: Arc<Mint>,
    admin: Option<Admin>,
    /// Files live as long as the server that reads and writes them.
    _files: Vec<KeyFile>,
}

impl Target {
    /// Starts a server for a subject, or finds the one that was named.
    ///
    /// # Errors
    /// [`Fault`]: it does not start, does not answer, or hands out no tickets.
    pub fn open(options: &Options, subject: Subject, players: usize) -> Result<Self, Fault> {
        match &options.url {
            Some(url) => Self::find(options, url, players),
            None => Self::start(options, subject),
        }
    }

    fn start(options: &Options, subject: Subject) -> Result<Self, Fault> {
        let (mint, key) = Mint::fresh(algorithm(match subject {
            // It knows no other.
            Subject::Bare | Subject::BareTls => TicketKind::Hs256,
            _ => options.tickets,
        }))?;
        let role = match subject {
            Subject::FloorWebsocket => "floor-websocket",
            Subject::FloorWebtransport => "floor-webtransport",
            Subject::Bare => "bare",
            Subject::BareTls => "bare-tls",
            _ => "serve",
        };
        let mut arguments: Vec<String> = vec![
            role.into(),
            format!("--state-bytes={}", options.state_bytes),
            format!("--per-session={}", options.per_session),
            format!("--tick={}", options.tick),
            format!("--core={}", options.server_core),
        ];
        if !subject.is_floor() {
            arguments.push(format!("--keys={}", key.0.display()));
        }
        let mut files = vec![key];
        let mut token = None;
        if role == "serve" && options.scenario() == Scenario::Revoke {
            let (text, file) = mint.admin_token()?;
            arguments.push(format!("--admin-token={}", file.0.display()));
            token = Some(text);
            files.extend(REVOCATIONS.map(|extension| KeyFile(file.0.with_extension(extension))));
            files.push(file);
        }
        let child = Running::start(if subject.is_floor() { "floor" } else { "server" }, &arguments)?;
        let Ready { address, certificate, admin: child_admin } = child.ready;
        Ok(Self {
            child: Some(child),
            address,
            authority: address.to_string(),
            certificate,
            game: game::NAME.into(),
            mint: Arc::new(mint),
            admin: child_admin.zip(token).map(|(address, token)| Admin { address, token }),
            _files: files,
        })
    }

    fn find(options: &Options, url: &str, players: usize) -> Result<Self, Fault> {
        let target = muster::client::Target::parse(url).map_err(|error| Fault::Options(error.to_string()))?;
        let unreachable = |why: String| Fault::Unreachable { address: target.authority(), why };
        let address = (target.host.as_str(), target.port)
            .to_socket_addrs()
            .map_err(|error| unreachable(error.to_string()))?
            .next()
            .ok_or_else(|| unreachable("no such host".into()))?;
        std::net::TcpStream::connect_timeout(&address, WAIT).map_err(|error| unreachable(error.to_string()))?;
        let certificate = target.is_loopback().then(|| certificate_hash(address)).flatten();
        let mint = match &options.key {
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| Fault::local(path.display().to_string(), error))?;
                Mint::from_text(&text)?
            }
            None => Mint::from_dev_server(address, players)?,
        };
        Ok(Self {
            child: None,
            address,
            authority: target.authority(),
            certificate,
            game: options.game.clone(),
            mint: Arc::new(mint),
            admin: None,
            _files: Vec::new(),
        })
    }

    /// The process that is measured, where it is the tester's own child.
    pub fn process(&self) -> Option<Process> {
        self.child.as_ref().map(Running::process)
    }

    /// Whether a child still lives.
    ///
    /// # Errors
    /// [`Fault::ChildDied`].
    pub fn check(&mut self) -> Result<(), Fault> {
        self.child.as_mut().map_or(Ok(()), Running::check)
    }

    /// Whether a server that is not the tester's own still answers.
    ///
    /// # Errors
    /// [`Fault::Gone`].
    pub fn probe(&self) -> Result<(), Fault> {
        if self.child.is_some() {
            return Ok(());
        }
        let gone = |error: std::io::Error| Fault::Gone { address: self.authority.clone(), why: error.to_string() };
        std::net::TcpStream::connect_timeout(&self.address, WAIT).map(drop).map_err(gone)
    }

    /// What the players are to do, transport by transport.
    ///
    /// # Errors
    /// [`Fault`] when there is no TLS to be had.
    pub fn crowds(&self, options: &Options, subject: Subject, players: usize) -> Result<Vec<Crowd>, Fault> {
        let tls = match subject {
            Subject::WebsocketTls | Subject::BareTls => Some(Arc::new(tls::client(self.certificate, b"http/1.1")?)),
            _ => None,
        };
        let behaviour = match options.scenario() {
            Scenario::Storm => Behaviour::Storm,
            Scenario::SlowReaders => Behaviour::Slow(10),
            Scenario::Forged => Behaviour::Forged(stay_us(options.window())),
            Scenario::Churn => Behaviour::Churn(stay_us(options.window())),
            Scenario::Revoke => Behaviour::Revoke(pace(options)),
            Scenario::Steady | Scenario::Ramp | Scenario::Handshake | Scenario::Figures => Behaviour::Steady,
        };
        let whole = Plan {
            address: self.address,
            authority: self.authority.clone(),
            path: format!("{PLAY_PATH}?join=quick:{}", self.game),
            tls,
            certificate: self.certificate,
            game: self.game.clone(),
            mint: Arc::clone(&self.mint),
            admin: self.admin.clone(),
            first: 0,
            stride: 1,
            players,
            ramp: options.arrivals_per_second(),
            input_rate: options.inputs_per_second(),
            tick: options.tick,
            behaviour: if subject.is_floor() { Behaviour::Steady } else { behaviour },
        };
        Ok(match subject {
            Subject::Websocket | Subject::WebsocketTls | Subject::FloorWebsocket | Subject::Bare | Subject::BareTls => {
                vec![Crowd::WebSocket(whole)]
            }
            Subject::Webtransport => vec![Crowd::WebTransport(whole)],
            Subject::FloorWebtransport => vec![Crowd::Datagrams(whole)],
            Subject::Mix => {
                let mut half = Plan { stride: 2, ramp: whole.ramp / 2.0, ..whole };
                if let Behaviour::Revoke(pace) = &mut half.behaviour {
                    pace.every_us *= 2;
                }
                let over_websocket = Plan { players: players.div_ceil(2), ..half.clone() };
                let over_webtransport = Plan { first: 1, players: players / 2, ..half };
                vec![Crowd::WebSocket(over_websocket), Crowd::WebTransport(over_webtransport)]
            }
        })
    }
}

/// How long players stay in a churn: ten seconds, or half of a short window, so that some leave within it.
fn stay_us(window: Duration) -> u64 {
    (window / 2).min(Duration::from_secs(10)).as_micros() as u64
}

/// How tickets are taken back: nobody's in the last second, or the last half of a short window, so that everybody can
/// be told within it.
fn pace(options: &Options) -> Pace {
    let window = options.window();
    let rest = (window / 2).min(Duration::from_secs(1));
    Pace {
        every_us: 1_000_000 / u64::from(options.revocations),
        for_us: window.saturating_sub(rest).as_micros() as u64,
    }
}

/// The hash that a development server tells of its certificate.
fn certificate_hash(address: SocketAddr) -> Option<[u8; 32]> {
    let answer = http::get(address, "/v1/certificate-hash")?;
    let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
    STANDARD.decode(answer.get("value")?.as_str()?).ok()?.try_into().ok()
}

fn algorithm(kind: TicketKind) -> Algorithm {
    match kind {
        TicketKind::Hs256 => Algorithm::Hs256,
        TicketKind::Eddsa => Algorithm::EdDsa,
        TicketKind::Es256 => Algorithm::Es256,
        TicketKind::Rs256 => Algorithm::Rs256,
    }
}

/// How long a server may take to accept a connection.
const WAIT: Duration = Duration::from_secs(3);
