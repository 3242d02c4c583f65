//! WebTransport where it differs: datagrams, streams, HTTP/3, handshakes; against a real server, with wtransport's client
//! and with a bare one that says what wtransport would never say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::games::{Script, shown};
use common::process::write_certificate;
use common::trust::client_crypto;
use common::webtransport::{connect, endpoint};
use common::*;
use muster::certificate::CertificateStore;
use muster::codec;
use muster::ids::{InputSeq, Tick};
use muster::limits::Limits;
use muster::outbox::Transport;
use muster::transport::webtransport::Listener;
use muster::wire::{
    Assembler, ClientMessage, Code, ControlReader, Input, Inputs, LobbySpec, Request, ServerMessage, encode_inputs,
    put_control,
};
use wtransport::error::ConnectingError;
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;

const WT: Transport = Transport::WebTransport;

fn link(peer: &mut Peer) -> &mut WtPeer {
    match &mut peer.link {
        Link::Wt(link) => link,
        Link::Ws(_) => panic!("a WebSocket"),
    }
}

/// A server whose certificate is a file, for the bare client to trust.
async fn world_with(change: impl Fn(&mut Limits)) -> World {
    World::with_files(write_certificate, |settings| {
        let directory = settings.tickets.keys[0].parent().unwrap().to_owned();
        settings.tls.certificate = Some(directory.join("cert.pem"));
        settings.tls.key = Some(directory.join("key.pem"));
        change(&mut settings.limits);
    })
    .await
}

fn quick(limits: &mut Limits) {
    limits.first_message = Duration::from_millis(300);
    limits.handshake = Duration::from_millis(300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_snapshot_is_one_datagram_a_larger_one_a_few_and_a_huge_one_no_datagram() {
    let world = World::start().await;
    let mut ada = world.player(WT, "ada", "").await;
    for (padding, datagrams) in [(256, 1), (3_000, 3), (8_000, 8), (30_000, 0)] {
        let settings = codec::encode(&Script { padding, ticks: 0 });
        create(&mut ada, LobbySpec { settings, ..spec(&format!("{padding} bytes")) }).await;
        ada.request(Request::Start).await.unwrap();
        let tag = ada.seat().await.tag;
        if datagrams == 0 {
            for _ in 0..5 {
                let state = ada.snapshot("a huge snapshot", |_| true).await.state;
                assert_eq!(shown(&state).padding.len(), padding as usize);
            }
        } else {
            let mut assembler = Assembler::default();
            let mut pieces = 0;
            // The first may be of the session before, or the rest of a tick whose beginning was read before.
            let whole = soon("three whole snapshots", async {
                let mut whole = 0;
                loop {
                    let payload = link(&mut ada).link.receive_datagram().await.unwrap().payload();
                    pieces += 1;
                    let Some(message) = assembler.handle_datagram(payload).unwrap() else { continue };
                    let Ok(ServerMessage::Snapshot(snapshot)) = codec::decode(&message) else { panic!() };
                    if snapshot.tag != tag {
                        continue;
                    }
                    assert_eq!(shown(&snapshot.state).padding.len(), padding as usize);
                    whole += 1;
                    if whole == 1 {
                        pieces = 0;
                    } else if pieces == datagrams * (whole - 1) && whole >= 3 {
                        return whole;
                    }
                    assert!(whole < 50, "{pieces} datagrams for {whole} snapshots of {padding} bytes");
                }
            })
            .await;
            assert!(whole >= 3);
        }
        ada.request(Request::Leave).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_come_by_datagram_and_by_stream_and_kinds_of_the_future_are_skipped() {
    let world = World::start().await;
    let mut ada = world.player(WT, "ada", "quick:tiny").await;
    ada.seat().await;
    for value in 1..=5 {
        ada.input_is_applied(value).await;
        link(&mut ada).link.send_datagram([9, 1, 2]).unwrap();
    }
    let inputs = vec![Input { seq: InputSeq(ada.last_seq + 1), data: vec![85] }];
    let mut bytes = Vec::new();
    encode_inputs(&Inputs { seen: Tick(0), inputs }, &mut bytes);
    ada.say_bytes(&bytes).await;
    ada.snapshot("the stream's as well", |snapshot| shown(&snapshot.state).sum == 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_without_our_protocol_is_told_the_version_and_one_with_it_is_taken() {
    let world = World::start().await;
    let opening = |protocols| Opening { protocols: Some(protocols), ..Opening::default() };
    let ticket = world.ticket("ada");
    let old = Opening { ticket: Some(&ticket), ..opening(r#""muster.9", "other""#) };
    world.is_refused(WT, old, Code::Version, "version").await;
    world.arrive(WT, Opening { ticket: Some(&ticket), ..opening(r#""muster.9", "muster.1""#) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_without_a_head_and_lengths_over_the_bound_close_the_link() {
    let world = World::start().await;
    let mut headless = world.player(WT, "ada", "").await;
    link(&mut headless).link.quic_connection().send_datagram(Bytes::new()).unwrap();
    headless.is_told(Code::ProtocolError, "protocol-error").await;
    let mut early = world.open(WT, Opening::default()).await.unwrap();
    link(&mut early).raw(&u32::MAX.to_le_bytes()).await;
    early.is_told(Code::MessageTooBig, "message-too-big").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn further_streams_are_reset_and_stall_nothing() {
    let world = World::with_limits(|limits| limits.messages_per_second = 1_000).await;
    let mut ada = world.player(WT, "ada", "").await;
    for _ in 0..20 {
        let wt = &link(&mut ada).link;
        // The refusal may come as early as while the stream's head is written.
        if let Ok((mut send, mut recv)) = soon("a stream", wt.open_bi()).await.unwrap().await {
            let _ = send.write_all(&[7; 1_000]).await;
            assert!(soon("a reset", recv.read(&mut [0; 1])).await.is_err(), "reset");
        }
        if let Ok(mut send) = soon("a stream", wt.open_uni()).await.unwrap().await {
            let _ = send.write_all(&[7; 1_000]).await;
            soon("a stop", send.stopped()).await;
        }
        ada.ping().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_that_come_and_go_leave_nothing_open() {
    let world = World::with_limits(|limits| limits.grace = Duration::from_millis(100)).await;
    for round in 0..100 {
        let ticket = world.ticket(&format!("p{round}"));
        let target = if round % 2 == 0 { format!("/v1/play?ticket={ticket}") } else { "/v1/play".into() };
        let endpoint = endpoint(world.hash);
        let connection = connect(&endpoint, world.address(), &target, &[]).await.unwrap();
        match round % 4 {
            0 => drop(WtPeer::over(endpoint, connection).await),
            1 => connection.close(wtransport::VarInt::from_u32(0), b""),
            2 => {
                let mut peer = Peer::over(Link::Wt(Box::new(WtPeer::over(endpoint, connection).await)));
                peer.say(&ClientMessage::Bye).await;
                peer.is_told(Code::Left, "left").await;
            }
            _ => drop(connection),
        }
    }
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_a_clear_error() {
    let world = World::start().await;
    let tls = CertificateStore::dev(now()).unwrap().quic_config().unwrap();
    let error = Listener::bind(world.address(), 1 << 16, tls, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains(&world.address().to_string()), "{error}");
}

/// A client that speaks QUIC and writes HTTP/3 by hand.
struct Bare {
    quic: quinn::Connection,
    endpoint: quinn::Endpoint,
    /// The request's stream, whose end would be the session's.
    request: Mutex<Option<(quinn::SendStream, quinn::RecvStream)>>,
}

/// The bare client's ways into the server.
trait Bares {
    fn bare_endpoint(&self) -> quinn::Endpoint;
    async fn bare(&self) -> Bare;
}

impl Bares for World {
    fn bare_endpoint(&self) -> quinn::Endpoint {
        let mut config = quinn::ClientConfig::new(Arc::new(client_crypto(self.directory())));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(50)));
        config.transport_config(Arc::new(transport));
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(config);
        endpoint
    }

    async fn bare(&self) -> Bare {
        let endpoint = self.bare_endpoint();
        let quic = endpoint.connect(self.address(), "localhost").unwrap().await.unwrap();
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
        let read = soon("an answer", recv.read(&mut answer)).await.unwrap().unwrap();
        *self.request.lock().unwrap() = Some((send, recv));
        let frame = Frame::read(&mut &answer[..read]).unwrap().unwrap();
        Headers::with_frame(&frame).unwrap().get(":status").unwrap().to_owned()
    }

    async fn is_closed_with(&self, number: u32) {
        match soon("a close", self.quic.closed()).await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code, quinn::VarInt::from_u32(number));
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_explaining_is_a_status() {
    let world = world_with(|_| {}).await;
    let play = format!("/v1/play?ticket={}", world.ticket("ada"));
    assert_eq!(world.bare().await.status(&play, &[]).await, "200");
    assert_eq!(world.bare().await.status("/v2/play", &[]).await, "404");
    assert_eq!(world.bare().await.status("/v1/play", &[("origin", "https://evil.example")]).await, "403");
    let outcome = connect(&endpoint(world.hash), world.address(), "/elsewhere", &[]).await;
    assert!(matches!(outcome, Err(ConnectingError::SessionRejected)));
    let flooded = world_with(|limits| limits.pending_per_address = 1).await;
    let pending = flooded.bare().await;
    assert_eq!(pending.status("/v1/play", &[]).await, "200");
    assert_eq!(flooded.bare().await.status("/v1/play", &[]).await, "429");
    assert_eq!(flooded.figures(Code::TooFast).refusals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_the_code_by_capsule_too() {
    let world = world_with(|_| {}).await;
    let bare = world.bare().await;
    assert_eq!(bare.status("/v1/play?ticket=junk", &[("origin", ORIGIN)]).await, "200");
    let (mut control, _recv) = bare.control().await;
    // Going on reading is how a page waits for the close.
    let mut streams = bare.request.lock().unwrap().take().unwrap();
    let _ = control.finish();
    let said = soon("the end of the request's stream", streams.1.read_to_end(1_024)).await.unwrap();
    // CLOSE_WEBTRANSPORT_SESSION ends with the code in four bytes and the reason.
    assert!(said.ends_with(&[&4_401_u32.to_be_bytes(), &b"bad-ticket"[..]].concat()), "{said:02x?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_keeps_its_connection_alive_but_asks_nothing_is_closed() {
    let world = world_with(quick).await;
    let silent = world.bare().await;
    silent.is_closed_with(0x010d).await;

    // A stream of which the first bytes never come to a whole request holds nothing open either.
    let stalling = world.bare().await;
    let (mut send, _recv) = stalling.quic.open_bi().await.unwrap();
    send.write_all(&[0x01, 0x40]).await.unwrap();
    stalling.is_closed_with(0x010d).await;
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_closed_and_harms_nobody_else() {
    let world = world_with(|_| {}).await;
    let mut ada = world.player(WT, "ada", "").await;
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
    ada.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_whose_address_changes_keeps_its_link() {
    let world = world_with(|_| {}).await;
    let bare = world.bare().await;
    assert_eq!(bare.status(&format!("/v1/play?ticket={}", world.ticket("ada")), &[]).await, "200");
    let (mut send, mut recv) = bare.control().await;
    let mut reader = ControlReader::new(4_096);
    for nonce in 0..3 {
        let mut ping = Vec::new();
        put_control(&codec::encode(&ClientMessage::Ping { nonce, received: 0 }), &mut ping);
        send.write_all(&ping).await.unwrap();
        let answered = async {
            loop {
                while let Some(message) = reader.poll_message().unwrap() {
                    if matches!(codec::decode(&message), Ok(ServerMessage::Pong { nonce: back, .. }) if back == nonce) {
                        return;
                    }
                }
                reader.handle_bytes(&recv.read_chunk(4_096, true).await.unwrap().unwrap().bytes);
            }
        };
        soon("a Pong", answered).await;
        bare.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
    assert_eq!(world.server.hub().links(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_player_gets_in_past_handshakes_that_never_end() {
    let world = world_with(|limits| limits.handshake = Duration::from_secs(2)).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(world.bare().await);
    }
    let mut ada = world.player(WT, "ada", "").await;
    ada.ping().await;
    for bare in &silent {
        bare.is_closed_with(0x010d).await;
    }
    ada.say(&ClientMessage::Bye).await;
    ada.is_told(Code::Left, "left").await;
    world.is_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_addresses_are_proven_and_one_over_its_bounds_gets_no_handshake() {
    let world = world_with(|limits| limits.pending_per_address = 1).await;
    let _first = world.bare().await;
    world.until("the first is on its way in", |world| world.metrics().pending_links.get() == 1).await;
    let endpoint = world.bare_endpoint();
    let flood: Vec<_> = (0..300).map(|_| endpoint.connect(world.address(), "localhost").unwrap()).collect();
    let mut refused = 0;
    for connecting in flood {
        // CONNECTION_REFUSED comes from the proof of the address, without a byte of TLS. On a slow machine a handshake
        // that was let in may run out of its time instead, which is another code.
        if let Err(quinn::ConnectionError::ConnectionClosed(close)) = soon("an answer", connecting).await
            && close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED
        {
            refused += 1;
        }
    }
    assert!((1..=300 - 120).contains(&refused), "{refused}");
}
