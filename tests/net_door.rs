//! How a connection begins: in one piece or in many, plain or under TLS, with more behind the request or an end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::process::write_certificate;
use common::trust::client_tls;
use common::websocket::masked;
use common::*;
use muster::codec;
use muster::config::TlsWebSocket;
use muster::wire::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn world(mode: TlsWebSocket) -> World {
    World::with_files(write_certificate, |settings| {
        let directory = settings.tickets.keys[0].parent().unwrap().to_owned();
        settings.tls.certificate = Some(directory.join("cert.pem"));
        settings.tls.key = Some(directory.join("key.pem"));
        settings.tls.websocket = mode;
        settings.limits.pending_per_address = 20;
    })
    .await
}

async fn connect(world: &World, tls: bool) -> Box<dyn Stream> {
    let stream = TcpStream::connect(world.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if !tls {
        return Box::new(stream);
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_tls(world.directory(), b"http/1.1")));
    Box::new(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap())
}

fn request(ticket: Option<&str>) -> Vec<u8> {
    let bearer = ticket.map(|ticket| format!("Authorization: Bearer {ticket}\r\n")).unwrap_or_default();
    format!(
        "GET /v1/play HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{bearer}\r\n"
    )
    .into_bytes()
}

/// A Hello with a ticket, as a masked frame.
fn hello(ticket: &str) -> Vec<u8> {
    let hello = ClientMessage::Hello { ticket: ticket.to_owned(), join: String::new(), resume: None };
    masked(0x82, &codec::encode(&hello))
}

/// Reads the answer to an upgrade and the first message behind it.
async fn first_message(stream: &mut dyn Stream) -> ServerMessage {
    let mut read = Vec::new();
    loop {
        let mut some = [0; 2_048];
        let count = soon("the first message", stream.read(&mut some)).await.unwrap();
        assert_ne!(count, 0, "hung up behind {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&some[..count]);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
        let frame = &read[end + 4..];
        let (header, length) = match frame {
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            [_, length, ..] => (2, usize::from(*length)),
            _ => continue,
        };
        if let Some(message) = frame.get(header..header + length) {
            return codec::decode(message).unwrap();
        }
    }
}

fn is_welcome(message: &ServerMessage, sub: &str) {
    assert!(matches!(message, ServerMessage::Welcome(welcome) if welcome.player == player(sub)), "{message:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_pieces_is_let_in_like_one_in_one_piece() {
    let world = world(TlsWebSocket::Auto).await;
    for (tls, size) in [(false, 4_096), (true, 4_096), (false, 200), (true, 200), (false, 40), (true, 40)] {
        let (sub, mut stream) = (format!("p{tls}{size}"), connect(&world, tls).await);
        for piece in request(Some(&world.ticket(&sub))).chunks(size) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        is_welcome(&first_message(&mut stream).await, &sub);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_longer_than_one_read_is_let_in() {
    let world = world(TlsWebSocket::Auto).await;
    for (tls, length) in [(false, 9_000), (true, 9_000), (false, 14_000), (true, 14_000)] {
        let (sub, mut stream) = (format!("long{tls}{length}"), connect(&world, tls).await);
        let mut all = request(Some(&world.ticket(&sub)));
        all.truncate(all.len() - 2);
        all.extend(format!("Cookie: other={}\r\n\r\n", "x".repeat(length)).into_bytes());
        stream.write_all(&all).await.unwrap();
        stream.flush().await.unwrap();
        is_welcome(&first_message(&mut stream).await, &sub);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_right_behind_the_request_are_heard() {
    let world = world(TlsWebSocket::Auto).await;
    for tls in [false, true] {
        let (sub, mut stream) = (format!("early-{tls}"), connect(&world, tls).await);
        let all = [request(None), hello(&world.ticket(&sub))].concat();
        stream.write_all(&all).await.unwrap();
        stream.flush().await.unwrap();
        is_welcome(&first_message(&mut stream).await, &sub);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_says_no_more_is_answered_and_not_kept() {
    let world = world(TlsWebSocket::Auto).await;
    for tls in [false, true] {
        let (sub, mut stream) = (format!("brief-{tls}"), connect(&world, tls).await);
        stream.write_all(&request(Some(&world.ticket(&sub)))).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        // It may end with bytes unread.
        let _ = soon("the end of the connection", stream.read_to_end(&mut said)).await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&said));
        // One that has gone before it was looked at has used no ticket up; else its seat waits, without a link.
        world.until("no link is kept", |world| world.server.hub().links() == 0).await;
        world.until("no place at the door", |world| world.metrics().pending_links.get() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_the_connection_takes_the_next_request() {
    let world = world(TlsWebSocket::Auto).await;
    for tls in [false, true] {
        let mut stream = connect(&world, tls).await;
        stream.write_all(&request(Some("no.good.ticket"))).await.unwrap();
        let mut said = String::new();
        while !said.ends_with('}') {
            let mut some = [0; 1_024];
            let count = soon("a refusal", stream.read(&mut some)).await.unwrap();
            assert_ne!(count, 0, "hung up behind {said:?}");
            said += std::str::from_utf8(&some[..count]).unwrap();
        }
        assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
        assert!(said.contains("content-type: application/problem+json"), "{said}");
        assert!(said.contains("x-content-type-options: nosniff"), "{said}");
        assert_eq!(world.figures(Code::BadTicket).refusals, 1 + u64::from(tls), "counted once");
        let sub = format!("second-{tls}");
        stream.write_all(&request(Some(&world.ticket(&sub)))).await.unwrap();
        is_welcome(&first_message(&mut stream).await, &sub);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_encrypted_plain_bytes_are_closed_without_a_word() {
    let world = world(TlsWebSocket::On).await;
    let mut plain = connect(&world, false).await;
    plain.write_all(&request(Some(&world.ticket("plain")))).await.unwrap();
    let mut said = Vec::new();
    let _ = soon("the end of the connection", plain.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP"), "at most TLS's own alert: {said:?}");
    let mut encrypted = connect(&world, true).await;
    encrypted.write_all(&request(Some(&world.ticket("encrypted")))).await.unwrap();
    is_welcome(&first_message(&mut encrypted).await, "encrypted");
}

#[tokio::test(flavor = "multi_thread")]
async fn players_who_are_in_take_no_place_at_the_door_from_others_of_their_address() {
    for tls in [false, true] {
        let world = world(TlsWebSocket::Auto).await;
        let many = world.server.hub().limits().pending_per_address + 5;
        let mut players = Vec::new();
        for number in 0..many {
            let (sub, mut stream) = (format!("neighbour-{number}"), connect(&world, tls).await);
            // By turns in the request, in two pieces, and by the first message.
            let (first, second) = match (number % 3, world.ticket(&sub)) {
                (0, ticket) => (request(Some(&ticket)), Vec::new()),
                (1, ticket) => {
                    let mut all = request(Some(&ticket));
                    let rest = all.split_off(100);
                    (all, rest)
                }
                (_, ticket) => (request(None), hello(&ticket)),
            };
            stream.write_all(&first).await.unwrap();
            stream.flush().await.unwrap();
            // Two pieces, as a rule; that it is one now and then fails nothing.
            tokio::time::sleep(Duration::from_millis(2)).await;
            stream.write_all(&second).await.unwrap();
            stream.flush().await.unwrap();
            is_welcome(&first_message(&mut stream).await, &sub);
            players.push(stream);
        }
        assert_eq!(world.server.hub().links(), many);
        world.until("nobody is a stranger", |world| world.metrics().pending_links.get() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_over_tls_is_served_as_before() {
    let world = world(TlsWebSocket::Auto).await;
    let mut stream = connect(&world, true).await;
    for path in ["/healthz", "/v1/lobbies", "/metrics"] {
        let last = path == "/metrics";
        let close = if last { "Connection: close\r\n" } else { "" };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n").as_bytes()).await.unwrap();
        if !last {
            let mut some = [0; 4_096];
            let count = soon("an answer", stream.read(&mut some)).await.unwrap();
            assert!(some[..count].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&some[..count]));
        }
    }
    let mut said = Vec::new();
    soon("the end of a long answer", stream.read_to_end(&mut said)).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("# EOF\n"), "{said}");
}
