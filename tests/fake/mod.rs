//! A server that says what a test tells it to, on real sockets: WebSocket and WebTransport on one port.
//!
//! It speaks through the crate's `wire` and knows nothing else of the client it is there to test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use muster::codec;
use muster::ids::*;
use muster::wire::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wtransport::{Endpoint, Identity, ServerConfig};

/// What the server answers to a WebSocket request: a link, or a refusal.
pub type Gate = fn(attempt: usize) -> Option<(u16, &'static str)>;

pub struct FakeServer {
    pub address: SocketAddr,
    pub hash: [u8; 32],
    /// The certificate, as an authority's PEM.
    pub certificate: String,
    pub links: mpsc::Receiver<FakeLink>,
}

/// One link of a client, in the hands of the test. Dropping it cuts the connection.
pub struct FakeLink {
    pub transport: &'static str,
    pub path: String,
    pub headers: HashMap<String, String>,
    to_client: mpsc::Sender<Out>,
    from_client: mpsc::Receiver<ClientMessage>,
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

enum Out {
    Control(Vec<u8>),
    Datagrams(Vec<Bytes>),
}

impl FakeServer {
    /// Both transports.
    pub async fn start() -> Self {
        Self::with(|_| None, true, false).await
    }

    /// WebSocket over TLS, and WebTransport.
    pub async fn with_tls() -> Self {
        Self::with(|_| None, true, true).await
    }

    /// WebSocket alone: nothing answers on UDP, as behind a firewall.
    pub async fn without_udp() -> Self {
        Self::with(|_| None, false, false).await
    }

    pub async fn with(gate: Gate, udp: bool, tls: bool) -> Self {
        let identity = Identity::self_signed(["localhost", "127.0.0.1"]).unwrap();
        let certificate = identity.certificate_chain().as_slice()[0].to_pem();
        let tls = tls.then(|| {
            let mut config = wtransport::tls::server::build_default_tls_config(identity.clone_identity());
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config))
        });
        let hash = *identity.certificate_chain().as_slice()[0].hash().as_ref();
        // A port that is free for both.
        let (tcp, quic) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            if !udp {
                break (tcp, None);
            }
            let config = ServerConfig::builder().with_bind_address(address).with_identity(identity.clone_identity());
            if let Ok(quic) = Endpoint::server(config.build()) {
                break (tcp, Some(quic));
            }
        };
        let address = tcp.local_addr().unwrap();
        let (found, links) = mpsc::channel(64);
        if let Some(quic) = quic {
            let found = found.clone();
            tokio::spawn(async move {
                loop {
                    let incoming = quic.accept().await;
                    tokio::spawn(serve_webtransport(incoming, found.clone()));
                }
            });
        }
        tokio::spawn(async move {
            let mut attempt = 0;
            loop {
                let (stream, _) = tcp.accept().await.unwrap();
                let found = found.clone();
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let found = found.clone();
                    async move { Ok::<_, std::convert::Infallible>(answer(request, gate, attempt, hash, found)) }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(stream),
                        // A client that does not believe the certificate hangs up.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok();
                });
                attempt += 1;
            }
        });
        Self { address, hash, certificate, links }
    }

    pub fn url(&self) -> String {
        format!("muster://{}", self.address)
    }

    /// The next link that a client opens.
    pub async fn link(&mut self) -> FakeLink {
        let wait = tokio::time::timeout(Duration::from_secs(10), self.links.recv());
        wait.await.expect("a link within 10 s").unwrap()
    }
}

fn answer(
    mut request: Request<Incoming>,
    gate: Gate,
    attempt: usize,
    hash: [u8; 32],
    found: mpsc::Sender<FakeLink>,
) -> Response<Full<Bytes>> {
    if request.uri().path() == "/v1/certificate-hash" {
        let body = format!(r#"{{"algorithm":"sha-256","value":"{}"}}"#, STANDARD.encode(hash));
        return Response::new(Full::from(body));
    }
    if request.uri().path() == "/dev/ticket" {
        let sub = request.uri().query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("sub=")));
        let body = format!(r#"{{"ticket":"ticket.for.{}","sub":"x","expires_at":1}}"#, sub.unwrap_or_default());
        return Response::new(Full::from(body));
    }
    assert_eq!(request.uri().path(), PLAY_PATH);
    if let Some((status, body)) = gate(attempt) {
        return Response::builder().status(status).body(Full::from(body)).unwrap();
    }
    let path = request.uri().to_string();
    let mut headers = HashMap::new();
    for name in [AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL] {
        if let Some(value) = request.headers().get(&name) {
            headers.insert(name.to_string(), value.to_str().unwrap().to_owned());
        }
    }
    let (response, upgrade) = fastwebsockets::upgrade::upgrade(&mut request).unwrap();
    tokio::spawn(async move {
        let stream = upgrade.await.unwrap().into_inner();
        let (mut read, mut write) = tokio::io::split(stream);
        let (to_client, mut outgoing) = mpsc::channel::<Out>(64);
        let (incoming, from_client) = mpsc::channel(64);
        found.send(FakeLink { transport: "websocket", path, headers, to_client, from_client }).await.ok();
        tokio::select! {
            () = async {
                while let Some(Out::Control(message)) = outgoing.recv().await {
                    if write.write_all(&frame(&message)).await.is_err() { break }
                }
            } => {}
            () = async {
                while let Some(message) = read_masked(&mut read).await {
                    if incoming.send(client_message(&message)).await.is_err() { break }
                }
            } => {}
        }
        // Both halves are dropped here: the client sees the connection end.
    });
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOL.parse().unwrap());
    Response::from_parts(parts, Full::default())
}

/// An unmasked binary frame, as servers send it.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a test sends less than 64 KiB in one frame");
    let mut frame = vec![0x82, 126];
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame
}

/// One masked binary frame; `None` at a close frame and at the end.
async fn read_masked(read: &mut (impl AsyncReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    read.read_exact(&mut head).await.ok()?;
    assert_eq!(head[1] & 0x80, 0x80, "clients mask");
    let length = match head[1] & 0x7F {
        126 => usize::from(read.read_u16().await.ok()?),
        127 => panic!("a client sends no frame of 64 KiB"),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    read.read_exact(&mut mask).await.ok()?;
    let mut payload = vec![0; length];
    read.read_exact(&mut payload).await.ok()?;
    payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i % 4]);
    (head[0] == 0x82).then_some(payload)
}

fn client_message(bytes: &[u8]) -> ClientMessage {
    codec::decode(bytes).unwrap()
}

async fn serve_webtransport(incoming: wtransport::endpoint::IncomingSession, found: mpsc::Sender<FakeLink>) {
    let Ok(request) = incoming.await else { return };
    let (path, headers) = (request.path().to_owned(), request.headers().clone());
    let connection = request.accept().await.unwrap();
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
    let (to_client, mut outgoing) = mpsc::channel::<Out>(64);
    let (incoming, from_client) = mpsc::channel(64);
    found.send(FakeLink { transport: "webtransport", path, headers, to_client, from_client }).await.ok();
    let mut reader = ControlReader::new(4_096);
    loop {
        while let Some(message) = reader.poll_message().unwrap() {
            incoming.send(client_message(&message)).await.ok();
        }
        let mut buffer = [0; 1_024];
        tokio::select! {
            out = outgoing.recv() => match out {
                Some(Out::Control(message)) => {
                    let mut framed = Vec::new();
                    put_control(&message, &mut framed);
                    if send.write_all(&framed).await.is_err() { break }
                }
                Some(Out::Datagrams(datagrams)) => {
                    datagrams.iter().for_each(|datagram| connection.send_datagram(datagram).unwrap());
                }
                None => break,
            },
            length = receive.read(&mut buffer) => match length {
                Ok(Some(length)) => reader.handle_bytes(&buffer[..length]),
                _ => break,
            },
            datagram = connection.receive_datagram() => match datagram {
                Ok(datagram) => {
                    assert_eq!(datagram[0], 0);
                    incoming.send(client_message(&datagram[1..])).await.ok();
                }
                Err(_) => break,
            },
        }
    }
    connection.close(0_u32.into(), b"");
}

impl FakeLink {
    /// The ticket, wherever it came; the resume point; the wish.
    pub async fn admit(&mut self) -> (String, Option<ResumePoint>, String) {
        if self.transport == "webtransport" {
            return match self.receive().await {
                ClientMessage::Hello { ticket, join, resume } => (ticket, resume, join),
                other => panic!("not Hello but {other:?}"),
            };
        }
        let ticket = self.headers.get("authorization").map(|value| value.strip_prefix("Bearer ").unwrap().to_owned());
        let offered = &self.headers["sec-websocket-protocol"];
        let resume = offered.split_once("resume.").map(|(_, point)| {
            let (token, received) = point.split_once('.').unwrap();
            let token = URL_SAFE_NO_PAD.decode(token).unwrap().try_into().unwrap();
            ResumePoint { token: ResumeToken(token), received: received.parse().unwrap() }
        });
        assert!(offered.starts_with(PROTOCOL));
        let join = self.path.split_once("join=").map(|(_, wish)| wish.to_owned());
        (ticket.unwrap_or_default(), resume, join.unwrap_or_default())
    }

    /// Admits and welcomes, as for a new arrival; returns the ticket.
    pub async fn welcome(&mut self) -> String {
        let (ticket, resume, _) = self.admit().await;
        assert_eq!(resume, None);
        self.send(&ServerMessage::Welcome(welcome(ResumeOutcome::Arrived, 0, 0, 1))).await;
        ticket
    }

    pub async fn send(&self, message: &ServerMessage) {
        self.to_client.send(Out::Control(codec::encode(message))).await.expect("the link is up");
    }

    /// As the server does: in a datagram where there are any.
    pub async fn send_snapshot(&self, tick: u32, applied: u32, state: &[u8]) {
        let applied = [(SeatId(2), InputSeq(applied))];
        let frames = SnapshotFrames::new(TAG, Tick(tick), 0, applied.into_iter(), state);
        let out = match frames.datagrams(&[]) {
            Some(datagrams) if self.transport == "webtransport" => Out::Datagrams(datagrams),
            _ => Out::Control(frames.body().to_vec()),
        };
        self.to_client.send(out).await.expect("the link is up");
    }

    /// The next message of the client.
    pub async fn receive(&mut self) -> ClientMessage {
        let wait = tokio::time::timeout(Duration::from_secs(10), self.from_client.recv());
        wait.await.expect("a message within 10 s").expect("the link is up")
    }

    /// The next message, or `None` once the client has hung up.
    pub async fn try_receive(&mut self) -> Option<ClientMessage> {
        let wait = tokio::time::timeout(Duration::from_secs(10), self.from_client.recv());
        wait.await.expect("the client hangs up within 10 s")
    }

    /// The next message that is no Ping; Pings are answered.
    pub async fn receive_other(&mut self) -> ClientMessage {
        loop {
            match self.receive().await {
                ClientMessage::Ping { nonce, .. } => {
                    self.send(&ServerMessage::Pong { nonce, server_time_us: 1_000_000 }).await;
                }
                other => return other,
            }
        }
    }

    /// The next request.
    pub async fn receive_request(&mut self) -> (u32, muster::wire::Request) {
        match self.receive_other().await {
            ClientMessage::Request { id, body } => (id, body),
            other => panic!("not a request but {other:?}"),
        }
    }
}

pub const TAG: SessionTag = SessionTag(5);

pub fn welcome(outcome: ResumeOutcome, counted: u64, last_request: u32, token: u8) -> Welcome {
    Welcome {
        player: PlayerId::new("ada").unwrap(),
        name: "Ada".into(),
        resume: ResumeToken([token; 32]),
        outcome,
        counted,
        last_request,
        server_time_us: 1_000_000,
        heartbeat_ms: 5_000,
        grace_ms: 15_000,
        max_message: 4_096,
    }
}

pub fn seated() -> ServerMessage {
    ServerMessage::Seated(Seated {
        session: SessionId(1),
        tag: TAG,
        lobby: LobbyId(1),
        game: GameName::new("arena").unwrap(),
        seat: Some(SeatId(2)),
        tick_hz: 20,
        settings: vec![],
        last_input: InputSeq(0),
    })
}

pub fn chat(text: &str) -> ServerMessage {
    let player = PlayerId::new("bob").unwrap();
    ServerMessage::Chat(ChatLine { player, name: "Bob".into(), text: text.into() })
}

pub fn goodbye(code: Code, retry_after_ms: Option<u32>) -> ServerMessage {
    ServerMessage::Goodbye(Goodbye { code: code.number(), reason: code.slug().into(), retry_after_ms })
}
