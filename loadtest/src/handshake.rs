//! What a handshake costs the server: from nothing to a seat, one after the other and 64 at once, beside a bare server
//! that checks a token and sends a byte.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fault::Fault;
use crate::figures::Quantiles;
use crate::frames::{self, BINARY};
use crate::load::{Crowd, Plan, WebTransportDoor, micros, record};
use crate::options::{Options, Subject};
use crate::progress::Progress;
use crate::target::Target;
use crate::{clock, machine};

/// One subject, measured once.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Handshakes {
    /// Which.
    pub subject: &'static str,
    /// One after the other: from the first packet to the seat.
    pub alone_us: Quantiles,
    /// The server's processor time of each, one after the other, in microseconds.
    pub cpu_alone_us: f64,
    /// The same, 64 at once.
    pub cpu_crowded_us: f64,
    /// How many were done a second, 64 at once.
    pub per_second: f64,
    /// How many failed.
    pub failed: u64,
}

/// Measures a subject once.
///
/// # Errors
/// [`Fault`]: no server, no tickets, or not one handshake that succeeds.
pub fn measure(options: &Options, subject: Subject, progress: &Progress) -> Result<Handshakes, Fault> {
    let (alone, crowded) = (options.handshakes as usize, options.handshakes as usize * 4);
    machine::allow_files(512)?;
    let target = Target::open(options, subject, alone + crowded)?;
    let process = target.process().ok_or_else(|| Fault::Options("handshakes are measured with --spawn".into()))?;
    let plan = match target.crowds(options, subject, 1)?.pop() {
        Some(Crowd::WebSocket(plan) | Crowd::WebTransport(plan) | Crowd::Datagrams(plan)) => plan,
        None => return Err(Fault::Options("nothing to measure".into())),
    };
    let core = options.load_core;
    let player = std::thread::spawn({
        let progress = progress.clone();
        move || -> Result<Handshakes, Fault> {
            machine::pin(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Fault::local("a runtime", error))?;
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let door = Arc::new(Door::new(plan, subject)?);
                // The first ones fill caches and make lobbies.
                for number in 0..20 {
                    door.pass(number).await.map_err(|why| Fault::local("a handshake", why))?;
                }
                let mut times = micros();
                let mut failed = 0;
                settle().await;
                let before = process.cpu_seconds();
                for number in 0..alone as u64 {
                    progress.arriving(number, alone as u64, failed);
                    let start = clock::now_us();
                    match door.pass(1_000 + number).await {
                        Ok(()) => record(&mut times, clock::now_us() - start),
                        Err(_) => failed += 1,
                    }
                }
                settle().await;
                let cpu_alone_us = (process.cpu_seconds() - before) / alone as f64 * 1e6;
                let before = process.cpu_seconds();
                let start = clock::now_us();
                failed += door.crowd(crowded).await;
                let seconds = (clock::now_us() - start) as f64 / 1e6;
                settle().await;
                let cpu_crowded_us = (process.cpu_seconds() - before) / crowded as f64 * 1e6;
                let per_second = crowded as f64 / seconds;
                let alone_us = Quantiles::from(&times);
                Ok(Handshakes { subject: subject.name(), alone_us, cpu_alone_us, cpu_crowded_us, per_second, failed })
            })
        }
    });
    player.join().unwrap_or_else(|_| Err(Fault::local("the handshakes", "their thread panicked")))
}

/// Lets the server finish with those who have left. Not for longer: what ticks on meanwhile is no handshake.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

struct Door {
    plan: Plan,
    tls: Option<TlsConnector>,
    webtransport: Option<WebTransportDoor>,
    bare: bool,
}

impl Door {
    fn new(plan: Plan, subject: Subject) -> Result<Self, Fault> {
        let webtransport = match subject {
            Subject::Webtransport => Some(WebTransportDoor::new(&plan)?),
            _ => None,
        };
        let bare = matches!(subject, Subject::Bare | Subject::BareTls);
        Ok(Self { tls: plan.tls.clone().map(TlsConnector::from), webtransport, bare, plan })
    }

    /// 64 at once; returns how many failed.
    async fn crowd(self: &Arc<Self>, count: usize) -> u64 {
        let mut lanes = tokio::task::JoinSet::new();
        for lane in 0..LANES {
            let door = Arc::clone(self);
            lanes.spawn_local(async move {
                let mut failed = 0;
                for number in (lane..count).step_by(LANES) {
                    failed += u64::from(door.pass(100_000 + number as u64).await.is_err());
                }
                failed
            });
        }
        lanes.join_all().await.into_iter().sum()
    }

    /// In, up to the seat, and out again.
    async fn pass(&self, number: u64) -> Result<(), String> {
        tokio::time::timeout(PATIENCE, self.enter(number)).await.map_err(|_| "no answer in time".to_owned())?
    }

    async fn enter(&self, number: u64) -> Result<(), String> {
        let ticket = self.plan.mint.ticket(number);
        if let Some(door) = &self.webtransport {
            return door.pass(&self.plan, ticket).await;
        }
        let stream = TcpStream::connect(self.plan.address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else { return self.upgrade(stream, &ticket).await };
        let name = ServerName::IpAddress(self.plan.address.ip().into());
        let stream = tls.connect(name, stream).await.map_err(|error| error.to_string())?;
        self.upgrade(stream, &ticket).await
    }

    async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, ticket: &str) -> Result<(), String> {
        let Plan { path, authority, .. } = &self.plan;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bXVzdGVyIGxvYWQgdGVzdA==\r\n\
             Sec-WebSocket-Protocol: muster.1\r\nAuthorization: Bearer {ticket}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut read = Vec::with_capacity(4_096);
        loop {
            if stream.read_buf(&mut read).await.map_err(|error| error.to_string())? == 0 {
                return Err("the server hung up".into());
            }
            let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            if !read.starts_with(b"HTTP/1.1 101") {
                return Err("refused".into());
            }
            let mut rest = read.get(end + 4..).unwrap_or_default();
            while let Some(frame) = frames::first_frame(rest) {
                let seated = self.bare || frame.payload.first() == Some(&frames::SEATED);
                if frame.opcode == BINARY && seated {
                    return Ok(());
                }
                rest = rest.get(frame.length..).unwrap_or_default();
            }
        }
    }
}

const LANES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
