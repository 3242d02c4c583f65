//! WebTransport over real sockets: wtransport's client, and a bare HTTP/3 one for what wtransport would never send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use muster::admission::{Admission, goodbye};
use muster::codec;
use muster::ids::{InputSeq, SessionTag, Tick};
use muster::limits::Limits;
use muster::outbox::{Offered, Outlet, QueueFull, Transport};
use muster::transport::webtransport::{Handle, Listener};
use muster::wire::{
    Assembler, ClientMessage, Code, ControlReader, Goodbye, Input, Inputs, ServerMessage, Snapshot, SnapshotFrames,
    put_control,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wtransport::endpoint::ConnectOptions;
use wtransport::error::{ConnectingError, ConnectionError};
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, Identity, RecvStream, SendStream};

const SOON: Duration = Duration::from_secs(5);

struct World {
    admission: Admission,
    handle: Handle,
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
    hash: Sha256Digest,
    certificate: rustls::pki_types::CertificateDer<'static>,
}

fn tls(identity: &Identity) -> rustls::ServerConfig {
    wtransport::tls::server::build_default_tls_config(identity.clone_identity())
}

fn identity() -> Identity {
    Identity::self_signed(["localhost", "127.0.0.1"]).unwrap()
}

fn world_with(limits: Limits, flooded: bool) -> World {
    let identity = identity();
    let certificate = &identity.certificate_chain().as_slice()[0];
    let (hash, certificate) = (certificate.hash(), certificate.der().to_vec().into());
    let admission = Admission::stand_in(limits.clone(), flooded);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 1 << 20, tls(&identity), &limits).unwrap();
    let handle = listener.handle();
    let address = handle.local_addr().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(listener.run(admission.clone(), stop.clone()));
    World { admission, handle, address, stop, running, hash, certificate }
}

fn world() -> World {
    world_with(Limits::default(), false)
}

fn quick() -> Limits {
    Limits { first_message: Duration::from_millis(300), handshake: Duration::from_millis(300), ..Limits::default() }
}

fn client(hash: Sha256Digest) -> Endpoint<wtransport::endpoint::endpoint_side::Client> {
    let config = ClientConfig::builder().with_bind_default().with_server_certificate_hashes([hash]).build();
    Endpoint::client(config).unwrap()
}

struct Player {
    link: Connection,
    send: SendStream,
    recv: RecvStream,
    reader: ControlReader,
}

impl World {
    async fn connect(&self, target: &str) -> Result<Connection, ConnectingError> {
        let url = format!("https://127.0.0.1:{}{target}", self.address.port());
        timeout(SOON, client(self.hash.clone()).connect(url)).await.unwrap()
    }

    async fn player(&self, target: &str) -> Player {
        Player::over(self.connect(target).await.unwrap()).await
    }

    /// A player that has been let in, and the server's way out to it.
    async fn admitted(&self) -> (Player, Arc<dyn Outlet>) {
        let mut player = self.player("/v1/play?ticket=good").await;
        assert_eq!(player.message().await, Some(ServerMessage::Pong { nonce: 0, server_time_us: 0 }));
        (player, self.admission.outlets().pop().unwrap())
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never happened: {what}"));
    }

    async fn nothing_is_left(&self) {
        self.until("nothing is left", |world| world.handle.open_connections() == 0).await;
        let (pending, attached, _) = self.admission.counts();
        assert_eq!((pending, attached), (0, 0));
    }
}

impl Player {
    async fn over(link: Connection) -> Self {
        let (send, recv) = link.open_bi().await.unwrap().await.unwrap();
        Self { link, send, recv, reader: ControlReader::new(1 << 20) }
    }

    async fn say(&mut self, message: &ClientMessage) {
        let mut out = Vec::new();
        put_control(&codec::encode(message), &mut out);
        self.send.write_all(&out).await.unwrap();
    }

    /// The next message; `None` at the end of the stream.
    async fn message(&mut self) -> Option<ServerMessage> {
        let reading = async {
            let mut buffer = [0; 4096];
            loop {
                if let Some(message) = self.reader.poll_message().unwrap() {
                    return Some(codec::decode(&message).unwrap());
                }
                match self.recv.read(&mut buffer).await {
                    Ok(Some(read)) => self.reader.handle_bytes(&buffer[..read]),
                    _ => return None,
                }
            }
        };
        timeout(SOON, reading).await.expect("a message or the end")
    }

    /// Expects Goodbye with this code, and then the close with the same.
    async fn is_told(&mut self, code: Code) -> Goodbye {
        let Some(ServerMessage::Goodbye(goodbye)) = self.message().await else { panic!("no Goodbye") };
        assert_eq!((goodbye.code, goodbye.reason.as_str()), (code.number(), code.slug()));
        self.is_closed(code.number()).await;
        goodbye
    }

    async fn is_closed(&self, number: u16) {
        match timeout(SOON, self.link.closed()).await.expect("a close") {
            ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.code().into_inner(), u64::from(number), "{close}");
            }
            other => panic!("{other}"),
        }
    }
}

fn snapshot(tick: u32, bytes: usize) -> Snapshot {
    let state = (0..bytes).map(|at| (at % 251) as u8).collect();
    Snapshot { tag: SessionTag(7), tick: Tick(tick), time_us: 1, applied: vec![], state }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_in_the_request_is_welcomed_on_the_control_stream() {
    let world = world();
    let (mut player, outlet) = world.admitted().await;
    assert_eq!(outlet.transport(), Transport::WebTransport);
    assert!(outlet.round_trip().is_some());
    player.say(&ClientMessage::Ping { nonce: 9, received: 0 }).await;
    assert_eq!(player.message().await, Some(ServerMessage::Pong { nonce: 9, server_time_us: 1 }));
    assert_eq!(world.admission.counts().0, 0, "an admitted link is not pending");
    drop(player);
    drop(outlet);
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_in_hello_is_as_good() {
    let world = world();
    let mut player = world.player("/v1/play").await;
    player.say(&ClientMessage::Hello { ticket: "good".into(), join: String::new(), resume: None }).await;
    assert!(matches!(player.message().await, Some(ServerMessage::Pong { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_snapshot_is_one_datagram_and_a_larger_one_a_few() {
    let world = world();
    let (player, outlet) = world.admitted().await;
    let mut assembler = Assembler::default();
    for (tick, bytes, datagrams) in [(1, 256, 1), (2, 3_000, 3), (3, 8_000, 8)] {
        let frames = SnapshotFrames::new(snapshot(tick, bytes));
        world.until("room for a snapshot", |_| outlet.offer_snapshot(&frames) == Offered::Sent).await;
        let mut whole = None;
        for _ in 0..datagrams {
            assert!(whole.is_none());
            let datagram = timeout(SOON, player.link.receive_datagram()).await.unwrap().unwrap();
            whole = assembler.handle_datagram(datagram.payload()).unwrap();
        }
        assert_eq!(whole, Some(frames.body()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_snapshot_goes_on_the_control_stream_and_only_the_newest_waits() {
    let world = world();
    let (mut player, outlet) = world.admitted().await;
    // More than QUIC keeps for a peer that does not read, so that the writer is stuck in one of the first.
    let offered: Vec<_> =
        (1..=200).map(|tick| outlet.offer_snapshot(&SnapshotFrames::new(snapshot(tick, 30_000)))).collect();
    assert!(offered.iter().all(|offered| matches!(offered, Offered::Waiting | Offered::Replaced)), "{offered:?}");
    assert!(offered.contains(&Offered::Replaced));
    let mut ticks = Vec::new();
    while ticks.last() != Some(&Tick(200)) {
        match player.message().await {
            Some(ServerMessage::Snapshot(got)) => {
                assert_eq!(got, snapshot(got.tick.0, 30_000));
                ticks.push(got.tick);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ticks.is_sorted() && ticks.len() < 200, "{ticks:?}");
}

/// On one thread nothing is sent before this test waits, as on a path that is slower than the ticks.
#[tokio::test]
async fn while_two_snapshots_wait_in_quic_only_the_newest_waits_behind_them() {
    let world = world();
    let (player, outlet) = world.admitted().await;
    let frames: Vec<_> = (1..=4).map(|tick| SnapshotFrames::new(snapshot(tick, 100))).collect();
    world.until("an idle link", |_| outlet.offer_snapshot(&frames[0]) == Offered::Sent).await;
    assert_eq!(player.link.receive_datagram().await.unwrap()[1..], frames[0].body());
    let offered: Vec<_> = frames.iter().map(|frames| outlet.offer_snapshot(frames)).collect();
    assert_eq!(offered, [Offered::Sent, Offered::Sent, Offered::Waiting, Offered::Replaced]);
    for frames in &frames[..2] {
        assert_eq!(player.link.receive_datagram().await.unwrap()[1..], frames.body());
    }
    player.link.send_datagram([9]).unwrap();
    let next = timeout(SOON, player.link.receive_datagram()).await.unwrap().unwrap();
    assert_eq!(next[1..], frames[3].body(), "the peer's packet made the link look again");
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_come_by_datagram_and_by_stream() {
    let world = world();
    let (mut player, _outlet) = world.admitted().await;
    let inputs = |seq| {
        let input = Input { seq: InputSeq(seq), data: vec![1; 24] };
        ClientMessage::Inputs(Inputs { seen: Tick(0), inputs: vec![input] })
    };
    for seq in 1..=20 {
        let mut datagram = vec![0];
        codec::encode_into(&inputs(seq), &mut datagram);
        player.link.send_datagram(&datagram).unwrap();
        // A kind from the future.
        player.link.send_datagram([9, 1, 2]).unwrap();
    }
    world.until("every datagram", |world| world.admission.counts().2 == 20).await;
    player.say(&inputs(21)).await;
    world.until("the stream's", |world| world.admission.counts().2 == 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_by_goodbye_and_close_code() {
    let world = world();
    let mut full = world.player("/v1/play?ticket=full").await;
    assert_eq!(full.is_told(Code::LobbyFull).await.retry_after_ms, Some(3_000));
    world.player("/v1/play?ticket=junk").await.is_told(Code::BadTicket).await;
    world.player("/v1/play?ticket=good&join=teleport:mars").await.is_told(Code::Malformed).await;
    let mut odd = world.player("/v1/play").await;
    odd.say(&ClientMessage::Bye).await;
    odd.is_told(Code::Malformed).await;
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_without_our_protocol_is_told_the_version() {
    let world = world();
    let url = format!("https://127.0.0.1:{}/v1/play?ticket=good", world.address.port());
    let offer = |list: &str| ConnectOptions::builder(&url).add_header("wt-available-protocols", list).build();
    let old = client(world.hash.clone()).connect(offer(r#""muster.9", "other""#)).await.unwrap();
    Player::over(old).await.is_told(Code::Version).await;
    let both = client(world.hash.clone()).connect(offer(r#""muster.9", "muster.1""#)).await.unwrap();
    assert!(matches!(Player::over(both).await.message().await, Some(ServerMessage::Pong { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_nothing_is_told_so_in_time() {
    let world = world_with(quick(), false);
    world.player("/v1/play").await.is_told(Code::TicketTimeout).await;
    let streamless = world.connect("/v1/play?ticket=good").await.unwrap();
    match timeout(SOON, streamless.closed()).await.unwrap() {
        ConnectionError::ApplicationClosed(close) => assert_eq!(close.code().into_inner(), 4408),
        other => panic!("{other}"),
    }
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_the_code_by_capsule_too() {
    let world = world_with(quick(), false);
    let url = format!("https://127.0.0.1:{}/v1/play", world.address.port());
    let options = ConnectOptions::builder(url).add_header("origin", "https://game.example").build();
    let browser = client(world.hash.clone()).connect(options).await.unwrap();
    match timeout(SOON, browser.accept_bi()).await.unwrap() {
        Err(ConnectionError::ApplicationClosed(close)) => assert_eq!(close.code().into_inner(), 4408),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_link_is_closed_after_the_heartbeat() {
    let world = world_with(Limits { heartbeat: Duration::from_millis(900), ..Limits::default() }, false);
    let (mut player, _outlet) = world.admitted().await;
    player.is_told(Code::HeartbeatLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_and_long_messages_close_with_their_codes() {
    let world = world();
    let (mut junk, _) = world.admitted().await;
    let mut framed = Vec::new();
    put_control(&[200, 1, 2, 3], &mut framed);
    junk.send.write_all(&framed).await.unwrap();
    junk.is_told(Code::Malformed).await;

    let (mut long, _) = world.admitted().await;
    long.send.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    long.is_told(Code::MessageTooBig).await;

    let (mut datagram, _) = world.admitted().await;
    datagram.link.send_datagram([0, 200, 1]).unwrap();
    datagram.is_told(Code::Malformed).await;

    let (mut headless, _) = world.admitted().await;
    headless.link.quic_connection().send_datagram(Bytes::new()).unwrap();
    headless.is_told(Code::ProtocolError).await;

    let mut early = world.player("/v1/play").await;
    early.send.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    early.is_told(Code::MessageTooBig).await;
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn further_streams_are_reset_and_stall_nothing() {
    let world = world();
    let (mut player, _outlet) = world.admitted().await;
    for round in 0..20 {
        // The refusal may come as early as while the stream's head is written.
        if let Ok((mut send, mut recv)) = timeout(SOON, player.link.open_bi()).await.unwrap().unwrap().await {
            let _ = send.write_all(&[7; 1_000]).await;
            assert!(timeout(SOON, recv.read(&mut [0; 1])).await.unwrap().is_err(), "reset");
        }
        if let Ok(mut send) = timeout(SOON, player.link.open_uni()).await.unwrap().unwrap().await {
            let _ = send.write_all(&[7; 1_000]).await;
            timeout(SOON, send.stopped()).await.unwrap();
        }
        player.say(&ClientMessage::Ping { nonce: round, received: 0 }).await;
        assert_eq!(player.message().await, Some(ServerMessage::Pong { nonce: round, server_time_us: 1 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_closes_a_link_behind_what_waits() {
    let world = world();
    let (mut player, outlet) = world.admitted().await;
    let message = Bytes::from(codec::encode(&ServerMessage::Pong { nonce: 5, server_time_us: 5 }));
    outlet.queue(&message).unwrap();
    outlet.close(Code::Kicked, &goodbye(Code::Kicked, None));
    outlet.close(Code::Draining, &goodbye(Code::Draining, None));
    assert_eq!(outlet.offer_snapshot(&SnapshotFrames::new(snapshot(1, 10))), Offered::Closed);
    assert_eq!(player.message().await, Some(ServerMessage::Pong { nonce: 5, server_time_us: 5 }));
    player.is_told(Code::Kicked).await;
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_fills_its_queue_and_is_closed_all_the_same() {
    let world = world();
    let (player, outlet) = world.admitted().await;
    let message = Bytes::from(vec![0; 1_000]);
    let mut taken = 0;
    while outlet.queue(&message) == Ok(()) {
        outlet.flush();
        taken += 1;
        assert!(taken < 100_000, "the queue is bounded");
    }
    assert_eq!(outlet.queue(&message), Err(QueueFull));
    // The peer never reads: its windows fill, and the Goodbye cannot go out.
    for _ in 0..5_000 {
        let _ = outlet.queue(&message);
        outlet.flush();
        tokio::task::yield_now().await;
    }
    outlet.close(Code::SlowReader, &goodbye(Code::SlowReader, None));
    player.is_closed(Code::SlowReader.number()).await;
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_that_come_and_go_leave_nothing_open() {
    let world = world();
    for round in 0..100 {
        let link = world.connect(if round % 2 == 0 { "/v1/play?ticket=good" } else { "/v1/play" }).await.unwrap();
        match round % 4 {
            0 => drop(Player::over(link).await),
            1 => link.close(wtransport::VarInt::from_u32(0), b""),
            2 => {
                let mut player = Player::over(link).await;
                player.say(&ClientMessage::Bye).await;
                while player.message().await.is_some() {}
            }
            _ => drop(link),
        }
    }
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_and_old_links_live_on() {
    let world = world();
    let (mut player, _outlet) = world.admitted().await;
    let fresh = identity();
    world.handle.reload(tls(&fresh)).unwrap();
    assert!(world.connect("/v1/play?ticket=good").await.is_err(), "the old hash is no longer served");
    let url = format!("https://127.0.0.1:{}/v1/play?ticket=good", world.address.port());
    let hash = fresh.certificate_chain().as_slice()[0].hash();
    let link = client(hash).connect(url).await.unwrap();
    assert!(Player::over(link).await.message().await.is_some());
    player.say(&ClientMessage::Ping { nonce: 3, received: 0 }).await;
    assert!(player.message().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_waits_for_goodbyes_and_lets_nobody_in() {
    let world = world();
    let (mut player, outlet) = world.admitted().await;
    world.stop.cancel();
    outlet.close(Code::Draining, &goodbye(Code::Draining, None));
    drop(outlet);
    player.is_told(Code::Draining).await;
    timeout(SOON, world.running).await.unwrap().unwrap();
    let url = format!("https://127.0.0.1:{}/v1/play?ticket=good", world.address.port());
    let config = ClientConfig::builder()
        .with_bind_default()
        .with_server_certificate_hashes([world.hash.clone()])
        .max_idle_timeout(Some(Duration::from_millis(500)))
        .ok()
        .unwrap()
        .build();
    assert!(Endpoint::client(config).unwrap().connect(url).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_a_clear_error() {
    let world = world();
    let error = Listener::bind(world.address, 1 << 16, tls(&identity()), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains(&world.address.to_string()), "{error}");
}

/// A client that speaks QUIC and writes HTTP/3 by hand.
struct Bare {
    quic: quinn::Connection,
    endpoint: quinn::Endpoint,
    /// The request's stream, whose end would be the session's.
    request: Mutex<Option<(quinn::SendStream, quinn::RecvStream)>>,
}

impl World {
    fn bare_endpoint(&self) -> quinn::Endpoint {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(50)));
        config.transport_config(Arc::new(transport));
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(config);
        endpoint
    }

    async fn bare(&self) -> Bare {
        let endpoint = self.bare_endpoint();
        let quic = endpoint.connect(self.address, "localhost").unwrap().await.unwrap();
        Bare { quic, endpoint, request: Mutex::default() }
    }
}

impl Bare {
    /// Opens the control stream and says something on it.
    async fn control(&self) -> (quinn::SendStream, quinn::RecvStream) {
        let (mut send, recv) = self.quic.open_bi().await.unwrap();
        send.write_all(&[0x40, 0x41, 0x00]).await.unwrap();
        (send, recv)
    }

    /// Sends a request and reads the status of its answer.
    async fn status(&self, path: &str, more: &[(&str, &str)]) -> String {
        let port = self.quic.remote_address().port();
        let authority = format!("localhost:{port}");
        let mut pairs = vec![
            (":method", "CONNECT"),
            (":scheme", "https"),
            (":protocol", "webtransport"),
            (":authority", &authority),
            (":path", path),
        ];
        pairs.extend_from_slice(more);
        let headers: Headers = pairs.into_iter().collect();
        let block = headers.generate_frame();
        let (mut send, mut recv) = self.quic.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        send.write_all(&(0x4000 | block.payload().len() as u16).to_be_bytes()).await.unwrap();
        send.write_all(block.payload()).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = timeout(SOON, recv.read(&mut answer)).await.unwrap().unwrap().unwrap();
        *self.request.lock().unwrap() = Some((send, recv));
        let frame = Frame::read(&mut &answer[..read]).unwrap().unwrap();
        Headers::with_frame(&frame).unwrap().get(":status").unwrap().to_owned()
    }

    async fn is_closed_with(&self, number: u32) {
        match timeout(SOON, self.quic.closed()).await.expect("a close") {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code, quinn::VarInt::from_u32(number));
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_explaining_is_a_status() {
    let world = world();
    assert_eq!(world.bare().await.status("/v1/play?ticket=good", &[]).await, "200");
    assert_eq!(world.bare().await.status("/v2/play", &[]).await, "404");
    assert_eq!(world.bare().await.status("/v1/play", &[("origin", "https://evil.example")]).await, "403");
    let flooded = world_with(Limits::default(), true);
    assert_eq!(flooded.bare().await.status("/v1/play", &[]).await, "429");
    assert!(matches!(world.connect("/elsewhere").await, Err(ConnectingError::SessionRejected)));
    flooded.nothing_is_left().await;
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_keeps_its_connection_alive_but_asks_nothing_is_closed() {
    let world = world_with(quick(), false);
    let silent = world.bare().await;
    silent.is_closed_with(0x010d).await;

    // A stream of which the first bytes never come to a whole request holds nothing open either.
    let stalling = world.bare().await;
    let (mut send, _recv) = stalling.quic.open_bi().await.unwrap();
    send.write_all(&[0x01, 0x40]).await.unwrap();
    stalling.is_closed_with(0x010d).await;
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_closed_and_harms_nobody_else() {
    let world = world();
    let (mut player, _outlet) = world.admitted().await;
    let cases: &[(&[u8], u32)] = &[
        (&[0x00, 0x01, 0x00], 0x0105),
        (&[0x40, 0x41, 0x00], 0x0105),
        (&[0x01, 0x80, 0xff, 0xff, 0xff], 0x0107),
        (&[0x01, 0x03, 0x00, 0x00, 0x80], 0x0200),
        (&[0x01, 0x0c, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], 0x0200),
        (&[0x01, 0x03, 0x00, 0x00, 0xd1], 0x010b),
    ];
    for (bytes, number) in cases {
        let bare = world.bare().await;
        let (mut send, _recv) = bare.quic.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        bare.is_closed_with(*number).await;
    }
    player.say(&ClientMessage::Ping { nonce: 3, received: 0 }).await;
    assert!(player.message().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_whose_address_changes_keeps_its_link() {
    let world = world();
    let bare = world.bare().await;
    assert_eq!(bare.status("/v1/play?ticket=good", &[]).await, "200");
    let (mut send, mut recv) = bare.control().await;
    let mut reader = ControlReader::new(4_096);
    for nonce in 0..3 {
        let mut ping = Vec::new();
        put_control(&codec::encode(&ClientMessage::Ping { nonce, received: 0 }), &mut ping);
        send.write_all(&ping).await.unwrap();
        let pong = ServerMessage::Pong { nonce, server_time_us: 1 };
        let answered = async {
            loop {
                while let Some(message) = reader.poll_message().unwrap() {
                    if codec::decode::<ServerMessage>(&message) == Ok(pong.clone()) {
                        return;
                    }
                }
                reader.handle_bytes(&recv.read_chunk(4_096, true).await.unwrap().unwrap().bytes);
            }
        };
        timeout(SOON, answered).await.unwrap();
        bare.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
    assert_eq!(world.admission.counts().1, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_player_gets_in_past_handshakes_that_never_end() {
    let world = world();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(world.bare().await);
    }
    let (mut player, _outlet) = world.admitted().await;
    player.say(&ClientMessage::Ping { nonce: 3, received: 0 }).await;
    assert!(player.message().await.is_some());
    for bare in &silent {
        bare.is_closed_with(0x010d).await;
    }
    drop(player);
    world.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_addresses_are_proven_and_one_over_its_bounds_gets_no_handshake() {
    let world = world_with(Limits::default(), true);
    let endpoint = world.bare_endpoint();
    let flood: Vec<_> = (0..300).map(|_| endpoint.connect(world.address, "localhost").unwrap()).collect();
    let mut refused = 0;
    for connecting in flood {
        // CONNECTION_REFUSED comes from the proof of the address, without a byte of TLS.
        if let Err(quinn::ConnectionError::ConnectionClosed(close)) = connecting.await {
            assert_eq!(close.error_code, quinn::TransportErrorCode::CONNECTION_REFUSED);
            refused += 1;
        }
    }
    assert!((1..=300 - 128).contains(&refused), "{refused}");
    world.nothing_is_left().await;
}
